"""A stub model for benchmarks that answers the same after a fixed time: one process, one line of JSON.

    python benchmarks/stub_model.py LATENCY_MS [CONTENT]

A request with functions is answered with a call of the first, the second and the third, and then of ``Finish``.
``GET /v1/stats`` shows how many completions were requested, and how many at most at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys

import orjson
import uvicorn

TOOL_CALLS = 3
ARGUMENTS = {"query": "harbour", "limit": 10}
ANSWER = json.dumps({"answer": {"response": {"title": "Amber 1000", "count": 3}}})


def said(content: str) -> bytes:
    """The body of an answer with this content."""
    return completion({"role": "assistant", "content": content})


def called(request: bytes) -> bytes:
    """The body of an answer that calls the next of the functions that the request offers."""
    asked = orjson.loads(request)
    turn = sum(message["role"] == "tool" for message in asked["messages"])
    name, given = "Finish", {"return_type": "give_answer", "final_answer": "It is in the harbour."}
    if turn < TOOL_CALLS:
        name, given = asked["tools"][turn]["function"]["name"], ARGUMENTS
    function = {"name": name, "arguments": json.dumps(given)}
    call = {"id": "call", "type": "function", "function": function}
    return completion({"role": "assistant", "content": None, "tool_calls": [call]})


def completion(message: dict[str, object]) -> bytes:
    """The body of an answer with this message."""
    usage = {"prompt_tokens": 500, "completion_tokens": 30, "total_tokens": 530}
    return json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "any",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": usage,
        }
    ).encode()


class StubModel:
    """The application."""

    def __init__(self, latency_s: float, content: str = ANSWER) -> None:
        self._latency_s = latency_s
        self._said = said(content)
        self.count = self.in_flight = self.most = 0

    async def __call__(self, scope, receive, send) -> None:
        """Answer one request."""
        request = b""
        while part := await receive():
            request += part.get("body", b"")
            if not part.get("more_body"):
                break
        body = self._said
        if scope["path"].endswith("/stats"):
            body = json.dumps({"count": self.count, "most_in_flight": self.most}).encode()
        else:
            self.count += 1
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            await asyncio.sleep(self._latency_s)
            self.in_flight -= 1
            body = called(request) if b'"tools":' in request else body
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = listener.getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}/v1", "pid": os.getpid()}), flush=True)
    app = StubModel(float(sys.argv[1]) / 1000, *sys.argv[2:3])
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
