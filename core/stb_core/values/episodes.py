"""An episode, what was done in it, and the trajectory that it becomes: plain values, independent of the store.

An episode is one attempt at one query by an agent that runs elsewhere and comes over HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stb_core.errors import RefusalReason
from stb_core.usage import Usage
from stb_core.values import clock
from stb_core.values.observations import Finished
from stb_core.values.trajectories import (
    FINISH,
    AnswerSource,
    Message,
    ModelCall,
    Step,
    StopReason,
    Timing,
    Trajectory,
    conversation,
)

EventKind = Literal["tool", "model", "simulator", "failure"]
Place = tuple[str, str, str, int]
"""Run, group, query id and trial."""


@dataclass(frozen=True)
class Episode:
    """One episode; ``terms`` is what was agreed when it was opened, ``stop`` None while it is open.

    ``run`` is None where the client that opened it keeps the record. ``terms`` holds ``query``, ``agent``,
    ``model``, ``available_tools``, ``budget``, and whatever else its server needs to continue it.
    """

    id: str
    token_hash: str
    client: str
    run: str | None
    group: str
    query_id: str
    trial: int
    terms: dict[str, Any]
    created_at: str
    expires_at: str
    tool_calls: int = 0
    model_calls: int = 0
    stop: StopReason | None = None
    final_answer: str = ""
    error: str = ""
    ended_at: str | None = None

    @property
    def budget(self) -> dict[str, float]:
        """The limits that are set, by name."""
        limits: dict[str, float] = self.terms["budget"]
        return limits

    @property
    def ends_by_text(self) -> bool:
        """Whether the last words of its model can be its answer."""
        return bool(self.terms.get("finish") == "text")

    @property
    def answer_function(self) -> str:
        """The agent's own function for its answer; "" if it has none."""
        return str(self.terms.get("answer_function", ""))

    @property
    def ends_at(self) -> str | None:
        """When its time is up; None without a limit."""
        seconds = self.budget.get("max_seconds")
        return None if seconds is None else later(self.created_at, seconds)

    def left_alone_at(self, now: str, idle_s: float) -> str:
        """When it ends if it gets no request after now."""
        fresh = later(now, idle_s)
        return min(fresh, self.ends_at or fresh)


class ProxiedCall(BaseModel):
    """What a call of a model through the server's proxy consumed; ``model`` as the endpoint named it.

    ``shape`` is what the endpoint supports, as ``stb_core.llm.shape_of_body`` says it; "" where that is not known.
    ``answer`` is an answer for the user in the reply, where the episode takes it from there, and
    ``answer_source`` says where in the reply it was.
    """

    model_config = ConfigDict(frozen=True)

    model: str = ""
    usage: Usage = Usage()
    shape: str = ""
    # Left out where they are empty, as older versions wrote it.
    answer: str = Field(default="", exclude_if=lambda answer: not answer)
    answer_source: AnswerSource = Field(default="", exclude_if=lambda source: not source)


class FailedCall(BaseModel):
    """A call of a model through the proxy that brought no reply, in the endpoint's words.

    ``is_refusal`` says that the endpoint did not accept this request; otherwise it failed, or accepts none.
    ``reason`` is that of ``RequestRefusedError``.
    """

    model_config = ConfigDict(frozen=True)

    message: str
    is_refusal: bool = False
    reason: RefusalReason = ""
    shape: str = ""
    is_pending: bool = False
    """The endpoint has not answered yet, nor any earlier call."""


@dataclass(frozen=True)
class EpisodeEvent:
    """One thing that was done: a call of a function with its step, or of a model with its usage.

    ``answered`` is False while it is under way, and for ever where that was cut off. A call of a model
    that failed is a ``failure``, which is not counted.
    """

    id: int
    kind: EventKind
    document: str
    answered: bool
    seconds: float

    @property
    def step(self) -> Step:
        """The step of a call of a function."""
        return Step.model_validate_json(self.document)

    @property
    def failed_call(self) -> FailedCall:
        """The call of a model that brought no reply."""
        return FailedCall.model_validate_json(self.document)

    @property
    def proxied_call(self) -> ProxiedCall:
        """The call of a model."""
        return ProxiedCall.model_validate_json(self.document)


