"""``cot``: the model calls functions until it calls ``Finish`` (CoT of ToolLLM, arXiv:2307.16789)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from stb_agents.agent import ModelUse, Outcome, Task
from stb_agents.budget import Budget, BudgetSpent
from stb_agents.environment import Environment
from stb_agents.prompts import read_prompt
from stb_agents.turns import act
from stb_core.trajectories import Message, StopReason

SYSTEM_PROMPT = """\
You carry out tasks for a user by calling functions. Each function is one API of a tool on the web.

Work in turns. In each turn say in a sentence what you know and what is missing, then call one or
more functions. What they return is all that you know about the world: do not make up results.
If a call fails, read its error, and try other arguments or another function.

When you have what the user asked for, call Finish with return_type give_answer, and put the whole
answer into final_answer: the user sees nothing else. If the functions cannot lead to an answer, call
Finish with return_type give_up_and_restart."""

# Replies without any call, one after the other, after which there is no point in going on.
_MAX_IDLE = 3


@dataclass(frozen=True)
class Cot:
    """Function calling in one conversation.

    Attributes:
        system_prompt: a file with words to use in place of our own.
    """

    system_prompt: Path | None = None

    name: ClassVar[str] = "cot"
    model_use: ClassVar[ModelUse] = "required"
    budget: ClassVar[Budget] = Budget(max_steps=12)

    def settings(self) -> dict[str, Any]:
        """The words that the model is given."""
        return {"system_prompt": self._words}

    @cached_property
    def _words(self) -> str:
        return read_prompt(self.system_prompt) if self.system_prompt else SYSTEM_PROMPT

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """One conversation until Finish, silence or the end of the budget."""
        messages = [
            Message(role="system", content=self._words),
            Message(role="user", content=task.text),
        ]
        try:
            return await self._converse(messages, environment)
        except BudgetSpent as spent:
            return Outcome(spent.reason, messages=tuple(messages))

    async def _converse(self, messages: list[Message], environment: Environment) -> Outcome:
        """Appends to ``messages`` what is said and seen."""
        idle = 0
        while idle < _MAX_IDLE:
            environment.begin_step()
            reply = await environment.ask(messages, functions=environment.functions.schemas)
            turn = await act(reply, environment)
            messages.extend(turn.messages)
            if turn.finished:
                return Outcome(turn.finished.stop, turn.finished.final_answer, messages=tuple(messages))
            idle = idle + 1 if turn.is_idle else 0
        return Outcome(StopReason.NO_FINISH, messages=tuple(messages))
