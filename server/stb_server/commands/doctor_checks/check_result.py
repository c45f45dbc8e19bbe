"""What a check found: fine, doubtful or broken, and in the latter cases what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """How bad it is; only a failure makes ``stb doctor`` fail."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class CheckResult:
    """One row of ``stb doctor``."""

    check: str
    """What was looked at: ``store``, ``redis``, ``model openai/gpt-4o-mini``, …"""
    found: str
    """What is so, in words."""
    status: CheckStatus = CheckStatus.OK
    problem: str = ""
    """The name of what is wrong, to be looked up in ``docs/operations.md``; empty when all is well."""
    remedy: str = ""
    """What to do now; never empty beside a problem."""


def warning(check: str, problem: str, found: str, remedy: str) -> CheckResult:
    """Something that works, and will disappoint."""
    return CheckResult(check, found, CheckStatus.WARNING, problem, remedy)


def failure(check: str, problem: str, found: str, remedy: str) -> CheckResult:
    """Something that does not work, or must not stay as it is."""
    return CheckResult(check, found, CheckStatus.FAILURE, problem, remedy)
