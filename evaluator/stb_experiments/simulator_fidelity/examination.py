"""The experiment ``simulator``: predictions are read or made, measured and judged, and reported in one document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stb_core.errors import UsageError
from stb_core.llm import endpoint_of, open_model
from stb_core.llm.embeddings import Embedding, EndpointEmbedding
from stb_core.settings import Settings
from stb_experiments.simulator_fidelity import adherence
from stb_experiments.simulator_fidelity.answers import RawAnswer
from stb_experiments.simulator_fidelity.bench import FidelityCase, read_reference, released_bleu4
from stb_experiments.simulator_fidelity.embeddings import CharacterTrigrams
from stb_experiments.simulator_fidelity.live import open_simulator_alone, predict_answers
from stb_experiments.simulator_fidelity.measures import SplitMeasures, measure_split
from stb_experiments.simulator_fidelity.report import CONFIDENCE, RESAMPLES, fidelity_rows
from stb_experiments.simulator_fidelity.text_scores import SMOOTHING
from stb_server.simulators import Reading, SimulatorOptions

TEXT_FORM = "ERROR: …\\nRESPONSE: …; output that is not JSON is read by pattern to its end"


@dataclass(frozen=True)
class FidelityPlan:
    """What is measured, and how."""

    bench: Path
    seed: int = 0
    """Seed of shuffles and resampling."""
    simulator: SimulatorOptions | None = None
    """The simulator that makes predictions; None to score the stored ones."""
    judge: str = ""
    """``PROVIDER/MODEL``; "" for no judged adherence."""
    embedding: str = ""
    """``PROVIDER/MODEL``; "" for hashed character trigrams."""
    connections: int = 16
    """Most concurrent requests."""
    timeout_s: float | None = None
    """Longest time for one reply of the judge; None for the default."""


@dataclass(frozen=True)
class Examination:
    """The report, the scores of each case, and the bench rows with the predictions that were scored."""

    document: dict[str, Any]
    cases: list[dict[str, Any]]
    predictions: list[dict[str, Any]]


async def examine(
    plan: FidelityPlan,
    cases: Sequence[FidelityCase],
    settings: Settings,
    *,
    advance: Callable[[], None] = lambda: None,
) -> Examination:
    """Measure the predictions for the cases of a bench.

    Raises:
        UsageError: a case has no prediction, or a model is not known.
        ModelUnavailableError: the embedding or the judge does not answer.
    """
    simulator: dict[str, Any] | None = None
    if plan.simulator is not None:
        cases, simulator = await _predict(plan.simulator, cases, plan.connections, advance)
    for case in cases:
        if case.prediction is None:
            raise UsageError(
                f"Row {case.number} of split {case.split} has no prediction.",
                hint="Give rows with predictions, or name a simulator that makes them.",
            )
    splits: dict[str, list[FidelityCase]] = {}
    for case in cases:
        splits.setdefault(case.split, []).append(case)
    embedding = _embedding(plan, settings)
    measured: dict[str, SplitMeasures] = {}
    for split, members in splits.items():
        predictions = [RawAnswer(case.prediction or "") for case in members]
        labels = [RawAnswer(case.label) for case in members]
        measured[split] = await measure_split(predictions, labels, embedding, seed=plan.seed)
    if plan.judge:
        measured = await _judged(plan, splits, measured, settings)
    return _report(plan, splits, measured, embedding.name, simulator)


async def _predict(
    options: SimulatorOptions, cases: Sequence[FidelityCase], connections: int, advance: Callable[[], None]
) -> tuple[list[FidelityCase], dict[str, Any]]:
    async with open_simulator_alone(options) as simulator:
        waits_s: list[float] = []
        predicted = await predict_answers(
            cases, simulator, connections=connections, advance=advance, waits_s=waits_s
        )
        return predicted, {
            "simulator": options.simulator,
            "model": options.model,
            "seed": options.sampling.seed,
            "replies": dict(simulator.counts.kinds.most_common()),
            "usage": simulator.counts.usage.model_dump(),
            "calls": len(predicted),
            "answered": sum(bool(case.prediction) for case in predicted),
            "seconds_per_call": sum(waits_s) / max(1, len(waits_s)),
        }


def _embedding(plan: FidelityPlan, settings: Settings) -> Embedding:
    if not plan.embedding:
        return CharacterTrigrams()
    return EndpointEmbedding(plan.embedding, endpoint_of(plan.embedding, settings))


async def _judged(
    plan: FidelityPlan,
    splits: dict[str, list[FidelityCase]],
    measured: dict[str, SplitMeasures],
    settings: Settings,
) -> dict[str, SplitMeasures]:
    """The measures with judged adherence, of the predictions and, to compare, of the real answers."""
    model = open_model(plan.judge, settings, connections=plan.connections, timeout_s=plan.timeout_s)
    judged: dict[str, SplitMeasures] = {}
    try:
        for split, members in splits.items():
            found = {}
            for who, answers in (
                ("predictions", [case.prediction or "" for case in members]),
                ("labels", [case.label for case in members]),
            ):
                found[who] = await adherence.judge_adherence(
                    model, members, answers, connections=plan.connections
                )
            before = measured[split]
            judged[split] = replace(
                before,
                predictions={**before.predictions, "adherence": found["predictions"]},
                labels={**before.labels, "adherence": found["labels"]},
            )
    finally:
        await model.close()
    return judged


def _report(
    plan: FidelityPlan,
    splits: dict[str, list[FidelityCase]],
    measured: dict[str, SplitMeasures],
    embedding: str,
    simulator: dict[str, Any] | None,
) -> Examination:
    outputs: dict[str, dict[str, int]] = {}
    scored: list[dict[str, Any]] = []
    for split, members in splits.items():
        answers = [RawAnswer(case.prediction or "") for case in members]
        kinds = [_reading_kind(answer.reading) for answer in answers]
        outputs[split] = dict(Counter(kinds).most_common())
        for place, (case, answer) in enumerate(zip(members, answers, strict=True)):
            values = {name: _number(found[place]) for name, found in measured[split].predictions.items()}
            scored.append(
                {
                    "split": split,
                    "row": case.number,
                    "read_as": kinds[place],
                    "outcome": answer.outcome,
                    **values,
                }
            )
    reference = {} if plan.simulator else read_reference(plan.bench)
    released = {split: value for split in splits if (value := released_bleu4(reference, split)) is not None}
    document: dict[str, Any] = {
        "bench": str(plan.bench),
        "bleu": {"level": "character", "smoothing": SMOOTHING, "text_form": TEXT_FORM},
        "embedding": embedding,
        "interval": f"percentile bootstrap over cases, {RESAMPLES} resamples, {CONFIDENCE:.0%}",
        "seed": plan.seed,
        "outputs": outputs,
        "constants": {split: values.constants for split, values in measured.items()},
    }
    if simulator:
        document["simulator"] = simulator
    if plan.judge:
        document["judge"] = {"model": plan.judge, "rubric": adherence.rubric()}
    document["rows"] = fidelity_rows(measured, seed=plan.seed, released=released)
    predictions = [
        {
            "api_doc": case.api_doc,
            "request": case.request,
            "prediction": case.prediction,
            "label": case.label,
        }
        for members in splits.values()
        for case in members
    ]
    return Examination(document, scored, predictions)


def _reading_kind(reading: Reading) -> str:
    """``strict``, the repairs that an output needed, or why it cannot be read."""
    if reading.fault is not None:
        return str(reading.fault)
    return " + ".join(reading.repairs) or "strict"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
