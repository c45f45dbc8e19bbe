"""Where an answer came from, and which modes decide what may answer.

Every answer carries its provenance; a simulated answer is never called recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Provenance(StrEnum):
    """The origin of one response."""

    RECORDED = "recorded"
    """Imported, or captured earlier from the real API."""
    LIVE = "live"
    """From the real API, now."""
    SIMULATED = "simulated"
    """Made by a language model, now."""
    RECORDED_SIMULATED = "recorded-simulated"
    """Made by a language model earlier and served again from the cache."""
    TEMPLATE = "template"
    """Made by rule from the API's document."""
    FAULT = "fault"
    """Injected on purpose."""
    MISS = "miss"
    """Nothing could answer."""


NOT_STATED = "not stated"
"""In the place of a provenance where a trajectory of others does not say it."""


class Source(StrEnum):
    """What may answer a call that no recording answers."""

    REAL_API = "the real API"
    SIMULATOR = "a simulator"


class Replacing(StrEnum):
    """Which recorded answers a new one may replace; the old one stays on record."""

    NOTHING = "nothing"
    SIMULATED = "simulated"
    ANYTHING = "anything"


@dataclass(frozen=True)
class ModeRules:
    """What may answer a call, and what becomes of a new answer."""

    reads: bool
    """Whether a recording answers first."""
    sources: tuple[Source, ...]
    """What is asked when no recording answers, in this order."""
    keeps: bool
    """Whether new answers are recorded."""
    replaces: Replacing = Replacing.NOTHING
    """Which recorded answers a new one replaces."""

    @property
    def is_frozen(self) -> bool:
        """Whether only recordings may answer, so that the same recordings give the same answers."""
        return self.reads and not self.sources

    @property
    def answered_by(self) -> str:
        """What may answer, in words."""
        return ", ".join([*(["recordings"] if self.reads else []), *self.sources])

    @property
    def kept(self) -> str:
        """What is recorded, in words."""
        return _KEPT[self.replaces] if self.keeps else "nothing"


_KEPT = {
    Replacing.NOTHING: "new answers",
    Replacing.SIMULATED: "new answers; they replace simulated ones",
    Replacing.ANYTHING: "new answers; the old one stays as a superseded version",
}
_REAL, _SIMULATED = Source.REAL_API, Source.SIMULATOR


class CacheMode(StrEnum):
    """The cache modes with their rules: all that depends on a mode is derived from this table."""

    REPLAY = "replay", ModeRules(reads=True, sources=(), keeps=False)
    AUTO = "auto", ModeRules(reads=True, sources=(_REAL, _SIMULATED), keeps=True)
    SIMULATE = "simulate", ModeRules(reads=True, sources=(_SIMULATED,), keeps=True)
    RECORD = "record", ModeRules(reads=False, sources=(_REAL,), keeps=True, replaces=Replacing.SIMULATED)
    LIVE = "live", ModeRules(reads=False, sources=(_REAL,), keeps=False)
    REFRESH = (
        "refresh",
        ModeRules(reads=False, sources=(_REAL, _SIMULATED), keeps=True, replaces=Replacing.ANYTHING),
    )

    rules: ModeRules

    def __new__(cls, name: str, *rules: ModeRules) -> Self:
        """Make a mode: the text of its name, with its rules."""
        mode = str.__new__(cls, name)
        mode._value_ = name
        (mode.rules,) = rules
        return mode


MODES = {mode: mode.rules for mode in CacheMode}
"""The rules of every mode."""
DEFAULT_MODE = next(mode for mode, rules in MODES.items() if rules.is_frozen)


def modes_that_ask(source: Source) -> str:
    """The names of the modes in which a source may answer, for help texts."""
    return ", ".join(mode for mode, rules in MODES.items() if source in rules.sources)


def is_frozen(mode: str) -> bool:
    """Whether a mode lets only recordings answer; False for a name that is not a mode."""
    return any(rules.is_frozen for name, rules in MODES.items() if name == mode)
