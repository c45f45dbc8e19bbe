"""``scripted`` and ``scripted-hasty``: agents without a model, deterministic, of different quality.

They show the whole way from a query to a score offline, and give tests two systems that must
differ. They know which APIs a query needs (its ``relevant_apis``), which no other agent may look
at: their scores say nothing about agents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stb_agents.builtin.argument_guesses import facts, guesses
from stb_agents.custom.callables import hand_in
from stb_agents.environment.agent import ModelUse, Outcome, Task
from stb_agents.environment.budget import UNLIMITED, Budget
from stb_agents.environment.environment import Environment
from stb_core.values.functions import ApiFunction
from stb_core.values.trajectories import Step

_MAX_FACTS = 12
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Scripted:
    """Calls every API that the query needs, tries other arguments on an error, and tells what it saw."""

    name: ClassVar[str] = "scripted"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """It has none."""
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Up to three calls for each API, then an answer."""
        told: list[str] = []
        for function in needed(task, environment):
            for arguments in guesses(function, task.text, seen(environment.steps)):
                step = await call(environment, function, arguments)
                if not step.error:
                    told.append(summary(function, step))
                    break
        return hand_in("\n".join(told), environment)


@dataclass(frozen=True)
class ScriptedHasty:
    """Makes one call by the first guess and answers, whatever came of it; gives up on every fourth query."""

    name: ClassVar[str] = "scripted-hasty"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """It has none."""
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """One call and an answer."""
        functions = needed(task, environment)
        if not functions or _chance(task) == 0:
            return hand_in(None, environment)
        (first, *_) = functions
        step = await call(environment, first, guesses(first, task.text)[0])
        return hand_in("I could not find it out." if step.error else summary(first, step), environment)


async def call(environment: Environment, function: ApiFunction, arguments: dict[str, Any]) -> Step:
    """One turn with one call."""
    environment.begin_step()
    return await environment.call(function.name, json.dumps(arguments, ensure_ascii=False))


def seen(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Facts in what was observed, the latest call's first."""
    return [fact for step in reversed(steps) if not step.error for fact in facts(step.observation)]


def needed(task: Task, environment: Environment) -> list[ApiFunction]:
    """The functions of the APIs that the query needs; all that it offers when it does not say."""
    found = [environment.functions.of(ref) for ref in task.query.relevant_apis]
    return [function for function in found if function] or list(environment.functions.all)


def summary(function: ApiFunction, step: Step) -> str:
    """What a call brought, in a line: names and values, or the beginning of the text."""
    found = list(dict.fromkeys(facts(step.observation)))[:_MAX_FACTS]
    text = "; ".join(f"{name}: {value}" for name, value in found) or step.observation
    return f"{function.api.document.name}: {text[:_LONGEST_TEXT]}"


def _chance(task: Task) -> int:
    """0 to 3, the same for a query in every run."""
    return hashlib.sha256(f"{task.query.group}/{task.query.query_id}".encode()).digest()[0] % 4
