"""The APIs of models that the proxy forwards: which paths they have, and in which form they refuse a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response


class ModelApi(StrEnum):
    """An API whose calls are counted, by its path below the provider's base URL."""

    CHAT = "chat/completions"
    TEXT = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    """Anthropic's."""
    EMBEDDINGS = "embeddings"

    @property
    def kind(self) -> str:
        """The word for it in ``stb_core.llm.shape_of_body``."""
        return {"chat/completions": "chat", "completions": "text"}.get(self.value, self.value)

    @property
    def reports_usage_on_request(self) -> bool:
        """Whether a stream says what it consumed only if ``stream_options`` asks for it."""
        return self in {ModelApi.CHAT, ModelApi.TEXT}


_COUNT_TOKENS = "messages/count_tokens"


@dataclass(frozen=True)
class ProxyTarget:
    """What a request to the proxy means; ``api`` is None where it runs no model and is not counted."""

    path: str
    api: ModelApi | None
    is_anthropic: bool

    @property
    def quoted_path(self) -> str:
        """The path as it stands in a URL."""
        return quote(self.path, safe="/:@")


def target_of(method: str, path: str, *, is_anthropic: bool = False) -> ProxyTarget | None:
    """What a request means; None if it is nothing that is forwarded.

    Clients differ in what they take for the base URL: each may begin the path with ``v1`` or not, and write more
    slashes than are needed.

    Args:
        method: of the request.
        path: of the request, below the episode's token.
        is_anthropic: whether the client is one of Anthropic's API, which a path such as ``models`` does not say.
    """
    segments = [segment for segment in path.split("/") if segment]
    while segments[:1] == ["v1"]:
        del segments[0]
    if {".", ".."} & set(segments):
        return None
    found = "/".join(segments)
    if method == "POST" and found in {api.value for api in ModelApi}:
        return ProxyTarget(found, ModelApi(found), found == ModelApi.MESSAGES)
    if method == "POST" and found == _COUNT_TOKENS:
        return ProxyTarget(found, None, is_anthropic=True)
    if method == "GET" and segments[:1] == ["models"]:
        return ProxyTarget(found, None, is_anthropic)
    return None


def refusal(status: int, message: str, kind: str, *, is_anthropic: bool) -> Response:
    """An error in the form of the API; it says when a retry is useless, because clients retry a 409."""
    headers = {"x-stb-error": kind}
    if status < 500:
        headers["x-should-retry"] = "false"
    error: dict[str, Any] = {"type": kind, "message": message}
    if is_anthropic:
        return JSONResponse({"type": "error", "error": error}, status, headers)
    return JSONResponse({"error": {**error, "param": None, "code": kind}}, status, headers)
