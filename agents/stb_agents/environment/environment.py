"""An agent's world in one trial: functions to call, a model to ask, budgets to keep, all on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from stb_agents.environment.blame import Accepted, Refused, shape_of
from stb_agents.environment.budget import UNLIMITED, Budget, BudgetSpent, Meter, RunStopped
from stb_agents.environment.server_client import VirtualClient
from stb_agents.environment.server_episode import News, ServerEpisode
from stb_core.errors import (
    ModelError,
    ModelUnavailableError,
    RequestRefusedError,
    ServiceError,
    StoreError,
    UsageError,
)
from stb_core.llm.protocol import Model, Reply, Request
from stb_core.llm.retries import counting_failures
from stb_core.usage import Usage
from stb_core.values.functions import Functions, FunctionSchema
from stb_core.values.observations import DEFAULT_OBSERVATION, Finished, finish_step, read_call, shown
from stb_core.values.trajectories import FINISH, FunctionCall, Message, ModelCall, Step, StopReason, Timing


@dataclass(frozen=True)
class Sampling:
    """How a model is asked; None leaves it to the endpoint."""

    temperature: float | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None


class Environment:
    """Everything an agent can reach in one trial.

    Args:
        functions: the query's functions.
        client: the virtual API server.
        model: what ``ask`` asks; None for agents without one.
        sampling: how it is asked.
        budget: limits of this trial.
        max_observation: characters of an observation that an agent is shown.
        episode: the server's name for this attempt, "" for calls that are independent of each other.
        accepted: what the model's endpoint accepts, the same for all trials of a run.
    """

    def __init__(
        self,
        functions: Functions,
        client: VirtualClient,
        *,
        model: Model | None = None,
        sampling: Sampling = Sampling(),
        budget: Budget = UNLIMITED,
        max_observation: int = DEFAULT_OBSERVATION,
        episode: str = "",
        accepted: Accepted | None = None,
    ) -> None:
        self.functions = functions
        self._client = client
        self._model = model
        self._sampling = sampling
        self._max_observation = max_observation
        self._episode = episode
        self.meter = Meter(budget)
        self.steps: list[Step] = []
        self.messages: tuple[Message, ...] = ()
        self.fault: Exception | None = None
        """What failed that the agent has no part in; remembered, whatever the agent makes of it."""
        self.accepted = accepted or Accepted()
        self.refused: Refused | None = None
        """The last request to the model, where its endpoint refused it."""
        self.answer: Finished | None = None
        """The last answer that was handed in."""
        self.simulator_usage = Usage()
        """What the server's simulator has consumed for calls of this trial."""
        self._has_answered = False
        self._calls_made = 0
        self._model_s = self._tool_s = 0.0
        self._tool_times: list[float] = []
        self._model_times: list[ModelCall] = []

    @property
    def usage(self) -> Usage:
        """What model calls have consumed."""
        return self.meter.usage

    @property
    def spent(self) -> StopReason | None:
        """The budget that ended the trial, whatever the agent made of it; none does after an answer."""
        return None if self.answer else self.meter.spent

    @property
    def timing(self) -> Timing:
        """Seconds so far; model and tool seconds include waiting for their turn."""
        return Timing(
            seconds=self.meter.seconds,
            model_seconds=self._model_s,
            tool_seconds=self._tool_s,
            tool_calls=tuple(self._tool_times),
            model_calls=tuple(self._model_times),
        )

    def begin_step(self) -> None:
        """Count a turn of the agent's loop.

        Raises:
            BudgetSpent: it would be one too many, or the time is up.
        """
        self.meter.begin_step()

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        functions: Sequence[FunctionSchema] = (),
        tool_choice: str = "auto",
        stop: Sequence[str] = (),
        response_schema: dict[str, Any] | None = None,
        variant: int = 0,
        prompt: str | None = None,
    ) -> Reply:
        """Ask the model. Calls in its reply get ids of ours, ``call00001`` and so on.

        Args:
            messages: the conversation.
            functions: what it may call.
            tool_choice: as in ``Request``.
            stop: texts at which the reply ends.
            response_schema: asks for JSON of that schema, of the keywords in ``structured.KEYWORDS``.
            variant: added to the seed, where there is one, for another answer to the same question.
            prompt: the conversation as one text, for models without a chat format.

        Raises:
            BudgetSpent: calls, tokens, money or time are used up.
            ModelError: the model gave nothing usable.
            UsageError: there is no model, or the schema demands what cannot be checked.
        """
        if self._model is None:
            raise UsageError("This agent asks a model.", hint="Name one with -m PROVIDER/MODEL.")
        self.meter.begin_model_call()
        request = Request(
            messages=tuple(
                Message.model_validate(message).with_surrogates_replaced() for message in messages
            ),
            functions=tuple(functions),
            tool_choice=tool_choice,
            temperature=self._sampling.temperature,
            max_tokens=self._sampling.max_completion_tokens,
            seed=None if self._sampling.seed is None else self._sampling.seed + variant,
            stop=tuple(stop),
            response_schema=response_schema,
            prompt=prompt,
        )
        self.messages = request.messages
        self.refused = None
        started = self.meter.seconds
        try:
            async with self.time_limit():
                with self.attempts(self._model.name):
                    reply = await self._model.complete(request)
        except (StoreError, RunStopped) as problem:
            self.fault = problem
            raise
        except ModelError as problem:  # replies before it were paid for all the same
            if isinstance(problem, ModelUnavailableError):
                self.fault = problem
            elif isinstance(problem, RequestRefusedError):
                self.refused = Refused(problem, shape_of(request), is_first=not self._has_answered)
            self._has_answered |= bool(problem.usage and problem.usage.model_calls)
            self.meter.add_usage(problem.usage or Usage())
            raise
        finally:
            self._model_s += self.meter.seconds - started
        self._has_answered = True
        self._model_times.append(
            ModelCall(
                seconds=self.meter.seconds - started,
                prompt_tokens=reply.usage.prompt_tokens,
                completion_tokens=reply.usage.completion_tokens,
            )
        )
        self.meter.add_usage(reply.usage)
        return reply.model_copy(update={"tool_calls": tuple(self._renamed(c) for c in reply.tool_calls)})

    def _renamed(self, call: FunctionCall) -> FunctionCall:
        """Ids of endpoints are random; ours are the same in every run, and of a form all servers take."""
        self._calls_made += 1
        return call.model_copy(update={"id": f"call{self._calls_made:05d}"})

    async def call(self, name: str, arguments: str) -> Step:
        """Call a function with arguments as the model wrote them; the step is on record.

        An unknown function and unusable arguments are not errors: the agent is told in the
        observation, as it is of a tool's own failure.

        Raises:
            BudgetSpent: tool calls or time are used up.
            ServiceError: the server failed.
        """
        (step,) = await self.call_all([FunctionCall(id="", name=name, arguments=arguments)])
        return step

    async def call_all(self, calls: Sequence[FunctionCall]) -> list[Step]:
        """As ``call``, several at once; the record keeps their order, not that of the answers.

        When the budget ends within them, those before the end are made and on record.
        """
        allowed: list[FunctionCall] = []
        spent: BudgetSpent | None = None
        for call in calls:
            try:
                self.meter.begin_tool_call()
            except BudgetSpent as reason:
                spent = reason
                break
            allowed.append(call)
        started = self.meter.seconds
        try:
            async with self.time_limit():
                timed = await self._steps(allowed)
        except ServiceError as problem:
            self.fault = problem
            raise
        finally:
            self._tool_s += self.meter.seconds - started
        steps = [step for step, _ in timed]
        self.steps.extend(steps)
        self._tool_times.extend(seconds for _, seconds in timed)
        if spent:
            raise spent
        return steps

    async def _steps(self, calls: Sequence[FunctionCall]) -> list[tuple[Step, float]]:
        """All at once, or in order where an answer depends on the calls before it; each with its seconds."""
        if self._episode:
            return [await self._timed_step(call) for call in calls]
        return await asyncio.gather(*(self._timed_step(call) for call in calls))

    async def _timed_step(self, call: FunctionCall) -> tuple[Step, float]:
        started = self.meter.seconds
        step = await self._step(call)
        return step, self.meter.seconds - started

    async def _step(self, call: FunctionCall) -> Step:
        read = read_call(self.functions, call.name, call.arguments, self._max_observation)
        if isinstance(read, Step):
            return read
        with self.attempts(f"The server at {self._client.url}"):
            answer = await self._client.call(read.ref, read.arguments, self._episode)
        self.simulator_usage += answer.usage
        return shown(
            read.step,
            answer.body,
            self._max_observation,
            error=answer.error,
            key=answer.key,
            provenance=answer.provenance or None,
        )

    async def open_episode(self, agent: str, group: str, query_id: str) -> ServerEpisode | None:
        """An episode at the server in which the agent can make its calls itself.

        None where the server knows none, or offers other functions than this trial does.

        Raises:
            ServiceError: the server does not answer, or refuses.
        """
        asked = {
            "agent": agent,
            "group": group,
            "query_id": query_id,
            "max_observation": self._max_observation,
            "stateful": bool(self._episode),
            "budget": self.meter.remaining,
        }
        with self.attempts(f"The server at {self._client.url}"):
            episode = await ServerEpisode.open(self._client, asked)
        if episode and episode.functions != (*self.functions.names, FINISH):
            await episode.close()
            return None
        return episode

    async def look_at(self, episode: ServerEpisode) -> News:
        """Put on record what the agent has done in an episode since the last look.

        Raises:
            ServiceError: the server does not answer.
        """
        with self.attempts(f"The server at {self._client.url}"):
            news = await episode.news()
        self.steps.extend(news.steps)
        self.meter.tool_calls += sum(step.function != FINISH for step in news.steps)
        self.meter.add_usage(news.usage)
        self.simulator_usage += news.simulator_usage
        self._tool_s += news.timing.tool_seconds
        self._model_s += news.timing.model_seconds
        self._tool_times.extend(news.timing.tool_calls)
        self._model_times.extend(news.timing.model_calls)
        return news

    def finish(self, arguments: str) -> tuple[Step, Finished | None]:
        """A call of ``Finish``, on record, and what it means.

        Where it means nothing, the step's observation says what is wrong.

        Raises:
            BudgetSpent: it comes too late, after the end of time or of another budget.
        """
        self.meter.check_open()
        step, finished = finish_step(arguments)
        self.steps.append(step)
        if finished and finished.stop is StopReason.ANSWERED:
            self.answer = finished
        return step, finished

    @asynccontextmanager
    async def time_limit(self, grace_s: float = 0.0) -> AsyncGenerator[None]:
        """Ends what runs within when the trial's time is up, or so many seconds later."""
        left = self.meter.remaining_s
        limit = asyncio.timeout(None if left is None else left + grace_s)
        try:
            async with limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise BudgetSpent(StopReason.MAX_SECONDS) from None
            raise
        finally:
            if limit.expired():  # also where what ran within took no notice
                self.meter.over(StopReason.MAX_SECONDS)

    @contextmanager
    def attempts(self, at: str) -> Generator[None]:
        """One request; if it had only failed when it was stopped, that is a fault, not slowness.

        Args:
            at: who was asked, in words.
        """
        with counting_failures() as failures:
            try:
                yield
            except asyncio.CancelledError:
                if failures.count:
                    self.fault = self.fault or ServiceError(
                        f"{at} gave no answer in time; failed attempts: {failures.count}."
                    )
                raise


def with_seed(sampling: Sampling, seed: int | None) -> Sampling:
    """The same with another seed."""
    return replace(sampling, seed=seed)
