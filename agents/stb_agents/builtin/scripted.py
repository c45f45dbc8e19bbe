"""``scripted`` and ``scripted-hasty``: deterministic agents without a model, one better than the other.

They show the whole way from a query to a score offline, and give tests two systems whose scores must differ.
They read which APIs a query needs (its ``relevant_apis``), which no other agent may do, so their scores
say nothing about agents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stb_agents.builtin.argument_guesses import facts, guesses
from stb_agents.custom import hand_in
from stb_agents.environment import UNLIMITED, Budget, Environment, ModelUse, Outcome, Task
from stb_core.values import Step
from stb_core.values.functions import ApiFunction

_MAX_FACTS = 12
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Scripted:
    """Calls every API that the query needs, tries other arguments on an error, and reports what it saw."""

    name: ClassVar[str] = "scripted"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """Empty: it has no settings."""
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Make up to three calls of each API, then answer."""
        lines: list[str] = []
        for function in needed(task, environment):
            for arguments in guesses(function, task.text, seen(environment.steps)):
                step = await call(environment, function, arguments)
                if not step.error:
                    lines.append(summary(function, step))
                    break
        return hand_in("\n".join(lines), environment)


@dataclass(frozen=True)
class ScriptedHasty:
    """Makes one call with the first guess and answers, whatever it returned; gives up on every fourth query."""

    name: ClassVar[str] = "scripted-hasty"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """Empty: it has no settings."""
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Make one call and answer."""
        functions = needed(task, environment)
        if not functions or _chance(task) == 0:
            return hand_in(None, environment)
        (first, *_) = functions
        step = await call(environment, first, guesses(first, task.text)[0])
        return hand_in("I could not find it out." if step.error else summary(first, step), environment)


async def call(environment: Environment, function: ApiFunction, arguments: dict[str, Any]) -> Step:
    """Make one turn with one call."""
    environment.begin_step()
    return await environment.call(function.name, json.dumps(arguments, ensure_ascii=False))


def seen(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Names and values from the observations, those of the latest call first."""
    return [fact for step in reversed(steps) if not step.error for fact in facts(step.observation)]


def needed(task: Task, environment: Environment) -> list[ApiFunction]:
    """The functions of the APIs that the query needs; all that it offers where it does not say."""
    found = [environment.functions.find_api(ref) for ref in task.query.relevant_apis]
    return [function for function in found if function] or list(environment.functions.all)


def summary(function: ApiFunction, step: Step) -> str:
    """The result of a call in one line: names and values, or the beginning of the text."""
    found = list(dict.fromkeys(facts(step.observation)))[:_MAX_FACTS]
    text = "; ".join(f"{name}: {value}" for name, value in found) or step.observation
    return f"{function.api.document.name}: {text[:_LONGEST_TEXT]}"


def _chance(task: Task) -> int:
    """A number from 0 to 3, the same for a query in every run."""
    return hashlib.sha256(f"{task.query.group}/{task.query.query_id}".encode()).digest()[0] % 4
