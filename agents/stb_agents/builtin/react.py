"""``react``: the text protocol Thought / Action / Action Input, for models without function calling.

With the template ``toolllama`` the conversation is one text for the model to continue, in the form on
which ToolLLaMA (arXiv:2307.16789) was trained: a line ``Role: content`` for each message, and
``Assistant:`` at the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from stb_agents.builtin import react_format
from stb_agents.builtin.prompts import read_prompt
from stb_agents.environment import UNLIMITED, Budget, BudgetSpent, Environment, ModelUse, Outcome, Task
from stb_core.errors import UsageError
from stb_core.values import FINISH, Finished, FunctionSchema, Message, StopReason

CHAT, TOOLLLAMA = "chat", "toolllama"
FUNCTIONS = "{functions}"

SYSTEM_PROMPT = """\
You carry out tasks for a user by calling functions. Each function is one API of a tool on the web.

Work in turns. Write each turn in exactly this form and then stop:

Thought: what you know, what is missing, and what to do next
Action: the name of one function
Action Input: its arguments as one JSON object

You are then shown what the function returned, as an Observation. That is all that you know about the
world: do not make up results. If a call fails, read its error, and try other arguments or another
function.

When you have what the user asked for, the Action is Finish, and its input is
{"return_type": "give_answer", "final_answer": "the whole answer for the user"}. If the functions cannot
lead to an answer, it is {"return_type": "give_up_and_restart"}.

The functions, with JSON Schemas of their arguments:
{functions}"""

NO_ACTION = "There was no Action. Go on in the form: Thought, Action, Action Input."

_MAX_IDLE = 3
_ROLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Function"}


@dataclass(frozen=True)
class React:
    """One conversation in the text protocol.

    Attributes:
        turns: most turns of the conversation.
        template: ``chat``, or ``toolllama`` for completion models.
        system_prompt: file with a system prompt, in place of ``SYSTEM_PROMPT``. The functions are listed where
            it has ``{functions}``, otherwise at its end.
    """

    turns: int = 12
    template: str = CHAT
    system_prompt: Path | None = None

    name: ClassVar[str] = "react"
    model_use: ClassVar[ModelUse] = "required"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """The limits, the template, and the system prompt."""
        if self.template not in {CHAT, TOOLLLAMA}:
            raise UsageError(f"There is no template {self.template!r}.", hint="There are: chat, toolllama.")
        return {"turns": self.turns, "template": self.template, "system_prompt": self._prompt}

    @cached_property
    def _prompt(self) -> str:
        return read_prompt(self.system_prompt) if self.system_prompt else SYSTEM_PROMPT

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """One conversation, until ``Finish``, too many idle turns, the last turn or the end of the budget."""
        messages = [
            Message(role="system", content=with_functions(self._prompt, environment.functions.schemas)),
            Message(role="user", content=task.text),
        ]
        try:
            finished = await self._converse(messages, environment)
        except BudgetSpent as spent:
            finished = Finished(spent.reason)
        return Outcome(finished.stop, finished.final_answer, messages=tuple(messages))

    async def _converse(self, messages: list[Message], environment: Environment) -> Finished:
        """Have the conversation; its messages are appended to ``messages``."""
        idle = 0
        known = {*environment.functions.names, FINISH}
        for _ in range(self.turns):
            environment.begin_step()
            prompt = toolllama_text(messages) if self.template == TOOLLLAMA else None
            reply = await environment.ask(messages, stop=react_format.STOP, prompt=prompt)
            text = react_format.cut_observation(reply.content or "")
            messages.append(Message(role="assistant", content=text))
            turn = react_format.parse_turn(text, known)
            if turn.action is None:
                idle += 1
                if idle == _MAX_IDLE:
                    return Finished(StopReason.NO_FINISH)
                messages.append(self._observation_message(NO_ACTION))
                continue
            idle = 0
            if turn.action == FINISH:
                step, finished = environment.finish(turn.arguments)
                if finished:
                    return finished
            else:
                step = await environment.call(turn.action, turn.arguments)
            messages.append(self._observation_message(step.observation, name=turn.action))
        return Finished(StopReason.MAX_STEPS)

    def _observation_message(self, observation: str, name: str | None = None) -> Message:
        """An observation as a message: the user's in a chat, the function's in ToolLLaMA's form."""
        if self.template == TOOLLLAMA:
            return Message(role="tool", content=observation, name=name)
        return Message(role="user", content=f"{react_format.OBSERVATION}: {observation}", name=name)


def with_functions(prompt: str, schemas: Sequence[FunctionSchema]) -> str:
    """The system prompt with the functions in it."""
    listed = "\n".join(json.dumps(schema.model_dump(), ensure_ascii=False) for schema in schemas)
    return prompt.replace(FUNCTIONS, listed) if FUNCTIONS in prompt else f"{prompt}\n{listed}"


def toolllama_text(messages: Sequence[Message]) -> str:
    """A conversation in ToolLLaMA's form, for the model to continue."""
    lines = [f"{_ROLES[message.role]}: {message.content or ''}\n" for message in messages]
    return "".join(lines) + "Assistant:\n"
