"""The result of one check: ok, warning or failure, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """How serious a result is; only a failure makes ``stb doctor`` fail."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class CheckResult:
    """One row of ``stb doctor``."""

    check: str
    """What was checked: ``store``, ``redis``, ``model openai/gpt-4o-mini``, …"""
    found: str
    """What the check found, in words."""
    status: CheckStatus = CheckStatus.OK
    problem: str = ""
    """The name of the problem, as in ``docs/operations.md``; empty if there is none."""
    remedy: str = ""
    """How to fix the problem; never empty if there is one."""


def warning(check: str, problem: str, found: str, remedy: str) -> CheckResult:
    """Something that works now, but will cause trouble."""
    return CheckResult(check, found, CheckStatus.WARNING, problem, remedy)


def failure(check: str, problem: str, found: str, remedy: str) -> CheckResult:
    """Something that does not work, or must be changed."""
    return CheckResult(check, found, CheckStatus.FAILURE, problem, remedy)
