"""A call in the state of its episode: the earlier calls of the same tool, with their answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stb_core import json_text
from stb_core.store import PriorCall
from stb_core.values import JsonObject, ToolCall, call_key, canonical_json

STATE = "$episode"
"""The argument that names the state of the episode in which a kept answer holds; no API has it."""


MAX_NAME = 200
"""Longest name of an episode."""


@dataclass(frozen=True)
class CallInState(ToolCall):
    """A call with the earlier calls of its episode; its key depends on both.

    ``arguments`` are those of the call alone; ``canonical_arguments`` are those that its answer is kept with.
    """

    history: tuple[PriorCall, ...] = ()

    @classmethod
    def after(cls, call: ToolCall, history: Sequence[PriorCall]) -> CallInState:
        """The call after these earlier calls."""
        return cls(call.category, call.tool, call.api, call.arguments, tuple(history))

    @property
    def alone(self) -> ToolCall:
        """The same call outside an episode."""
        return ToolCall(self.category, self.tool, self.api, self.arguments)

    @cached_property
    def canonical_arguments(self) -> bytes:
        """RFC 8785 bytes of the arguments and the state."""
        return canonical_json({**self.arguments, STATE: state_of(self.history)})

    @cached_property
    def key(self) -> str:
        """SHA-256 of the call in its state."""
        return call_key(self.category, self.tool, self.api, self.canonical_arguments)


def state_of(history: Sequence[PriorCall]) -> str:
    """SHA-256 of the earlier calls with their answers, in order."""
    digest = hashlib.sha256()
    for prior in history:
        for part in (prior.api.encode(), prior.arguments, prior.body):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.hexdigest()


def call_alone(call: ToolCall) -> ToolCall:
    """The call without the state of an episode."""
    return call.alone if isinstance(call, CallInState) else call


def episode_history(call: ToolCall) -> list[JsonObject]:
    """The earlier calls of a call's episode with their answers, for a prompt; oldest first."""
    history = call.history if isinstance(call, CallInState) else ()
    return [_as_json(prior) for prior in history]


def _as_json(prior: PriorCall) -> JsonObject:
    answer: Any = json_text.parse(prior.body)
    return {"api": prior.api, "arguments": json_text.parse(prior.arguments), "answer": answer}
