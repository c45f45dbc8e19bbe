"""The simulators ``llm`` and ``mirrorapi``: a language model answers in place of an API, or declines.

A call with unknown or missing arguments is refused by rule, in the words in which ToolBench's APIs
do it. For all others the model is asked. An answer is served only when it is whole, strict JSON and
of the API's shape; a failure is a decline with its kind, never an answer and never kept.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stb_core import json_text
from stb_core.errors import (
    FormatError,
    ModelError,
    ModelUnavailableError,
    RequestRefusedError,
    UnreadableReplyError,
)
from stb_core.llm import Model, Schema
from stb_core.values import ApiRef, Message, Provenance
from stb_server.calls import SIMULATOR_UNAVAILABLE, Answer, CallRequest, Decline, episode_history
from stb_server.simulators import llm_prompt, mirrorapi_prompt
from stb_server.simulators.arguments import NO_PROBLEMS, ArgumentProblems, find_problems, refusal
from stb_server.simulators.ask import DEFAULT_SAMPLING, ModelAnswer, ReplyCounts, SimulatorSampling, ask
from stb_server.simulators.documents import Subject, Subjects
from stb_server.simulators.examples import Example, RecordedExamples, within_budget
from stb_server.simulators.presence import Presence
from stb_server.simulators.protocol import SimulationRequest
from stb_server.simulators.schemas import schema_of_examples, schema_of_template

_log = logging.getLogger(__name__)

WRONG_ARGUMENTS = "wrong_arguments"
"""The error type of an answer that refuses the call's arguments."""
FEWEST_EXAMPLES = 2
"""Recorded successes that are needed to derive a shape: a single answer, maybe an error report, is no pattern."""


@dataclass(frozen=True)
class Prompt:
    """What a model is asked, and the shape that its answer must have."""

    messages: tuple[Message, ...]
    shape: Schema | None
    version: str


class ModelSimulator(ABC):
    """What both have in common; a layer of the pipeline.

    Args:
        model: is asked; reads structured replies by ``counts.find``.
        subjects: finds documents; None when only ``simulate`` is called.
        counts: counts the replies.
        sampling: how the model is asked.
        presence: whether the model's host exists; None if it must.
    """

    name: str
    structured: bool

    def __init__(
        self,
        model: Model,
        subjects: Subjects | None,
        counts: ReplyCounts,
        sampling: SimulatorSampling,
        presence: Presence | None = None,
    ) -> None:
        self.counts = counts
        self.presence = presence
        self._model = model
        self._subjects = subjects
        self._sampling = sampling

    @abstractmethod
    async def prompt(self, request: SimulationRequest) -> Prompt | None:
        """What to ask for a call; None if nothing is known of the API."""

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """A simulated answer, or why the call could not be simulated.

        Raises:
            StoreError: the store cannot be read.
        """
        call = request.call
        if self.presence and not self.presence.is_there:
            return Decline("simulator_absent", f"There is no host {', '.join(self.presence.hosts)}.")
        assert self._subjects, "made without a place to find documents"
        subject = await self._subjects.get(request.dataset, ApiRef(call.category, call.tool, call.api))
        return await self.simulate(
            SimulationRequest(subject, call, request.dataset, request.snapshot, episode_history(call))
        )

    async def simulate(self, request: SimulationRequest) -> Answer | Decline:
        """As ``answer``, for an API that need not be in a dataset."""
        call, document = request.call, request.subject.document
        problems = NO_PROBLEMS if document is None else find_problems(document, call.arguments)
        refused = refusal(call.api, problems)
        if refused:
            return _refused(self.name, refused, problems)
        prompt = await self.prompt(replace(request, problems=problems))
        if prompt is None:
            return Decline("undocumented", f"Nothing is known of {call.api} of {call.tool}.")
        try:
            reply = await ask(
                self._model,
                prompt.messages,
                counts=self.counts,
                sampling=self._sampling,
                shape=prompt.shape,
                structured=self.structured,
            )
            body = json_text.encode({"error": reply.error, "response": reply.response})
        except (ModelError, FormatError) as problem:
            return _declined(call.key, problem)
        return Answer(
            body,
            Provenance.SIMULATED,
            error=WRONG_ARGUMENTS if reply.error and problems else "",
            details=self._details(prompt, reply, problems),
            usage=reply.usage,
        )

    def _details(self, prompt: Prompt, reply: ModelAnswer, problems: ArgumentProblems) -> dict[str, Any]:
        details: dict[str, Any] = {
            "simulator": f"{self.name}/1",
            "model": self._model.name,
            "prompt": prompt.version,
            "prompt_hash": reply.prompt_hash,
            "seed": reply.seed,
            "usage": reply.usage.model_dump(exclude_none=True),
        }
        return details | ({"argument_problems": problems.as_details()} if problems else {})