@dataclass(frozen=True)
class EpisodeRecord:
    """All that was done in an episode so far; ``model`` is the one that was asked first.

    ``failure`` is the last call of a model, where that brought no reply; ``shapes`` are those of the model
    calls that its endpoint has accepted.
    """

    steps: tuple[Step, ...]
    model: str | None
    usage: Usage
    simulator_usage: Usage
    timing: Timing
    unanswered: tuple[Step, ...] = ()
    """Calls that got no answer and were not made again."""
    failure: FailedCall | None = None
    shapes: tuple[str, ...] = ()
    said: Finished | None = None
    """The answer in the replies of its model, where the episode takes it from there."""


def later(moment: str, seconds: float) -> str:
    """The moment ``seconds`` after another, as the store writes it."""
    return (datetime.fromisoformat(moment) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def record_of(episode: Episode, events: Sequence[EpisodeEvent]) -> EpisodeRecord:
    """What an episode's events, in the order in which they were begun, come to."""
    calls = [event for event in events if event.kind == "tool"]
    models = [event for event in events if event.kind == "model" and event.answered]
    simulated = [event.proxied_call.usage for event in events if event.kind == "simulator"]
    answered = [(event.id, event.step) for event in calls if event.answered]
    unanswered = [
        event.step
        for event in calls
        if not event.answered
        and not any(
            number > event.id
            and (step.function, step.arguments) == (event.step.function, event.step.arguments)
            for number, step in answered
        )
    ]
    asked = [event.proxied_call for event in models]
    failures = [event for event in events if event.kind == "failure"]
    has_failed = bool(failures) and not any(event.id > failures[-1].id for event in models)
    failure = failures[-1].failed_call if has_failed else None
    if not models and any(event.kind == "model" for event in events):
        failure = FailedCall(message="The model has not answered in this episode.", is_pending=True)
    until = datetime.fromisoformat(episode.ended_at or clock.now())
    return EpisodeRecord(
        steps=tuple(step for _, step in answered),
        model=episode.terms["model"] or next((made.model for made in asked if made.model), None),
        usage=sum((made.usage for made in asked), Usage()),
        simulator_usage=sum(simulated, Usage()),
        timing=Timing(
            seconds=(until - datetime.fromisoformat(episode.created_at)).total_seconds(),
            model_seconds=sum(event.seconds for event in models),
            tool_seconds=sum(event.seconds for event in calls),
            tool_calls=tuple(
                event.seconds for event in calls if event.answered and event.step.function != FINISH
            ),
            model_calls=tuple(
                ModelCall(
                    seconds=event.seconds,
                    prompt_tokens=made.usage.prompt_tokens,
                    completion_tokens=made.usage.completion_tokens,
                )
                for event, made in zip(models, asked, strict=True)
            ),
        ),
        unanswered=tuple(unanswered),
        failure=failure,
        shapes=tuple(dict.fromkeys(made.shape for made in asked if made.shape)),
        said=_said(asked),
    )


def _said(asked: Sequence[ProxiedCall]) -> Finished | None:
    """The answer in a model's replies: its last call of the agent's own function for that, else its last words.

    Words count only if they are the last reply. Where the model was offered functions, replies to requests
    without functions do not count: agents use these for titles and summaries.
    """
    by_function = [made for made in asked if made.answer_source == "function"]
    replies = [made for made in asked if not made.shape.startswith("embeddings")]
    replies = [made for made in replies if "functions:" in made.shape] or replies
    for made in (by_function or replies)[-1:]:
        if made.answer:
            return Finished(StopReason.ANSWERED, made.answer, made.answer_source)
    return None


def trajectory_of(episode: Episode, record: EpisodeRecord, answer_source: AnswerSource = "") -> Trajectory:
    """The trajectory of an episode that has ended, with an answer from there."""
    terms = episode.terms
    assert episode.stop
    messages = conversation(terms["query"], record.steps)
    if answer_source:
        messages = (*messages, Message(role="assistant", content=episode.final_answer))
    return Trajectory(
        group=episode.group,
        query_id=episode.query_id,
        query=terms["query"],
        trial=episode.trial,
        agent=terms["agent"],
        model=record.model,
        available_tools=tuple(terms["available_tools"]),
        messages=messages,
        steps=record.steps,
        stop=episode.stop,
        final_answer=episode.final_answer,
        answer_source=answer_source,
        usage=record.usage,
        simulator_usage=record.simulator_usage,
        timing=record.timing,
        error=episode.error,
    )
