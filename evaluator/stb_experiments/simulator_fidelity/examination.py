"""The whole experiment: predictions stored or made now, measured, judged, and put into one document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stb_core.errors import UsageError
from stb_core.llm.embeddings import Embedding, EndpointEmbedding
from stb_core.llm.providers import endpoint_of, open_model
from stb_core.settings import Settings
from stb_experiments.simulator_fidelity import adherence
from stb_experiments.simulator_fidelity.answers import Raw
from stb_experiments.simulator_fidelity.bench import Case, read_reference, released_bleu4
from stb_experiments.simulator_fidelity.embeddings import CharacterTrigrams
from stb_experiments.simulator_fidelity.live import open_simulator_alone, predict
from stb_experiments.simulator_fidelity.measures import Measured, measure
from stb_experiments.simulator_fidelity.report import CONFIDENCE, RESAMPLES, rows_of
from stb_experiments.simulator_fidelity.text_scores import SMOOTHING
from stb_server.simulators.json_repair import Reading
from stb_server.simulators.options import SimulatorOptions

TEXT_FORM = "ERROR: …\\nRESPONSE: …; output that is not JSON is read by pattern to its end"


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    bench: Path
    seed: int = 0
    """Of shuffles and resampling."""
    simulator: SimulatorOptions | None = None
    """Asked for predictions; None to score the stored ones."""
    judge: str = ""
    """``PROVIDER/MODEL``; empty for no judged adherence."""
    embedding: str = ""
    """``PROVIDER/MODEL``; empty for hashed character trigrams."""
    connections: int = 16
    """Most requests in flight."""


@dataclass(frozen=True)
class Examination:
    """The report, the scores of each case, and the bench rows with the predictions that were scored."""

    document: dict[str, Any]
    cases: list[dict[str, Any]]
    predictions: list[dict[str, Any]]


async def examine(
    plan: Plan, cases: Sequence[Case], settings: Settings, *, advance: Callable[[], None] = lambda: None
) -> Examination:
    """Carry the plan out.

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
                hint="Give rows with predictions, or name a simulator that is to make them.",
            )
    splits: dict[str, list[Case]] = {}
    for case in cases:
        splits.setdefault(case.split, []).append(case)
    embedding = _embedding(plan, settings)
    measured: dict[str, Measured] = {}
    for split, members in splits.items():
        predictions = [Raw(case.prediction or "") for case in members]
        labels = [Raw(case.label) for case in members]
        measured[split] = await measure(predictions, labels, embedding, seed=plan.seed)
    if plan.judge:
        measured = await _judged(plan, splits, measured, settings)
    return _put_together(plan, splits, measured, embedding.name, simulator)


async def _predict(
    options: SimulatorOptions, cases: Sequence[Case], connections: int, advance: Callable[[], None]
) -> tuple[list[Case], dict[str, Any]]:
    async with open_simulator_alone(options) as simulator:
        predicted = await predict(cases, simulator, connections=connections, advance=advance)
        return predicted, {
            "simulator": options.simulator,
            "model": options.model,
            "seed": options.sampling.seed,
            "replies": dict(simulator.counts.kinds.most_common()),
            "usage": simulator.counts.usage.model_dump(),
        }


def _embedding(plan: Plan, settings: Settings) -> Embedding:
    if not plan.embedding:
        return CharacterTrigrams()
    return EndpointEmbedding(plan.embedding, endpoint_of(plan.embedding, settings))


async def _judged(
    plan: Plan, splits: dict[str, list[Case]], measured: dict[str, Measured], settings: Settings
) -> dict[str, Measured]:
    """The same with judged adherence of predictions and, to compare, of the real answers."""
    model = open_model(plan.judge, settings, connections=plan.connections)
    judged: dict[str, Measured] = {}
    try:
        for split, members in splits.items():
            found = {}
            for who, answers in (
                ("predictions", [case.prediction or "" for case in members]),
                ("labels", [case.label for case in members]),
            ):
                found[who] = await adherence.judge(model, members, answers, connections=plan.connections)
            before = measured[split]
            judged[split] = replace(
                before,
                predictions={**before.predictions, "adherence": found["predictions"]},
                labels={**before.labels, "adherence": found["labels"]},
            )
    finally:
        await model.close()
    return judged


def _put_together(
    plan: Plan,
    splits: dict[str, list[Case]],
    measured: dict[str, Measured],
    embedding: str,
    simulator: dict[str, Any] | None,
) -> Examination:
    outputs: dict[str, dict[str, int]] = {}
    scored: list[dict[str, Any]] = []
    for split, members in splits.items():
        answers = [Raw(case.prediction or "") for case in members]
        kinds = [_how_read(answer.reading) for answer in answers]
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
    document["rows"] = rows_of(measured, seed=plan.seed, released=released)
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


def _how_read(reading: Reading) -> str:
    """``strict``, the repairs that an output took, or the fault that it has."""
    if reading.fault is not None:
        return str(reading.fault)
    return " + ".join(reading.repairs) or "strict"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
