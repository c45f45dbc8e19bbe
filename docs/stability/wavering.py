"""An agent without a model that acts differently in each trial: by chance it leaves out calls that it needs.

stb run -a docs/stability/wavering.py:agent -k 3
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from stb_agents.builtin.argument_guesses import guesses
from stb_agents.builtin.scripted import call, needed, seen, summary
from stb_agents.custom.callables import hand_in
from stb_agents.environment.agent import ModelUse, Outcome, Task
from stb_agents.environment.budget import UNLIMITED, Budget
from stb_agents.environment.environment import Environment


@dataclass(frozen=True)
class Wavering:
    """Calls the APIs that a query needs, each with a chance of 70 %, once, and reports what it saw."""

    name: ClassVar[str] = "wavering"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """Empty: it has no settings."""
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Make one call of each API that is not left out, then answer."""
        lines = []
        for function in needed(task, environment):
            place = f"{task.query.group}/{task.query.query_id}/{task.trial}/{function.name}"
            if hashlib.sha256(place.encode()).digest()[0] < 77:
                continue
            arguments = guesses(function, task.text, seen(environment.steps))
            step = await call(environment, function, arguments[0])
            if not step.error:
                lines.append(summary(function, step))
        return hand_in("\n".join(lines) or "I could not find it out.", environment)


agent = Wavering()
