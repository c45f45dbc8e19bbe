"""A scripted server of OpenAI's and Anthropic's APIs for tests: real HTTP on the loopback, no model behind it.

    def test_something(llm):                     # the fixture below
        llm.answer(call("Finish", final_answer="42"), status(429, retry_after=0), text("hello"))
        llm.url                                  # http://127.0.0.1:PORT/v1
        llm.requests                             # the bodies that were received, in order
        llm.replies                              # bodies and documents of those that were answered with 200

Queued answers are given first, in order. When none is left, ``llm.rule`` answers: a function from
the request body to an answer, ``obliging`` unless the test sets another. ``llm.behaviour`` adds
latency and faults by chance, drawn from a seed. A conftest takes the fixture by
``from llm_server import llm, llm_server``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pytest
import uvicorn

import llm_dialects
from llm_stream import send_pieces, send_stream

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the server sends: a status and a body, or with ``drop`` half a body and then nothing."""

    message: Json | None = None
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = None
    finish_reason: str | None = None
    usage: Json | None = field(default_factory=dict)
    drop: bool = False
    delay_s: float = 0.0
    content_type: bytes = b"application/json"


def text(content: str | None, **more: Any) -> Answer:
    """An answer in words."""
    return Answer({"role": "assistant", "content": content}, **more)


def call(name: str, /, **arguments: Any) -> Answer:
    """An answer that calls one function."""
    return calls((name, arguments))


def calls(*wanted: tuple[str, Json | str]) -> Answer:
    """An answer that calls several functions; arguments given as text are sent as they are."""
    made = [
        {
            "id": f"call_{number}_{name}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": given if isinstance(given, str) else json.dumps(given),
            },
        }
        for number, (name, given) in enumerate(wanted)
    ]
    return Answer({"role": "assistant", "content": None, "tool_calls": made})


def status(code: int, message: str = "refused", *, retry_after: float | str | None = None) -> Answer:
    """An error answer."""
    headers = () if retry_after is None else ((b"retry-after", str(retry_after).encode()),)
    error = {"error": {"message": message, "type": "test", "param": None, "code": None}}
    return Answer(status=code, headers=headers, body=json.dumps(error).encode())


def raw(body: bytes, code: int = 200) -> Answer:
    """An answer with exactly these bytes."""
    return Answer(status=code, body=body)


def drop() -> Answer:
    """The connection ends in the middle of the answer."""
    return Answer(drop=True)


def obliging(body: Json) -> Answer:
    """Does what the request asks for: the forced function, then each offered one and Finish, JSON, words."""
    key = hashlib.sha256(json.dumps(body.get("messages", body), sort_keys=True).encode()).hexdigest()[:8]
    functions = {tool["function"]["name"]: tool["function"] for tool in body.get("tools", [])}
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        return call(name, **sample(functions[name].get("parameters", {}), key))
    if functions and choice != "none":
        roles = [message["role"] for message in body["messages"]]
        seen = roles.count("tool") or roles.count("assistant")  # some clients tell results in words
        # Some clients put a prefix before the names of tools, and offer tools of their own beside them.
        finish = next((name for name in functions if name.lower().endswith("finish")), "")
        prefix = finish[: -len("Finish")]
        usable = [name for name in functions if name != finish and name.startswith(prefix)]
        if seen < min(len(usable), 3):
            name = usable[seen]
            return call(name, **sample(functions[name].get("parameters", {}), key))
        if finish:
            return call(finish, return_type="give_answer", final_answer=f"answer {key}")
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return text(json.dumps(sample(shape["json_schema"]["schema"], key)))
    if shape.get("type") == "json_object":
        return text(json.dumps({"answer": key}))
    return text(f"words {key}")


