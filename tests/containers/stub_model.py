"""A stand-in for vLLM in a container without a GPU: lists one model, and answers what it is asked for."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    """OpenAI's chat completions, as far as they are needed here."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The list of models; also what the health check asks for."""
        self._send({"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 16384}]})

    def do_POST(self) -> None:
        """One completion: a call of the offered function, or an API's answer."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message: dict[str, Any] = {"role": "assistant", "content": reply_to(asked)}
        if tools := asked.get("tools"):
            function = {"name": tools[0]["function"]["name"], "arguments": '{"city": "Bonn"}'}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
            }
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        self._send(
            {"id": "1", "object": "chat.completion", "choices": [choice], "model": MODEL, "usage": usage}
        )

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _send(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def reply_to(asked: dict[str, Any]) -> str:
    """JSON of the schema that is asked for, as far as it is simple; else what MirrorAPI would say."""
    schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
    if schema and "verdict" in schema.get("properties", {}):
        return '{"verdict": "green"}'
    if schema:
        return '{"answer": {"refusal": "not found", "error": "There is nothing of that name."}}'
    return '{"error": "", "response": "{\'stub\': True}"}'


ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
