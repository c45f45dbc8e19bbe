"""``cot``: the model calls functions until it calls ``Finish`` (CoT of ToolLLM, arXiv:2307.16789)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from stb_agents.builtin.prompts import read_prompt
from stb_agents.builtin.tree import Tree
from stb_agents.environment import (
    UNLIMITED,
    Budget,
    BudgetSpent,
    Environment,
    ModelUse,
    Outcome,
    Task,
    perform_calls,
)
from stb_core.errors import RequestRefusedError
from stb_core.values import Finished, Message, StopReason

SYSTEM_PROMPT = """\
You carry out tasks for a user by calling functions. Each function is one API of a tool on the web.

Work in turns. In each turn say in a sentence what you know and what is missing, then call one or
more functions. What they return is all that you know about the world: do not make up results.
If a call fails, read its error, and try other arguments or another function.

When you have what the user asked for, call Finish with return_type give_answer, and put the whole
answer into final_answer: the user sees nothing else. If the functions cannot lead to an answer, call
Finish with return_type give_up_and_restart."""

_MAX_IDLE = 3
"""After this many turns in a row without a call, the conversation ends."""


@dataclass(frozen=True)
class Cot:
    """Function calling in one conversation, or in several until one leads to an answer.

    Attributes:
        turns: most turns of one try.
        tries: most conversations; a new one begins where the last ended without an answer.
        system_prompt: file with a system prompt, in place of ``SYSTEM_PROMPT``.
    """

    turns: int = 12
    tries: int = 1
    system_prompt: Path | None = None

    name: ClassVar[str] = "cot"
    model_use: ClassVar[ModelUse] = "required"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """The limits of its conversations, and its system prompt."""
        return {"turns": self.turns, "tries": self.tries, "system_prompt": self._prompt}

    @cached_property
    def _prompt(self) -> str:
        return read_prompt(self.system_prompt) if self.system_prompt else SYSTEM_PROMPT

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Try until there is an answer, no try is left, or the budget is spent.

        The trajectory's messages are those of the last try; with several, all are kept as a tree.
        """
        tree = Tree()
        opening = [Message(role="system", content=self._prompt), Message(role="user", content=task.text)]
        root = tree.add_all(None, opening)
        finished = Finished(StopReason.NO_FINISH)
        try:
            for number in range(self.tries):
                try:
                    finished = await self._try(tree, root, environment, number)
                except (
                    RequestRefusedError
                ):  # the conversation may be too long; the next try begins with a short one
                    if number == self.tries - 1:
                        raise
                if finished.stop is StopReason.ANSWERED:
                    break
        except BudgetSpent as spent:
            finished = Finished(spent.reason)
        end = len(tree.nodes) - 1
        return Outcome(
            finished.stop,
            finished.final_answer,
            messages=tree.messages(end),
            steps=tree.steps(end),
            tree=tree.nodes if self.tries > 1 else None,
        )

    async def _try(self, tree: Tree, root: int, environment: Environment, number: int) -> Finished:
        """One conversation, until ``Finish``, too many idle turns, or the last turn."""
        end, idle = root, 0
        for _ in range(self.turns):
            environment.begin_step()
            reply = await environment.ask(
                tree.messages(end), functions=environment.functions.schemas, variant=number
            )
            turn = await perform_calls(reply, environment)
            end = tree.add_turn(end, turn)
            if turn.spent:
                raise turn.spent
            if turn.finished:
                return turn.finished
            idle = idle + 1 if turn.is_idle else 0
            if idle == _MAX_IDLE:
                return Finished(StopReason.NO_FINISH)
        return Finished(StopReason.MAX_STEPS)
