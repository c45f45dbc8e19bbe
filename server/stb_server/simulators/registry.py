"""Simulators by name: entry points of the group ``stabletoolbench.simulators``.

An entry point is a function that takes the options and the context and returns an async context manager
of a simulator, which is a layer of the pipeline. Simulators of other distributions are found like the
built-in ones. A simulator that satisfies ``ModelBacked`` is also counted in the metrics, and measured by
``stb experiment simulator``.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from stb_core.errors import NotFoundError, UsageError
from stb_core.llm import AcceptedShapes, AdaptiveLimit, BlamingModel
from stb_core.store import Store
from stb_server.calls import Layer
from stb_server.simulators.ask import ReplyCounts
from stb_server.simulators.documents import Subjects
from stb_server.simulators.examples import RecordedExamples
from stb_server.simulators.model_simulators import LlmSimulator, MirrorApiSimulator
from stb_server.simulators.options import AUTO, SimulatorOptions
from stb_server.simulators.presence import Presence
from stb_server.simulators.replicas import Replicas
from stb_server.simulators.template import TemplateSimulator

GROUP = "stabletoolbench.simulators"


@dataclass(frozen=True)
class Context:
    """What a simulator may use: the store, and the moment whose recordings it may be shown."""

    store: Store
    recorded_before: str


Opener: TypeAlias = Callable[[SimulatorOptions, Context], AbstractAsyncContextManager[Layer]]


def names() -> list[str]:
    """What may be chosen, in order."""
    return sorted({AUTO} | {entry.name for entry in importlib.metadata.entry_points(group=GROUP)})


def open_simulator(options: SimulatorOptions, context: Context) -> AbstractAsyncContextManager[Layer]:
    """The simulator that the options name; enter it before use.

    Raises:
        NotFoundError: there is no simulator of that name.
        UsageError: it lacks a model.
    """
    entries = importlib.metadata.entry_points(group=GROUP, name=options.simulator)
    for entry in entries:
        opener: Opener = entry.load()
        return opener(options, context)
    raise NotFoundError(
        f"There is no simulator {options.simulator!r}.", hint=f"There are: {', '.join(names())}."
    )


@asynccontextmanager
async def llm(options: SimulatorOptions, context: Context) -> AsyncGenerator[LlmSimulator]:
    """Any instruct model."""
    counts = ReplyCounts()
    async with open_model(options, counts) as model:
        yield LlmSimulator(
            BlamingModel(model, AcceptedShapes()),
            Subjects(context.store),
            RecordedExamples(context.store, context.recorded_before),
            counts=counts,
            sampling=options.sampling,
            examples=options.examples,
            example_tokens=options.example_tokens,
            presence=presence_of(options),
        )


@asynccontextmanager
async def mirrorapi(options: SimulatorOptions, context: Context) -> AsyncGenerator[MirrorApiSimulator]:
    """A MirrorAPI model."""
    counts = ReplyCounts()
    async with open_model(options, counts) as model:
        yield MirrorApiSimulator(
            BlamingModel(model, AcceptedShapes()),
            Subjects(context.store),
            counts=counts,
            sampling=options.sampling,
            variant=options.variant,
            system=options.system_prompt,
            presence=presence_of(options),
        )


@asynccontextmanager
async def template(_: SimulatorOptions, context: Context) -> AsyncGenerator[TemplateSimulator]:
    """Answers made by rule, without a model."""
    yield TemplateSimulator(context.store.datasets.api)


def presence_of(options: SimulatorOptions) -> Presence | None:
    """Where the model's host is looked up; None if it must exist."""
    return Presence([endpoint.base_url for endpoint in options.endpoints]) if options.may_be_absent else None


def open_model(options: SimulatorOptions, counts: ReplyCounts) -> Replicas:
    """The model of a simulator, over all its endpoints; replies are read and counted by ``counts``.

    Raises:
        UsageError: the options name no model.
    """
    if not options.endpoints:
        raise UsageError(
            f"The simulator {options.simulator} needs a model.",
            hint="Name one with --simulator-model PROVIDER/MODEL.",
        )
    from stb_core.llm.openai_client import OpenAIModel  # noqa: PLC0415 - imports the SDK, which is slow

    concurrency = AdaptiveLimit(options.connections)
    return Replicas(
        [
            OpenAIModel(
                options.model,
                endpoint,
                patience=options.patience,
                price=options.price,
                concurrency=concurrency,
                seed=number,
                find=counts.find,
            )
            for number, endpoint in enumerate(options.endpoints)
        ]
    )
