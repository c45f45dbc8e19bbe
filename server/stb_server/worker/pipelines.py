"""The pipeline of every cache mode, made from the resources of a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from stb_core.values import CacheMode
from stb_core.values.provenance import MODES, ModeRules, Source
from stb_server.cache import AnswerKeeper, Recorded
from stb_server.calls import Answer, Layer, answers_by_rule
from stb_server.pipeline import ChatWithUser, Pipeline, SingleFlight
from stb_server.simulators import RememberedDeclines
from stb_server.worker.resources import Resources


def pipelines(resources: Resources, replaced: Callable[[], Awaitable[None]]) -> dict[CacheMode, Pipeline]:
    """The pipelines of all modes in which a server with these resources can work.

    Args:
        resources: what the layers use.
        replaced: called when an answer in force was replaced.
    """
    return {
        mode: _pipeline(rules, resources, replaced)
        for mode, rules in MODES.items()
        if rules.reads or _far_layers(rules, resources)
    }


def why_unavailable(mode: CacheMode) -> str:
    """What a server lacks that cannot work in a mode."""
    if mode.rules.sources == (Source.REAL_API,):
        return f"Mode {mode.value} needs a real API, and none is configured."
    return f"Mode {mode.value} needs a real API or a simulator, and neither is configured."


def recorded_layer(rules: ModeRules, resources: Resources) -> Recorded | None:
    """The layer that answers from recordings; None in modes that do not read them."""
    return Recorded(resources.tiers, growing=rules.keeps) if rules.reads else None


def _pipeline(rules: ModeRules, resources: Resources, replaced: Callable[[], Awaitable[None]]) -> Pipeline:
    recorded = recorded_layer(rules, resources)
    keeper = None
    if rules.keeps:
        keeper = AnswerKeeper(resources.writer, resources.tiers, rules.replaces, replaced)
    return Pipeline(
        [*([recorded] if recorded else []), ChatWithUser()],
        _far_layers(rules, resources),
        flights=SingleFlight[Answer](resources.locks if keeper else None),
        keeper=keeper,
        misses=resources.ledger,
    )


def _far_layers(rules: ModeRules, resources: Resources) -> list[Layer]:
    layers: dict[Source, Layer | None] = {
        Source.REAL_API: resources.upstream,
        Source.SIMULATOR: _simulator_layer(rules, resources.simulator),
    }
    return [layer for source in rules.sources if (layer := layers[source]) is not None]


def _simulator_layer(rules: ModeRules, simulator: Layer | None) -> Layer | None:
    """The simulator; in a mode that reads what it has, one that does not ask again for what has just failed."""
    if simulator is None or answers_by_rule(simulator) or not rules.reads:
        return simulator
    return RememberedDeclines(simulator)