def sample(schema: Json, filler: str) -> Any:
    """A value that fits a simple JSON Schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], filler)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: sample(properties[name], filler) for name in schema.get("required", properties)}
    if kind == "array":
        return [sample(schema.get("items", {}), filler)]
    return {"integer": 1, "number": 1, "boolean": True, "null": None}.get(kind, filler)


@dataclass
class Behaviour:
    """Latency and faults by chance; shares in [0, 1], drawn from ``seed``."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    """Up to so many seconds more, by chance."""
    rate_limit_share: float = 0.0
    retry_after: float | str = 0
    error_share: float = 0.0
    malformed_share: float = 0.0
    drop_share: float = 0.0
    refused_formats: frozenset[str] = frozenset()
    """Kinds of ``response_format`` that are answered with 400."""
    ignored_formats: frozenset[str] = frozenset()
    """Kinds of ``response_format`` that are accepted and not obeyed."""
    held: bool = False
    """No completion is answered before this is taken back."""
    context_length: int = 0
    """What the list of models says; 0 for nothing."""
    allowance: int | None = None
    """How many completions are still answered before all are held; None for no limit."""
    required_key: str = ""
    """The API key without which the answer is 401."""
    seed: int = 0


@dataclass
class Counters:
    """What the server has seen since it was last reset."""

    in_flight: int = 0
    max_in_flight: int = 0
    paid: int = 0


class LLMServer:
    """The server, in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(4096)  # a client that is faster than the thread waits in the queue
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            lifespan="off",
            backlog=4096,
            log_config=None,
            log_level="critical",
            access_log=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self.reset()

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def count(self) -> int:
        """How many completions were asked for, answered or not."""
        return len(self.requests)

    @property
    def paid(self) -> int:
        """How many completions were sent whole: what a provider would charge for."""
        return self._counters.paid

    @property
    def max_in_flight(self) -> int:
        """The most requests that were being answered at once."""
        return self._counters.max_in_flight

    def reset(self) -> None:
        """Forget everything: queue, rule, behaviour, counters."""
        self.behaviour = Behaviour()
        self.rule: Callable[[Json], Answer] = obliging
        self.requests: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.targets: list[str] = []
        """Path and query of all requests."""
        self.replies: list[tuple[Json, Json]] = []
        self.clients: list[tuple[str, int]] = []
        self._counters = Counters()
        self._queue: deque[Answer] = deque()
        self._rng: random.Random | None = None

    def answer(self, *answers: Answer) -> None:
        """Queue answers; they are given before the rule is asked."""
        self._queue.extend(answers)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.targets.append(scope["path"] + ("?" + scope["query_string"].decode()).rstrip("?"))
        if self.behaviour.required_key not in headers.get("authorization", ""):
            await _send(send, status(401, f"Incorrect API key provided: {headers.get('authorization')}"))
        elif scope["path"].endswith("/models"):
            length = self.behaviour.context_length
            entry = {"id": "any", "object": "model"} | ({"max_model_len": length} if length else {})
            await _send(send, raw(json.dumps({"object": "list", "data": [entry]}).encode()))
        elif scope["path"].endswith("/embeddings"):
            await _send(send, raw(_embeddings(json.loads(body))))
        elif scope["path"].endswith("/messages/count_tokens"):
            await _send(send, raw(b'{"input_tokens": 42}'))
        elif scope["path"].endswith(("/completions", "/responses", "/messages")):
            self.clients.append(tuple(scope["client"]))
            await self._complete(json.loads(body), headers, send, scope["path"].rpartition("/")[2])
        else:
            await _send(send, status(404, "no such path"))

    async def _complete(self, body: Json, headers: dict[str, str], send: Any, dialect: str) -> None:
        self.requests.append(body)
        self.headers.append(headers)
        counters = self._counters  # those of this test, even if the request outlives it
        counters.in_flight += 1
        counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        try:
            while self.behaviour.held or self.behaviour.allowance == 0:  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)
            if self.behaviour.allowance is not None:
                self.behaviour.allowance -= 1
            answer = self._decide(llm_dialects.as_chat(body, dialect))
            await asyncio.sleep(answer.delay_s or self._latency_s())
        finally:
            counters.in_flight -= 1  # before the client has the answer and can send the next request
        replies = self.replies  # those of this test, too
        await _send(send, answer, body, dialect)
        if answer.status == 200 and not answer.drop:
            counters.paid += 1
            replies.append((body, _document(answer, body)))

    def _latency_s(self) -> float:
        assert self._rng
        return self.behaviour.latency_s + self.behaviour.jitter_s * self._rng.random()

    def _decide(self, body: Json) -> Answer:
        behaviour = self.behaviour
        self._rng = self._rng or random.Random(behaviour.seed)
        chances = [self._rng.random() for _ in range(4)]
        shape = (body.get("response_format") or {}).get("type")
        if shape in behaviour.refused_formats:
            return status(400, f"response_format {shape} is not supported")
        if self._queue:
            return self._queue.popleft()
        if chances[0] < behaviour.rate_limit_share:
            return status(429, "slow down", retry_after=behaviour.retry_after)
        if chances[1] < behaviour.error_share:
            return status(500, "broken")
        if chances[2] < behaviour.malformed_share:
            return raw(b'{"id":"x","choices":[{"message":{"role":"assist')
        if chances[3] < behaviour.drop_share:
            return drop()
        if shape in behaviour.ignored_formats:
            return text("Certainly! Here is what you asked for.")
        return self.rule(body)


