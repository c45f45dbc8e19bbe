"""A call in the state of its episode: what the same tool was answered before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stb_core import json_text
from stb_core.store.episodes import PriorCall
from stb_core.values.calls import JsonObject, ToolCall, call_key, canonical_json

STATE = "$episode"
"""The argument that tells the state of the episode in which a kept answer holds; no API has it."""


MAX_NAME = 200
"""Longest name of an episode."""


@dataclass(frozen=True)
class CallInState(ToolCall):
    """A call with what its episode was answered before; its key tells both.

    ``arguments`` are those of the call alone, ``canonical_arguments`` those that it is kept with.
    """

    history: tuple[PriorCall, ...] = ()

    @classmethod
    def of(cls, call: ToolCall, history: Sequence[PriorCall]) -> CallInState:
        """The call in this state."""
        return cls(call.category, call.tool, call.api, call.arguments, tuple(history))

    @property
    def alone(self) -> ToolCall:
        """The same call, in no episode."""
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
    """What the episode of a call was answered before, for a prompt; oldest first."""
    history = call.history if isinstance(call, CallInState) else ()
    return [_shown(prior) for prior in history]


def _shown(prior: PriorCall) -> JsonObject:
    answer: Any = json_text.parse(prior.body)
    return {"api": prior.api, "arguments": json_text.parse(prior.arguments), "answer": answer}
