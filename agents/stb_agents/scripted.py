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

from stb_agents.agent import ModelUse, Outcome, Task
from stb_agents.budget import UNLIMITED, Budget
from stb_agents.environment import Environment
from stb_agents.functions import GIVE_ANSWER, GIVE_UP, ApiFunction
from stb_agents.guessing import facts, guesses
from stb_core.trajectories import FINISH, FunctionCall, Message, Step

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
        script = Script(task, environment)
        told: list[str] = []
        for function in needed(task, environment):
            for arguments in guesses(function, task.text, script.seen):
                step = await script.call(function, arguments)
                if not step.error:
                    told.append(summary(function, step))
                    break
        if not told:
            return script.finish(GIVE_UP)
        return script.finish(GIVE_ANSWER, "\n".join(told))


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
        script = Script(task, environment)
        functions = needed(task, environment)
        if not functions or _chance(task) == 0:
            return script.finish(GIVE_UP)
        (first, *_) = functions
        step = await script.call(first, guesses(first, task.text)[0])
        answer = "I could not find it out." if step.error else summary(first, step)
        return script.finish(GIVE_ANSWER, answer)


class Script:
    """What a scripted agent has done so far, in the form in which a model would have done it."""

    def __init__(self, task: Task, environment: Environment) -> None:
        self._environment = environment
        self._messages = [Message(role="user", content=task.text)]
        self._calls = 0

    @property
    def seen(self) -> list[tuple[str, str]]:
        """Facts in the observations so far, the latest call's first."""
        steps: Sequence[Step] = self._environment.steps
        return [fact for step in reversed(steps) if not step.error for fact in facts(step.observation)]

    async def call(self, function: ApiFunction, arguments: dict[str, Any]) -> Step:
        """One turn with one call."""
        self._environment.begin_step()
        text = json.dumps(arguments, ensure_ascii=False)
        call = self._say(function.name, text)
        step = await self._environment.call(function.name, text)
        self._messages.append(
            Message(role="tool", content=step.observation, tool_call_id=call.id, name=function.name)
        )
        return step

    def finish(self, return_type: str, answer: str = "") -> Outcome:
        """The last turn."""
        arguments = {"return_type": return_type} | ({"final_answer": answer} if answer else {})
        text = json.dumps(arguments, ensure_ascii=False)
        self._say(FINISH, text)
        _, finished = self._environment.finish(text)
        assert finished
        return Outcome(finished.stop, finished.final_answer, messages=tuple(self._messages))

    def _say(self, name: str, arguments: str) -> FunctionCall:
        self._calls += 1
        call = FunctionCall(id=f"call{self._calls:05d}", name=name, arguments=arguments)
        self._messages.append(Message(role="assistant", tool_calls=(call,)))
        return call


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
