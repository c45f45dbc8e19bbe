"""The environment of an agent in one trial: functions, a model and a budget; all that it does is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from stb_agents.environment.budget import UNLIMITED, Budget, BudgetSpent, Meter, RunStopped
from stb_agents.environment.server_client import VirtualClient
from stb_agents.environment.server_episode import EpisodeUpdate, ServerEpisode
from stb_core.errors import (
    ModelError,
    ModelUnavailableError,
    RequestRefusedError,
    ServiceError,
    StoreError,
    UsageError,
)
from stb_core.llm import (
    AcceptedShapes,
    Model,
    RefusedRequest,
    Reply,
    Request,
    counting_failures,
    shape_of,
    was_answered,
    with_text_calls,
)
from stb_core.usage import Usage
from stb_core.values import (
    FINISH,
    Finished,
    FunctionCall,
    Functions,
    FunctionSchema,
    Message,
    Step,
    StopReason,
)
from stb_core.values.functions import finish_name
from stb_core.values.observations import PLAIN, ObservationStyle, finish_step, read_call, with_observation
from stb_core.values.trajectories import ModelCall, Timing

_KEPT_THOUGHTS = 2000
"""Most characters of the thoughts of one reply that a trajectory keeps."""
_USUAL_ENDS = frozenset({"stop", "tool_calls", "function_call"})


@dataclass(frozen=True)
class Sampling:
    """Sampling settings of a model; None leaves a setting to the endpoint."""

    temperature: float | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    text_calls: bool = False
    """Read calls that the model wrote as text."""


class Environment:
    """Everything an agent can reach in one trial.

    Args:
        functions: that the query offers.
        client: of the virtual API server.
        model: that ``ask`` asks; None for agents without one.
        sampling: settings of each request to the model.
        budget: limits of this trial.
        observations: how the agent is shown what its calls return.
        episode: names this attempt to the server; "" for calls that are independent of each other.
        accepted: shapes of requests that the model's endpoint accepts, shared by all trials of a run.
    """

    def __init__(
        self,
        functions: Functions,
        client: VirtualClient,
        *,
        model: Model | None = None,
        sampling: Sampling = Sampling(),
        budget: Budget = UNLIMITED,
        observations: ObservationStyle = PLAIN,
        episode: str = "",
        accepted: AcceptedShapes | None = None,
    ) -> None:
        self.functions = functions
        self._client = client
        self._model = model
        self._sampling = sampling
        self._observations = observations
        self._episode = episode
        self.meter = Meter(budget)
        self.steps: list[Step] = []
        self.messages: tuple[Message, ...] = ()
        self.fault: Exception | None = None
        """An infrastructure failure in this trial; kept also where the agent catches the exception."""
        self.accepted = accepted or AcceptedShapes()
        self.refused: RefusedRequest | None = None
        """The last request to the model, where its endpoint refused it."""
        self.answer: Finished | None = None
        """The last answer that was handed in."""
        self.simulator_usage = Usage()
        """What the server's simulator has consumed for calls of this trial."""
        self.is_reply_cut = False
        """Whether the model's last reply reached the limit on tokens, and nothing was called since."""
        self._has_answered = False
        self._proxy_fault: Exception | None = None
        self._calls_made = 0
        self._model_s = self._tool_s = 0.0
        self._tool_times: list[float] = []
        self._model_times: list[ModelCall] = []

    @property
    def usage(self) -> Usage:
        """What the model calls have consumed so far."""
        return self.meter.usage

    @property
    def spent(self) -> StopReason | None:
        """The limit that ended the trial, also where the agent caught it; None once an answer is handed in."""
        return None if self.answer else self.meter.spent

    @property
    def timing(self) -> Timing:
        """Seconds so far; those of the model and of tools include waiting for a free connection."""
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
        """Ask the model. Calls in its reply get new ids, ``call00001`` and so on.

        Args:
            messages: the conversation.
            functions: that it may call.
            tool_choice: as in ``Request``.
            stop: texts that end the reply.
            response_schema: asks for JSON of this schema; ``structured_output`` lists the keywords that it may use.
            variant: added to the seed, where there is one, to get another answer to the same question.
            prompt: the conversation as one text, for models without a chat format.

        Raises:
            BudgetSpent: calls, tokens, money or time are used up.
            ModelError: the model gave no usable reply.
            UsageError: there is no model, or the schema has a keyword that cannot be checked.
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
        self.is_reply_cut = False
        started = self.meter.seconds
        try:
            async with self.time_limit():
                with self.attempts(self._model.name):
                    reply = await self._model.complete(request)
        except (StoreError, RunStopped) as problem:
            self.fault = problem
            raise
        except ModelError as problem:  # replies before the failure cost money too
            if isinstance(problem, ModelUnavailableError):
                self.fault = problem
            elif isinstance(problem, RequestRefusedError):
                self.refused = RefusedRequest(
                    problem.message, problem.reason, shape_of(request), is_first=not self._has_answered
                )
            self._has_answered |= was_answered(problem)
            self.meter.add_usage(problem.usage or Usage())
            raise
        finally:
            self._model_s += self.meter.seconds - started
        self._has_answered = True
        self.is_reply_cut = reply.finish_reason == "length"
        self._model_times.append(
            ModelCall(
                seconds=self.meter.seconds - started,
                prompt_tokens=reply.usage.prompt_tokens,
                completion_tokens=reply.usage.completion_tokens,
                finish_reason="" if reply.finish_reason in _USUAL_ENDS else reply.finish_reason,
                thoughts=reply.thoughts[:_KEPT_THOUGHTS],
            )
        )
        self.meter.add_usage(reply.usage)
        if functions and self._sampling.text_calls:
            reply = with_text_calls(reply, {function.name for function in functions})
        return reply.model_copy(update={"tool_calls": tuple(self._renamed(c) for c in reply.tool_calls)})

    def _renamed(self, call: FunctionCall) -> FunctionCall:
        """The call with a new id: endpoints give random ids, these are the same in every run, and every server takes them."""
        self._calls_made += 1
        name = finish_name(call.name, self.functions.names)
        return call.model_copy(update={"id": f"call{self._calls_made:05d}", "name": name})

    async def call(self, name: str, arguments: str) -> Step:
        """Call a function with the arguments as the model wrote them, and record the step.

        An unknown function or unusable arguments raise nothing: the observation says what is wrong, as
        it does for a failure of the tool.

        Raises:
            BudgetSpent: tool calls or time are used up.
            ServiceError: the server failed.
        """
        (step,) = await self.call_all([FunctionCall(id="", name=name, arguments=arguments)])
        return step

    async def call_all(self, calls: Sequence[FunctionCall]) -> list[Step]:
        """Call several functions, at once where they are independent; the record keeps their order.

        When the budget ends among them, the calls before that are made and recorded.

        Raises:
            BudgetSpent: tool calls or time are used up.
            ServiceError: the server failed.
        """
        self.is_reply_cut = False
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
        for step in steps:
            if step.error or step.hallucinated:
                self.meter.count_failed_call(step.function, step.arguments)
        return steps

    async def _steps(self, calls: Sequence[FunctionCall]) -> list[tuple[Step, float]]:
        """Each step with its seconds; one after the other where an answer depends on earlier calls."""
        if self._episode:
            return [await self._timed_step(call) for call in calls]
        return await asyncio.gather(*(self._timed_step(call) for call in calls))

    async def _timed_step(self, call: FunctionCall) -> tuple[Step, float]:
        started = self.meter.seconds
        step = await self._step(call)
        return step, self.meter.seconds - started

    async def _step(self, call: FunctionCall) -> Step:
        read = read_call(self.functions, call.name, call.arguments, self._observations)
        if isinstance(read, Step):
            return read
        try:
            with self.attempts(f"The server at {self._client.url}"):
                answer = await self._client.call(read.ref, read.arguments, self._episode)
        except ServiceError as problem:
            self.simulator_usage += problem.usage or Usage()
            raise
        self.simulator_usage += answer.usage
        return with_observation(
            read.step,
            answer.body,
            self._observations,
            error=answer.error,
            key=answer.key,
            provenance=answer.provenance or None,
        )

    async def open_episode(self, agent: str, group: str, query_id: str) -> ServerEpisode | None:
        """Open an episode at the server, in which the agent can make its calls itself.

        Returns None where the server has no episodes, or offers other functions than this trial.

        Raises:
            ServiceError: the server does not answer, or refuses.
        """
        request = {
            "agent": agent,
            "group": group,
            "query_id": query_id,
            **self._observations.settings(),
            "stateful": bool(self._episode),
            "budget": self.meter.remaining,
        }
        with self.attempts(f"The server at {self._client.url}"):
            episode = await ServerEpisode.open(self._client, request)
        if episode and episode.functions != (*self.functions.names, FINISH):
            await episode.close()
            return None
        return episode

    async def read_episode(self, episode: ServerEpisode) -> EpisodeUpdate:
        """Record what the agent has done in an episode since this was last called.

        Raises:
            ServiceError: the server does not answer.
        """
        with self.attempts(f"The server at {self._client.url}"):
            update = await episode.read_update()
        self.steps.extend(update.steps)
        self.meter.tool_calls += sum(step.function != FINISH for step in update.steps)
        self.meter.add_usage(update.usage)
        self.simulator_usage += update.simulator_usage
        self._tool_s += update.timing.tool_seconds
        self._model_s += update.timing.model_seconds
        self._tool_times.extend(update.timing.tool_calls)
        self._model_times.extend(update.timing.model_calls)
        self._note_model_calls(update)
        return update

    def _note_model_calls(self, update: EpisodeUpdate) -> None:
        """Record what the endpoint of the episode's model accepted, refused and failed at."""
        for shape in update.shapes:
            self.accepted.add(shape)
        self._has_answered |= bool(update.shapes)
        if self._proxy_fault and self.fault is self._proxy_fault:
            self.fault = None  # unless it failed again
        self._proxy_fault = self.refused = None
        if (failure := update.failure) is None:
            return
        if failure.is_refusal:
            is_first = not self._has_answered
            self.refused = RefusedRequest(failure.message, failure.reason, failure.shape, is_first=is_first)
        else:
            self._proxy_fault = ModelUnavailableError(failure.message)
            self.fault = self.fault or self._proxy_fault

    def finish(self, arguments: str) -> tuple[Step, Finished | None]:
        """Record a call of ``Finish``; returns the step, and how it ends the trial.

        The second is None where the arguments mean nothing; the step's observation says what is wrong.

        Raises:
            BudgetSpent: it comes too late: the time is up, or another limit is reached.
        """
        self.meter.check_open()
        self.is_reply_cut = False
        step, finished = finish_step(arguments, self._observations)
        self.steps.append(step)
        if finished and finished.stop is StopReason.ANSWERED:
            self.answer = finished
        return step, finished

    @asynccontextmanager
    async def time_limit(self, grace_s: float = 0.0) -> AsyncGenerator[None]:
        """Cancel the block when the trial's time is up, or ``grace_s`` seconds later.

        Raises:
            BudgetSpent: the time is up.
        """
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
            if limit.expired():  # also where the block caught the cancellation
                self.meter.over(StopReason.MAX_SECONDS)

    @contextmanager
    def attempts(self, at: str) -> Generator[None]:
        """Make one request in the block. If all its attempts had failed when time ran out, that is a fault.

        Args:
            at: who is asked, in words.
        """
        with counting_failures() as failures:
            try:
                yield
            except asyncio.CancelledError:
                if failures.count:
                    self.fault = self.fault or ServiceError(f"{at} gave no answer in time; {failures}")
                raise


def with_seed(sampling: Sampling, seed: int | None) -> Sampling:
    """These settings with another seed."""
    return replace(sampling, seed=seed)
