"""What a check found: fine, doubtful or broken, and in the latter cases what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is; only a failure makes ``stb doctor`` fail."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """One row of ``stb doctor``."""

    check: str
    """What was looked at: ``store``, ``redis``, ``model openai/gpt-4o-mini``, …"""
    found: str
    """What is so, in words."""
    status: Status = Status.OK
    problem: str = ""
    """The name of what is wrong, to be looked up in ``docs/operations.md``; empty when all is well."""
    remedy: str = ""
    """What to do now; never empty beside a problem."""


def warning(check: str, problem: str, found: str, remedy: str) -> Finding:
    """Something that works, and will disappoint."""
    return Finding(check, found, Status.WARNING, problem, remedy)


def failure(check: str, problem: str, found: str, remedy: str) -> Finding:
    """Something that does not work, or must not stay as it is."""
    return Finding(check, found, Status.FAILURE, problem, remedy)