def _refused(simulator: str, text: str, problems: ArgumentProblems) -> Answer:
    body = json_text.encode({"error": text, "response": ""})
    details = {
        "simulator": f"{simulator}/1",
        "rule": WRONG_ARGUMENTS,
        "argument_problems": problems.as_details(),
    }
    return Answer(body, Provenance.SIMULATED, error=WRONG_ARGUMENTS, details=details)


def _declined(key: str, problem: ModelError | FormatError) -> Decline:
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (UnreadableReplyError, "simulator_unreadable"),
        (FormatError, "simulator_unreadable"),
        (RequestRefusedError, "simulator_refused"),
        (ModelUnavailableError, SIMULATOR_UNAVAILABLE),
    )
    kind = next((kind for error, kind in kinds if isinstance(problem, error)), "simulator_failed")
    _log.warning(
        "a call could not be simulated", extra={"call": key, "kind": kind, "reason": problem.message}
    )
    usage = problem.usage if isinstance(problem, ModelError) else None
    return Decline(kind, problem.message, usage)


class LlmSimulator(ModelSimulator):
    """Any instruct model, with structured output where its endpoint has it."""

    name = "llm"
    structured = True

    def __init__(
        self,
        model: Model,
        subjects: Subjects | None,
        recordings: RecordedExamples | None,
        *,
        counts: ReplyCounts,
        sampling: SimulatorSampling = DEFAULT_SAMPLING,
        examples: int = 3,
        example_tokens: int = 1500,
        presence: Presence | None = None,
    ) -> None:
        super().__init__(model, subjects, counts, sampling, presence)
        self._recordings = recordings
        self._examples = examples
        self._example_tokens = example_tokens

    async def prompt(self, request: SimulationRequest) -> Prompt | None:
        """The document, the recorded answers most like this call's, the episode so far, the call."""
        subject, call = request.subject, request.call
        examples: list[Example] = []
        if self._recordings and request.dataset is not None:
            examples = await self._recordings.similar(request.dataset, call, self._examples, request.snapshot)
        if subject.document is None and not examples:
            return None
        shape = shape_of(subject, examples)
        occasion = llm_prompt.PromptContents(
            subject=subject,
            arguments=call.arguments,
            examples=within_budget(examples, self._example_tokens),
            history=request.history,
            problems=request.problems,
            shape=shape,
        )
        return Prompt(llm_prompt.messages_of(occasion), shape, llm_prompt.prompt_version(llm_prompt.PROMPT))


def shape_of(subject: Subject, examples: Sequence[Example]) -> Schema | None:
    """The shape of the API's answers: as documented, else as recorded, else unknown."""
    template = None if subject.document is None else subject.document.template_response
    documented = schema_of_template(template)
    if documented is not None:
        return documented
    successes = [example.response for example in examples if not example.error]
    return schema_of_examples(successes) if len(successes) >= FEWEST_EXAMPLES else None


class MirrorApiSimulator(ModelSimulator):
    """MirrorAPI, asked as it was trained to be; its response is text in the API's own notation.

    Args:
        system: the system prompt; empty for our own.
    """

    name = "mirrorapi"
    structured = False

    def __init__(
        self,
        model: Model,
        subjects: Subjects | None,
        *,
        counts: ReplyCounts,
        sampling: SimulatorSampling = DEFAULT_SAMPLING,
        variant: mirrorapi_prompt.Variant = mirrorapi_prompt.Variant.SFT,
        system: str = "",
        presence: Presence | None = None,
    ) -> None:
        super().__init__(model, subjects, counts, sampling, presence)
        self._system = system or mirrorapi_prompt.system_prompt(variant)
        own = llm_prompt.prompt_version(mirrorapi_prompt.prompt_name(variant))
        self._version = f"mirrorapi-{variant}@user" if system else own

    async def prompt(self, request: SimulationRequest) -> Prompt | None:
        """Document and request in the form of its training."""
        subject = request.subject
        if subject.document is None:
            return None
        messages = mirrorapi_prompt.messages_of(
            mirrorapi_prompt.api_doc_of(subject),
            mirrorapi_prompt.request_of(subject, request.call.arguments),
            system=self._system,
            history=request.history,
        )
        return Prompt(messages, None, self._version)
