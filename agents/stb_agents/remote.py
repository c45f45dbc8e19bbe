"""``http://…``: a remote agent, in any language, asked turn by turn over HTTP.

Each turn is one ``POST`` of a JSON document to the agent's address:

    {"format": "stabletoolbench-turn/1",
     "task": {"group": …, "query_id": …, "trial": …, "text": …},
     "tools": [{"type": "function", "function": {"name", "description", "parameters"}}, …],
     "calls": [{"name", "arguments", "observation"}, …]}     all that it called so far, with what it saw

and the agent answers with what it does next: ``{"calls": [{"name": …, "arguments": {…}}, …]}``, or
``{"answer": …}``, where null gives up. It needs no state and no way back to us; calls are made, counted
and recorded here, as for every other agent.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx2
import orjson

from stb_agents.agent import ModelUse, Outcome, Task
from stb_agents.budget import Budget
from stb_agents.callables import hand_in
from stb_agents.environment import Environment
from stb_core.errors import FormatError, ServiceError
from stb_core.lanes import Lanes
from stb_core.retries import Patience, Retries, retry_after_s
from stb_core.trajectories import FunctionCall

FORMAT = "stabletoolbench-turn/1"
SCHEMES = ("http://", "https://")

_PATIENCE = Patience(deadline_s=120, connect_timeout_s=10, read_timeout_s=600, longest_wait_s=10)
_TURNS = 50


@dataclass(frozen=True)
class Remote:
    """An agent at an address."""

    url: str
    patience: Patience = _PATIENCE

    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = Budget(max_steps=_TURNS)

    @property
    def name(self) -> str:
        """``remote:`` and the address, without a user or password in it."""
        return f"remote:{self._place}"

    @property
    def _place(self) -> str:
        url = httpx2.URL(self.url)
        return f"{url.netloc.decode()}{url.path.rstrip('/')}"

    def settings(self) -> dict[str, Any]:
        """None that we know of."""
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Ask for turns until there is an answer.

        Raises:
            ServiceError: the agent cannot be reached, or fails again and again.
            FormatError: it answers something else than a turn.
        """
        timeout = httpx2.Timeout(self.patience.read_timeout_s, connect=self.patience.connect_timeout_s)
        async with httpx2.AsyncClient(transport=Lanes(self.url), timeout=timeout) as http:
            while True:
                environment.begin_step()
                turn = await self._turn(http, task, environment)
                if "answer" in turn:
                    return hand_in(turn["answer"], environment)
                await environment.call_all(calls_of(turn))

    async def _turn(self, http: httpx2.AsyncClient, task: Task, environment: Environment) -> dict[str, Any]:
        body = orjson.dumps(document_of(task, environment))
        retries = Retries(self.patience, random.Random(0))
        while True:
            try:
                async with environment.time_limit():
                    answer = await http.post(
                        self.url, content=body, headers={"Content-Type": "application/json"}
                    )
            except httpx2.HTTPError as problem:
                reason, wait = str(problem) or type(problem).__name__, retries.next_wait_s()
            else:
                if answer.status_code == 200:
                    return read_turn(answer.content)
                reason = f"HTTP {answer.status_code}"
                if answer.status_code != 429 and answer.status_code < 500:
                    raise FormatError(f"The agent at {self._place} answered {reason} to a turn.")
                wait = retries.next_wait_s(retry_after_s(answer.headers))
            if wait is None:
                raise ServiceError(
                    f"The agent at {self._place} did not answer: {reason}.", hint="See that it is running."
                )
            await asyncio.sleep(wait)


def document_of(task: Task, environment: Environment) -> dict[str, Any]:
    """What an agent is told before a turn."""
    query = task.query
    return {
        "format": FORMAT,
        "task": {
            "group": query.group,
            "query_id": query.query_id,
            "trial": task.trial,
            "text": task.text,
        },
        "tools": [{"type": "function", "function": f.schema.model_dump()} for f in environment.functions.all],
        "calls": [
            {"name": step.function, "arguments": step.arguments, "observation": step.observation}
            for step in environment.steps
        ],
    }


def read_turn(body: bytes) -> dict[str, Any]:
    """What the agent does next.

    Raises:
        FormatError: it is neither calls nor an answer.
    """
    try:
        turn = orjson.loads(body)
    except ValueError:
        turn = None
    if isinstance(turn, dict) and (
        "answer" in turn or (isinstance(turn.get("calls"), list) and turn["calls"])
    ):
        return turn
    raise FormatError('The agent answered neither {"calls": [...]} nor {"answer": ...}.')


def calls_of(turn: dict[str, Any]) -> list[FunctionCall]:
    """The calls of a turn; arguments may be an object or its text.

    Raises:
        FormatError: a call has no name.
    """
    calls = []
    for call in turn["calls"]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise FormatError("A call of the agent has no name.")
        given = call.get("arguments", {})
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        calls.append(FunctionCall(id="", name=call["name"], arguments=text))
    return calls
