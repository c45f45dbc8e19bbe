"""Scripts in the place of language models, with planted faults that the experiments are to find.

An OpenAI-compatible server; the model's name says what it plays. ``judge`` and ``strict-judge`` count what
an answer holds, waver in one verdict of ten, obey one order of seven that stands in an answer, and of two
answers take the one shown first in three cases of ten. ``simulator`` answers as an API of the asked shape,
and reports an error for every other call; which ones, its seed decides.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from typing import Any

import uvicorn

Json = dict[str, Any]
WAVERS, OBEYS, TAKES_FIRST, FAILS = 0.10, 0.15, 0.30, 0.50


def chance(*parts: object) -> float:
    """A number in [0, 1) that is the same for the same parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def reply(body: Json) -> Json:
    """What the script says."""
    asked = body["messages"][-1]["content"]
    shape = body["response_format"]["json_schema"]
    seed = body.get("seed") or 0
    if shape["name"] == "verdict":
        return {"reason": "by its length", "answer_status": verdict(body["model"], asked, seed)}
    if shape["name"] == "preference":
        return {"reason": "by its length", "better": preference(asked)}
    if chance("fails", asked, seed) < FAILS:
        return {"answer": {"refusal": "server error", "error": "The service is not available."}}
    served = shape["schema"]["properties"]["answer"]["anyOf"][0]
    return {"answer": {"response": sample(served["properties"]["response"], asked)}}


def quoted(asked: str, name: str) -> str:
    """A piece of the material, between its marker lines."""
    return asked.split(f"begin {name}]\n", 1)[-1].split("\n[", 1)[0]


def verdict(model: str, asked: str, seed: int) -> str:
    """By how many facts the answer holds; wavering by seed."""
    answer = quoted(asked, "final answer")
    if "solved" in answer.lower() and chance("obeys", answer) < OBEYS:
        return "solved"
    facts = answer.count(": ") - (2 if model.startswith("strict") else 0)
    grade = 2 if facts >= 5 else 1 if facts >= 3 else 0
    if chance("wavers", model, answer, seed) < WAVERS:
        grade = (grade + 1) % 3
    return ("unsolved", "unsure", "solved")[grade]


def preference(asked: str) -> str:
    """The longer answer, or whichever is shown first."""
    first, second = (quoted(asked, f"{name} assistant, final answer") for name in ("first", "second"))
    if len(first) == len(second):
        return "neither"
    if chance("first", *sorted((first, second))) < TAKES_FIRST:
        return "first"
    return "first" if len(first) > len(second) else "second"


def sample(schema: Json, key: str) -> Any:
    """A value that fits a JSON Schema."""
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = next((one for one in kinds if one != "null"), "null") if isinstance(kinds, list) else kinds
    if kind == "object":
        return {name: sample(one, f"{key}.{name}") for name, one in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema.get("items", {}), f"{key}.0")]
    number = int(chance(key) * 1000)
    return {"integer": number, "number": number + 0.5, "boolean": number % 2 == 0, "null": None}.get(
        kind, f"text {number}"
    )


class ScriptedModels:
    """The application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        received = b""
        while True:
            event = await receive()
            received += event.get("body", b"")
            if not event.get("more_body"):
                break
        body: Json = {"object": "list", "data": []}
        if scope["method"] == "POST":
            asked = json.loads(received)
            message = {"role": "assistant", "content": json.dumps(reply(asked))}
            tokens = len(received) // 4
            body = {
                "id": "c",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": tokens, "completion_tokens": 30, "total_tokens": tokens + 30},
            }
        sent = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(sent))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": sent})


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
    sys.stdout.flush()
    config = uvicorn.Config(ScriptedModels(), interface="asgi3", lifespan="off", log_config=None)
    uvicorn.Server(config).run(sockets=[listener])
