"""The official request and answer of ``POST /virtual``, as existing clients send and read them."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from stb_core.values import JsonObject

# Values of the header X-STB-Error. Errors that the agent must see come with status 200.
MISS = "miss"
UNUSABLE_INPUT = "unusable_input"


class BadRequestError(Exception):
    """A request that no client should send; answered with ``status`` and never shown to an agent."""

    def __init__(
        self, status: int, kind: str, message: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = headers


class VirtualRequest(NamedTuple):
    """The request of a client: an API by its three names, and the arguments as written.

    ``toolbench_key`` is the caller's credential: passed on to the real API if one is asked, and never logged
    or stored. ``strip`` and other members are ignored, as ToolBench's
    virtual server does.
    """

    category: str
    tool: str
    api: str
    tool_input: str | JsonObject | None
    toolbench_key: str = ""

    def __repr__(self) -> str:
        return f"VirtualRequest({self.category!r}, {self.tool!r}, {self.api!r}, {self.tool_input!r})"


def read_request(raw: bytes) -> VirtualRequest:
    """Read a request body.

    Raises:
        BadRequestError: it is not a JSON object (400), it is nested too deep (413), a name is missing or a
            member has the wrong type (422).
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as problem:
        if "depth" in problem.msg or "recursion" in problem.msg.lower():  # orjson's own words
            raise BadRequestError(413, "too_deep", "The request body is nested too deep.") from None
        raise BadRequestError(400, "not_json", "The request body is not JSON.") from None
    if not isinstance(body, dict):
        raise BadRequestError(400, "not_json", "The request body is not a JSON object.")
    tool_input = body.get("tool_input")
    if tool_input is not None and not isinstance(tool_input, str | dict):
        raise BadRequestError(422, "wrong_type", "tool_input must be JSON text, an object or empty.")
    names = category, tool, api = body.get("category"), body.get("tool_name"), body.get("api_name")
    if not (all(names) and type(category) is type(tool) is type(api) is str):
        raise _bad_name(body)
    key = body.get("toolbench_key")
    return VirtualRequest(category, tool, api, tool_input, key if isinstance(key, str) else "")


def _bad_name(body: dict[str, Any]) -> BadRequestError:
    for member in ("category", "tool_name", "api_name"):
        value = body.get(member)
        if value is None or value == "":
            return BadRequestError(422, "missing_name", f"{member} is missing.")
        if not isinstance(value, str):
            return BadRequestError(422, "wrong_type", f"{member} must be a string.")
    raise AssertionError(body)


def encode_answer(error: str, response: Any = "") -> bytes:
    """The bytes of an answer: ``{"error": …, "response": …}``."""
    return orjson.dumps({"error": error, "response": response})
