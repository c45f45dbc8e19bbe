"""``http://…``: a remote agent, in any language, asked over HTTP.

Each turn is one ``POST`` of a JSON document to the agent's address:

    {"format": "stabletoolbench-turn/1",
     "task": {"group": …, "query_id": …, "trial": …, "text": …},
     "tools": [{"type": "function", "function": {"name", "description", "parameters"}}, …],
     "calls": [{"name", "arguments", "observation"}, …],     all calls so far, with what it saw
     "episode": {"id", "url", "token", "mcp_url", "proxy_url"}}

and the agent answers what it does next: ``{"calls": [{"name": …, "arguments": {…}}, …]}``, or
``{"answer": …}``, where null gives up; it may also call ``Finish``. So the agent needs no state and need not
reach the runner, which makes, counts and records the calls as for every other agent.

Or the agent makes its calls itself, in the episode. Then it answers as above, or hands its answer in there and
answers ``{"finished": true}``. An agent that takes long answers HTTP 202 at once, and finishes the episode later.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx2
import orjson

from stb_agents.custom.callables import hand_in
from stb_agents.environment import (
    Budget,
    BudgetSpent,
    Environment,
    ModelUse,
    Outcome,
    ServerEpisode,
    Task,
    count_before_finish,
)
from stb_core.errors import FormatError, ServiceError
from stb_core.http import HttpClient, HttpError, ResponseTooLargeError
from stb_core.llm import Patience, Retries, retry_after_s
from stb_core.values import Finished, FunctionCall, StopReason

FORMAT = "stabletoolbench-turn/1"
SCHEMES = ("http://", "https://")

_PATIENCE = Patience(deadline_s=120, connect_timeout_s=10, read_timeout_s=600, longest_wait_s=10)
_TURNS = 50
_POLL_S = 0.5
"""Time between two readings of an episode whose agent makes its calls itself."""


@dataclass(frozen=True)
class Remote:
    """An agent at an address."""

    url: str
    patience: Patience = _PATIENCE

    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = Budget(max_steps=_TURNS)

    @property
    def name(self) -> str:
        """``remote:`` and the address, without user and password."""
        return f"remote:{self._place}"

    @property
    def _place(self) -> str:
        url = httpx2.URL(self.url)
        return f"{url.netloc.decode()}{url.path.rstrip('/')}"

    def settings(self) -> dict[str, Any]:
        """A hash of the address's query string, which may choose among agents and may hold a secret."""
        query = httpx2.URL(self.url).query
        return {"query_sha256": hashlib.sha256(query).hexdigest()} if query else {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Ask for turns until there is an answer.

        Raises:
            ServiceError: the agent cannot be reached, or keeps failing.
            FormatError: it answers something other than a turn.
        """
        http = HttpClient(
            self.url,
            headers={"Content-Type": "application/json"},
            connect_timeout_s=self.patience.connect_timeout_s,
            read_timeout_s=self.patience.read_timeout_s,
        )
        query = task.query
        with self._blame_silence(environment) as heard:
            episode = await environment.open_episode(self.name[:100], query.group, query.query_id)
            try:
                async with http:
                    return await self._turns(http, task, environment, episode, heard)
            except BudgetSpent:
                if episode and not heard.is_set() and (await environment.read_episode(episode)).is_active:
                    heard.set()
                raise
            finally:
                if episode:
                    await episode.close()

    @contextmanager
    def _blame_silence(self, environment: Environment) -> Generator[asyncio.Event]:
        """Blame infrastructure when the time ends before the agent has answered anything.

        Then a slow agent cannot be told from a dead one, so the trial is repeated, whether the time ended before,
        during or after a failed attempt. The caller sets the event once the agent has answered.
        """
        heard = asyncio.Event()
        try:
            yield heard
        except (BudgetSpent, asyncio.CancelledError) as end:
            out_of_time = not isinstance(end, BudgetSpent) or end.reason is StopReason.MAX_SECONDS
            if out_of_time and not heard.is_set():
                environment.fault = environment.fault or ServiceError(
                    f"The agent at {self._place} gave no answer before the time of the trial ended."
                )
            raise

    async def _turns(
        self,
        http: HttpClient,
        task: Task,
        environment: Environment,
        episode: ServerEpisode | None,
        heard: asyncio.Event,
    ) -> Outcome:
        while True:
            environment.begin_step()
            document = turn_request(task, environment, episode)
            async with environment.time_limit():
                with environment.attempts(f"The agent at {self._place}"):
                    turn = await self._turn(http, document)
            heard.set()
            if episode and (ended := await _end_of(episode, environment, waits=turn is None)):
                return ended
            if turn is None or turn.get("finished"):
                raise FormatError(
                    f"The agent at {self._place} says that it has finished, but has finished no episode."
                )
            calls = calls_of(turn)
            if not calls:
                return hand_in(turn["answer"], environment)
            if finished := await _perform(calls, environment):
                return Outcome(finished.stop, finished.final_answer)

    async def _turn(self, http: HttpClient, document: dict[str, Any]) -> dict[str, Any] | None:
        """What the agent does next; None where it makes its calls in the episode."""
        body = orjson.dumps(document)
        retries = Retries(self.patience, random.Random(0))
        while True:
            try:
                answer = await http.request("POST", content=body)
            except ResponseTooLargeError as problem:
                raise FormatError(f"The agent at {self._place} answered too much: {problem}.") from None
            except HttpError as problem:
                reason, wait = str(problem), retries.next_wait_s()
            else:
                if answer.status == 200:
                    return read_turn(answer.content)
                if answer.status == 202 and "episode" in document:
                    return None
                reason = f"HTTP {answer.status}"
                if answer.status != 429 and answer.status < 500:
                    raise FormatError(f"The agent at {self._place} answered {reason} to a turn.")
                wait = retries.next_wait_s(retry_after_s(answer.headers))
            if wait is None:
                raise ServiceError(
                    f"The agent at {self._place} did not answer: {reason}.", hint="Check that it is running."
                )
            await asyncio.sleep(wait)


async def _end_of(episode: ServerEpisode, environment: Environment, *, waits: bool) -> Outcome | None:
    """Record what the agent did in an episode; returns how it ended it, or None while it is open.

    Raises:
        BudgetSpent: the time is up.
        ServiceError: the server failed, or its episode did.
    """
    while True:
        async with environment.time_limit():
            update = await environment.read_episode(episode)
            if update.stop is None and waits:
                await asyncio.sleep(_POLL_S)
                continue
        if update.stop is StopReason.INFRASTRUCTURE:
            raise ServiceError(update.error)
        return Outcome(update.stop, update.final_answer) if update.stop else None


def turn_request(
    task: Task, environment: Environment, episode: ServerEpisode | None = None
) -> dict[str, Any]:
    """The document that an agent gets before a turn."""
    query = task.query
    document = {
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
    return {**document, "episode": episode.address} if episode else document


def read_turn(body: bytes) -> dict[str, Any]:
    """The agent's answer to a turn.

    Raises:
        FormatError: it has neither calls nor an answer, and does not say that the agent has finished.
    """
    try:
        turn = orjson.loads(body)
    except ValueError:
        turn = None
    if isinstance(turn, dict) and (
        "answer" in turn
        or turn.get("finished") is True
        or (isinstance(turn.get("calls"), list) and turn["calls"])
    ):
        return turn
    raise FormatError('The agent answered neither {"calls": [...]} nor {"answer": ...}.')


async def _perform(calls: Sequence[FunctionCall], environment: Environment) -> Finished | None:
    """Make calls up to ``Finish``; returns how it ended the trial, None where it did not.

    Raises:
        BudgetSpent, ServiceError: as ``Environment.call_all``.
    """
    end = count_before_finish(calls)
    if end:
        await environment.call_all(calls[:end])
    return environment.finish(calls[end].arguments)[1] if end < len(calls) else None


def calls_of(turn: dict[str, Any]) -> list[FunctionCall]:
    """The calls of a turn; empty where it answers. Arguments may be an object, its text, or null for none.

    Raises:
        FormatError: a call has no name.
    """
    entries = turn.get("calls")
    if turn.get("answer") is not None or not isinstance(entries, list):
        return []
    calls = []
    for call in entries:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise FormatError("A call of the agent has no name.")
        arguments = call.get("arguments")
        if not isinstance(arguments, str):
            arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
        calls.append(FunctionCall(id="", name=call["name"], arguments=arguments))
    return calls
