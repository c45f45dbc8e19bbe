"""Asking a model for a verdict by a rubric: fenced material in, a readable verdict or a failure out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stb_core.errors import ModelError, RequestRefusedError, UnreadableReplyError
from stb_core.json_text import replace_surrogates
from stb_core.llm import Model, Repeats, Request
from stb_core.usage import Usage
from stb_core.values import FINISH, Message, Trajectory
from stb_evaluator.judges.quoting import make_nonce, quote, shorten
from stb_evaluator.judges.replies import ReadVerdict
from stb_evaluator.judges.rubrics import Rubric, fill

SEEDS_PER_ROUND = 2
"""Distance between the seeds of two rounds. Do not change it: verdicts in stores were asked for with it."""


@dataclass(frozen=True)
class StageReply:
    """The result of one stage: the verdict, or None and the problem; and every raw reply.

    ``refusal`` says why the endpoint refused the request, see ``refusal_of``; "" if it did not.
    """

    verdict: ReadVerdict | None
    problem: str = ""
    raw: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    refusal: str = ""


@dataclass(frozen=True)
class ReplyForm:
    """The JSON form in which a verdict is asked for, and how it is read."""

    name: str
    schema: dict[str, Any]
    read: Callable[[str], ReadVerdict]


async def ask(
    model: Model, rubric: Rubric, stage: str, pieces: Mapping[str, str], form: ReplyForm, *, number: int
) -> StageReply:
    """Ask one stage of a rubric about pieces of material, in round ``number``.

    ``stb_core.llm.repeats`` decides what is asked again, and how often.

    Raises:
        ModelUnavailableError: the model could not be reached.
    """
    said: list[str] = []
    usage, problem = Usage(), ""
    repeats = Repeats(_request(rubric, stage, pieces, form, seed=number * SEEDS_PER_ROUND))
    while (request := repeats.request) is not None:
        try:
            reply = await model.complete(request)
        except UnreadableReplyError as error:  # the model client has already retried
            said.append(replace_surrogates(error.reply))
            return StageReply(None, error.message, tuple(said), usage + (error.usage or Usage()))
        except RequestRefusedError as error:
            total = usage + (error.usage or Usage())
            return StageReply(None, error.message, tuple(said), total, refusal_of(error))
        except ModelError as error:
            error.add_usage(usage)
            raise
        usage += reply.usage
        said.append(replace_surrogates(reply.content or ""))
        try:
            return StageReply(form.read(reply.content or ""), "", tuple(said), usage)
        except UnreadableReplyError as error:
            problem = error.message
        repeats.count_unusable(reply)
    return StageReply(None, problem, tuple(said), usage)


REFUSED = "refused"
"""The member of a verdict's details that says why the endpoint refused the request."""


def refusal_of(error: RequestRefusedError) -> str:
    """Why a request was refused: ``context_exceeded``, ``content_filter`` or ``other``.

    The same request would be refused again for each of the first two.
    """
    return error.reason or "other"


def describe_calls(trajectory: Trajectory, rubric: Rubric) -> str:
    """All tool calls in order, within the rubric's limits, as one text so that no call can end the quotation."""
    limit = rubric.observation_limit
    calls = [step for step in trajectory.steps if step.function != FINISH]
    lines = [
        f"Call {number}: {step.function}\nArguments: {shorten(step.arguments, limit)}\n"
        f"Came back: {shorten(step.observation, limit)}"
        for number, step in enumerate(calls, start=1)
    ]
    return shorten("\n\n".join(lines) or "No call was made.", rubric.trajectory_limit)


def _request(rubric: Rubric, stage: str, pieces: Mapping[str, str], form: ReplyForm, *, seed: int) -> Request:
    nonce = make_nonce(pieces)
    user = fill(rubric.stages[stage], material=quote(pieces, nonce), nonce=nonce)
    return Request(
        messages=(
            Message(role="system", content=fill(rubric.system, nonce=nonce)),
            Message(role="user", content=user),
        ),
        temperature=rubric.temperature,
        max_tokens=rubric.max_tokens,
        seed=seed,
        response_schema=form.schema,
        schema_name=form.name,
    )
