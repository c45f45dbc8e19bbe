"""The measures of fidelity, each a number per case, and two floors to compare them with.

The floors need no simulator: the best constant answer (the real answer of the split that scores highest when every
call gets it), and shuffled answers (each call gets the real answer of another). A simulator that is not clearly above
both has shown nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from stb_core.llm import fits
from stb_core.llm.embeddings import Embedding
from stb_experiments.simulator_fidelity.answers import AnswerOutcome, RawAnswer
from stb_experiments.simulator_fidelity.text_scores import ROUGE_KINDS, Overlaps, bleu4, rouge
from stb_server.simulators import schema_of_value

Values = NDArray[np.float64]
"""One value per case; NaN where a case cannot be measured."""

MEASURES = {
    "bleu4": "BLEU-4 of the released text form",
    "bleu4_served": "BLEU-4 of what a client would get",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "cosine": "cosine of embeddings, times 100",
    "error_kind": "same kind of outcome as the real answer, %",
    "schema_valid": "fits the shape of the real answer, %",
    "strict_json": "output is strict JSON, %",
    "usable": "output is JSON, if need be after repair, %",
    "unique": "equal to no other answer of the split, %",
    "characters": "length in characters",
    "adherence": "a judge finds that the answer adheres to document and call, %",
}
_COMPUTED = tuple(name for name in MEASURES if name != "adherence")
SHUFFLES = 3
MOST_CANDIDATES = 200
"""Most real answers that are tried as the constant, and most calls on which; a larger split is sampled."""


@dataclass(frozen=True)
class SplitMeasures:
    """One split: measure → values, for the predictions, both floors, and the real answers themselves.

    ``constants`` maps each measure to its best constant answer.
    """

    predictions: dict[str, Values]
    constant: dict[str, Values]
    shuffled: dict[str, Values]
    labels: dict[str, Values]
    constants: dict[str, str]


async def measure_split(
    predictions: Sequence[RawAnswer], labels: Sequence[RawAnswer], embedding: Embedding, *, seed: int
) -> SplitMeasures:
    """Measure one split.

    Args:
        predictions: one per call.
        labels: the real answers of the same calls, in the same order.
        embedding: for the cosine.
        seed: of the shuffles and samples.

    Raises:
        ModelUnavailableError: the embedding does not answer.
    """
    rng = Random(seed)
    count = len(labels)
    texts = [answer.released_form for answer in (*predictions, *labels)]
    vectors = await embedding.embed(texts)
    likeness = vectors @ vectors[count:].T  # row: any answer, column: a label
    own = np.arange(count)

    shuffles = [_derangement(count, rng) for _ in range(SHUFFLES)]
    shuffled = [
        _scores([labels[other] for other in order], labels, likeness[count + order, own])
        for order in shuffles
    ]
    constants = _best_constants(labels, likeness[count:], rng)
    constant: dict[str, Values] = {}
    for place in set(constants.values()):
        scores = _scores([labels[place]] * count, labels, likeness[count + place, own])
        constant.update({name: scores[name] for name, best in constants.items() if best == place})
    return SplitMeasures(
        predictions=_scores(predictions, labels, likeness[own, own]),
        constant=constant,
        shuffled={name: _mean_over([scores[name] for scores in shuffled]) for name in _COMPUTED},
        labels={name: _of_one(labels)[name] for name in ("strict_json", "usable", "unique", "characters")},
        constants={name: labels[place].text for name, place in constants.items()},
    )


def _scores(answers: Sequence[RawAnswer], labels: Sequence[RawAnswer], cosines: Values) -> dict[str, Values]:
    pairs = list(zip(answers, labels, strict=True))
    rouges = [rouge(answer.released_form, label.released_form) for answer, label in pairs]
    return {
        "bleu4": np.array([bleu4(answer.released_form, label.released_form) for answer, label in pairs]),
        "bleu4_served": np.array([_bleu4_served(answer, label) for answer, label in pairs]),
        **{name: np.array([scores[place] for scores in rouges]) for place, name in enumerate(ROUGE_KINDS)},
        "cosine": 100 * np.asarray(cosines),
        "error_kind": np.array([_same_outcome(answer, label) for answer, label in pairs]),
        "schema_valid": np.array([_schema_valid(answer, label) for answer, label in pairs]),
        **_of_one(answers),
    }


def _of_one(answers: Sequence[RawAnswer]) -> dict[str, Values]:
    """Measures that need no label."""
    texts = [answer.released_form for answer in answers]
    return {
        "strict_json": np.array([100.0 * answer.is_strict for answer in answers]),
        "usable": np.array([100.0 * (answer.fields is not None) for answer in answers]),
        "unique": np.array([100.0 * (texts.count(text) == 1) for text in texts]),
        "characters": np.array([float(len(text)) for text in texts]),
    }


def _bleu4_served(answer: RawAnswer, label: RawAnswer) -> float:
    return float("nan") if label.fields is None else bleu4(answer.served_form, label.served_form)


def _same_outcome(answer: RawAnswer, label: RawAnswer) -> float:
    if label.outcome is AnswerOutcome.UNREADABLE:
        return float("nan")
    return 100.0 * (answer.outcome is label.outcome)


def _schema_valid(answer: RawAnswer, label: RawAnswer) -> float:
    """100 where the data has all members of the real answer with the same types, or both are errors; else 0."""
    if label.fields is None:
        return float("nan")
    if answer.fields is None or bool(answer.fields[0]) is not bool(label.fields[0]):
        return 0.0
    if label.fields[0]:
        return 100.0
    return 100.0 * fits(answer.decoded, schema_of_value(label.decoded))


def _derangement(count: int, rng: Random) -> NDArray[np.int64]:
    """A random order in which no item keeps its place, if there are at least two."""
    order = list(range(count))
    rng.shuffle(order)
    moved = np.empty(count, dtype=np.int64)
    for place, position in enumerate(order):  # each takes the place of the next in a random circle
        moved[position] = order[(place + 1) % count]
    return moved


def _best_constants(labels: Sequence[RawAnswer], likeness: Values, rng: Random) -> dict[str, int]:
    """Measure → position of the label that scores best as the answer to every call."""
    texts = [label.released_form for label in labels]
    distinct = sorted({text: place for place, text in reversed(list(enumerate(texts)))}.values())
    candidates = sorted(rng.sample(distinct, min(len(distinct), MOST_CANDIDATES)))
    calls = sorted(rng.sample(range(len(labels)), min(len(labels), MOST_CANDIDATES)))
    overlaps = Overlaps(texts)

    def best(score: dict[int, float]) -> int:
        return max(candidates, key=lambda place: (score[place], -place))

    def over_calls(value: Values) -> float:
        return 0.0 if np.isnan(value).all() else float(np.nanmean(value))

    bleu = best({c: over_calls(np.array([overlaps.bleu4(c, k) for k in calls])) for c in candidates})
    words = best({c: over_calls(np.array([overlaps.rouge_1(c, k) for k in calls])) for c in candidates})
    cosine = best({c: over_calls(likeness[c, calls]) for c in candidates})
    kind = best(
        {c: over_calls(np.array([_same_outcome(labels[c], labels[k]) for k in calls])) for c in candidates}
    )
    shape = best(
        {c: over_calls(np.array([_schema_valid(labels[c], labels[k]) for k in calls])) for c in candidates}
    )
    chosen = dict.fromkeys(_COMPUTED, bleu) | dict.fromkeys(ROUGE_KINDS, words)
    return chosen | {"cosine": cosine, "error_kind": kind, "schema_valid": shape}


def _mean_over(values: Sequence[Values]) -> Values:
    mean: Values = np.mean(np.stack(values), axis=0)
    return mean