async def _send(send: Any, answer: Answer, request: Json | None = None, dialect: str = "") -> None:
    if answer.body is None and answer.message is not None and dialect in {"messages", "responses"}:
        reply = llm_dialects.written(json.loads(_completion(answer, request or {})), dialect)
        if request and request.get("stream"):
            await send_pieces(send, llm_dialects.events(reply, dialect))
            return
        answer = replace(answer, body=json.dumps(reply).encode())
    if request and request.get("stream") and answer.body is None:
        await send_stream(send, json.loads(_completion(answer, request)), request)
        return
    body = answer.body if answer.body is not None else _completion(answer, request or {})
    length = len(body) + (1000 if answer.drop else 0)
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % length), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": answer.drop})


def _embeddings(request: Json) -> bytes:
    """Vectors that are equal for equal texts and seldom alike for others."""
    data = [
        {"object": "embedding", "index": index, "embedding": list(hashlib.sha256(given.encode()).digest())}
        for index, given in enumerate(request["input"])
    ]
    tokens = sum(len(given) for given in request["input"])
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "model": request["model"], "data": data, "usage": usage}).encode()


def _document(answer: Answer, request: Json) -> Json:
    """A JSON object that was sent; nothing for any other body."""
    try:
        document = json.loads(_completion(answer, request) if answer.body is None else answer.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _completion(answer: Answer, request: Json) -> bytes:
    message = answer.message or {}
    said = json.dumps(message.get("tool_calls") or message.get("content") or "")
    usage = {
        "prompt_tokens": len(json.dumps(request.get("messages"))) // 4,
        "completion_tokens": len(said) // 4,
    }
    completion = {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model", ""),
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": answer.finish_reason
                or ("tool_calls" if message.get("tool_calls") else "stop"),
            }
        ],
    }
    if "prompt" in request:  # a text completion
        completion["choices"] = [{"index": 0, "text": message.get("content"), "finish_reason": "stop"}]
    if answer.usage is not None:
        completion["usage"] = {**usage, "total_tokens": sum(usage.values()), **answer.usage}
    return json.dumps(completion).encode()


@pytest.fixture(scope="session")
def llm_server() -> Generator[LLMServer]:
    """One server for the whole session."""
    with LLMServer() as server:
        yield server


@pytest.fixture
def llm(llm_server: LLMServer) -> LLMServer:
    """The server as new: nothing queued, nothing counted, no faults."""
    llm_server.reset()
    return llm_server
