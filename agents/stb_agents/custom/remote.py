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
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import httpx2
import orjson

from stb_agents.custom.callables import hand_in
from stb_agents.custom.remote_version import ask_version, check_version
from stb_agents.environment import (
    Agent,
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
_TURN = "turn"
"""The shape of a turn's request, among those that a run's endpoints have accepted."""
_SIGN_OF_LIFE_S = 5.0
_POLL_S = 0.5
"""Time between two readings of an episode whose agent makes its calls itself."""


@dataclass
class _Contact:
    """Whether the agent has answered in this trial, and whether it is its turn."""

    is_heard: bool = False
    is_awaited: bool = False


@dataclass(frozen=True)
class Remote:
    """An agent at an address.

    ``version`` is what it stated when it was asked. ``versions`` holds what it states in its turns.
    """

    url: str
    patience: Patience = _PATIENCE
    version: str = ""
    versions: set[str] = field(default_factory=set, compare=False, repr=False)

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

    async def asked_for_version(self) -> Remote:
        """The same agent, with the version that it states to a GET of its address, if it does."""
        return replace(self, version=await ask_version(self.url))

    async def check(self) -> None:
        """Check that something accepts connections at the address; sends nothing.

        Raises:
            ServiceError: nothing does.
        """
        async with self._client() as http:
            try:
                await http.connect()
            except HttpError as problem:
                raise ServiceError(
                    f"The agent at {self._place} cannot be reached ({problem}).",
                    hint="Start it, or check the address.",
                ) from None

    def _client(self) -> HttpClient:
        return HttpClient(
            self.url,
            headers={"Content-Type": "application/json"},
            connect_timeout_s=self.patience.connect_timeout_s,
            read_timeout_s=self.patience.read_timeout_s,
        )

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Ask for turns until there is an answer.

        Raises:
            ServiceError: the agent cannot be reached, keeps failing, or has never answered with a turn in this run.
            FormatError: it answers something other than a turn.
        """
        http, query = self._client(), task.query
        with self._blame_silence(environment) as contact:
            episode = await environment.open_episode(self.name[:100], query.group, query.query_id)
            async with http:
                try:
                    return await self._turns(http, task, environment, episode, contact)
                except BudgetSpent:
                    if episode and (await environment.read_episode(episode)).is_active:
                        contact.is_heard = True
                    if contact.is_heard and contact.is_awaited:
                        await self._blame_dead_process(http, environment)
                    raise
                finally:
                    if episode:
                        await episode.close()

    @contextmanager
    def _blame_silence(self, environment: Environment) -> Generator[_Contact]:
        """Blame infrastructure when the time ends before the agent has answered anything.

        Then a slow agent cannot be told from a dead one, so the trial is repeated, whether the time ended before,
        during or after a failed attempt. The caller notes when the agent has answered.
        """
        contact = _Contact()
        try:
            yield contact
        except (BudgetSpent, asyncio.CancelledError) as end:
            out_of_time = not isinstance(end, BudgetSpent) or end.reason is StopReason.MAX_SECONDS
            if out_of_time and not contact.is_heard:
                environment.fault = environment.fault or ServiceError(
                    f"The agent at {self._place} gave no answer before the time of the trial ended."
                )
            raise

    async def _blame_dead_process(self, http: HttpClient, environment: Environment) -> None:
        """Blame infrastructure when the time ended while the agent was awaited, and its process gives no sign of life.

        A process that was stopped or hangs may still accept connections, so it has to answer a request, of
        any kind and with any status. If the trial is cancelled meanwhile, it gave none in time.
        """
        fault = ServiceError(f"The agent at {self._place} stopped answering, and gives no sign of life.")
        if environment.fault is None:
            environment.fault = fault
        if await _is_alive(http) and environment.fault is fault:
            environment.fault = None

    async def _turns(
        self,
        http: HttpClient,
        task: Task,
        environment: Environment,
        episode: ServerEpisode | None,
        contact: _Contact,
    ) -> Outcome:
        while True:
            environment.begin_step()
            document = turn_request(task, environment, episode)
            contact.is_awaited = True
            async with environment.time_limit():
                with environment.attempts(f"The agent at {self._place}"):
                    turn = await self._turn_or_fault(http, document, environment)
            contact.is_heard = True
            check_version(turn, self.version, self.versions, self._place)
            if episode and (ended := await _end_of(episode, environment, waits=turn is None)):
                if ended.stop is StopReason.EXPIRED and not await _is_alive(http):
                    raise ServiceError(
                        f"The agent at {self._place} left its episode, and gives no sign of life."
                    )
                return ended
            contact.is_awaited = False
            if turn is None or turn.get("finished"):
                raise FormatError(
                    f"The agent at {self._place} says that it has finished, but has finished no episode."
                )
            calls = calls_of(turn)
            if not calls:
                return hand_in(turn["answer"], environment)
            if finished := await _perform(calls, environment):
                return Outcome(finished.stop, finished.final_answer)

    async def _turn_or_fault(
        self, http: HttpClient, document: dict[str, Any], environment: Environment
    ) -> dict[str, Any] | None:
        """As ``_turn``; what answers no turn in the whole session is no agent: the address or the set-up is wrong.

        Raises:
            ServiceError: as ``_turn``, and where nothing has answered with a turn in this session.
            FormatError: this agent has answered other turns.
        """
        try:
            turn = await self._turn(http, document)
        except FormatError as problem:
            if environment.accepted.in_session(_TURN):
                raise
            raise ServiceError(problem.message, hint="Check what answers at the address.") from None
        environment.accepted.add(_TURN)
        return turn

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
                reason, wait = str(problem), retries.next_wait_s(reason=str(problem))
            else:
                if answer.status == 200:
                    return read_turn(answer.content)
                if answer.status == 202 and "episode" in document:
                    return None
                reason = f"HTTP {answer.status}"
                if answer.status != 429 and answer.status < 500:
                    raise FormatError(f"The agent at {self._place} answered {reason} to a turn.")
                wait = retries.next_wait_s(retry_after_s(answer.headers), reason=reason)
            if wait is None:
                raise ServiceError(
                    f"The agent at {self._place} did not answer: {reason}.", hint="Check that it is running."
                )
            await asyncio.sleep(wait)


async def _is_alive(http: HttpClient) -> bool:
    """Whether something at the agent's address still answers requests, with whatever status."""
    try:
        await http.request("HEAD", timeout_s=_SIGN_OF_LIFE_S)
    except HttpError:
        return False
    return True


async def check_agent(agent: Agent) -> None:
    """Check that an agent at an address can be reached; other agents are there.

    Raises:
        ServiceError: nothing accepts connections at its address.
    """
    if isinstance(agent, Remote):
        await agent.check()


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
