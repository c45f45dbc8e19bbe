"""A model that answers by a rule: deterministic and without a network, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stb_core.llm.protocol import Reply, Request
from stb_core.usage import Usage


class ScriptedModel:
    """Answers each request by a function of it, or with the next reply of a sequence.

    ``requests`` holds all requests, in order.
    """

    def __init__(
        self, script: Callable[[Request], Reply] | Iterable[Reply], name: str = "scripted/model"
    ) -> None:
        self._name = name
        self._rule = script if callable(script) else _in_turn(script)
        self.requests: list[Request] = []

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._name

    async def complete(self, request: Request) -> Reply:
        """The reply from the script; a reply without usage counts as one call."""
        self.requests.append(request)
        reply = self._rule(request)
        if reply.usage == Usage():
            return reply.model_copy(update={"usage": Usage(model_calls=1)})
        return reply


def _in_turn(replies: Iterable[Reply]) -> Callable[[Request], Reply]:
    remaining = iter(replies)

    def rule(_: Request) -> Reply:
        try:
            return next(remaining)
        except StopIteration:
            raise AssertionError("the script has no further reply") from None

    return rule
