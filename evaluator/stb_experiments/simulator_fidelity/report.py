"""The rows of the report: means with bootstrap intervals, beside both floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stb_experiments.simulator_fidelity.measures import MEASURES, SplitMeasures, Values

RESAMPLES = 2000
CONFIDENCE = 0.95
ALL = "all"
"""The name of the row over all splits, every case counting the same."""


def fidelity_rows(
    measured: Mapping[str, SplitMeasures], *, seed: int, released: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """One row per split and measure, then a block ``all`` when there are several splits."""
    splits = dict(measured)
    if len(splits) > 1:
        splits[ALL] = _pooled(list(measured.values()))
    return [
        _row(split, name, values, seed=seed, released=(released or {}).get(split))
        for split, values in splits.items()
        for name in values.predictions
    ]


def _row(
    split: str, name: str, measured: SplitMeasures, *, seed: int, released: float | None
) -> dict[str, Any]:
    value, low, high = interval(measured.predictions[name], seed=seed)
    row: dict[str, Any] = {
        "split": split,
        "metric": name,
        "meaning": MEASURES.get(name, name),
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "n": int(np.count_nonzero(~np.isnan(measured.predictions[name]))),
        "n_total": len(measured.predictions[name]),
    }
    for floor, values in (("constant", measured.constant), ("shuffled", measured.shuffled)):
        if name in values:
            row[f"floor_{floor}"], low, high = interval(values[name], seed=seed)
            row[f"floor_{floor}_low"], row[f"floor_{floor}_high"] = low, high
    if name in measured.labels:
        row["real"] = interval(measured.labels[name], seed=seed)[0]
    if name == "bleu4" and released is not None:
        row["released"] = released
    return row


def _pooled(parts: Sequence[SplitMeasures]) -> SplitMeasures:
    def pool(blocks: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    return SplitMeasures(
        predictions=pool([part.predictions for part in parts]),
        constant=pool([part.constant for part in parts]),
        shuffled=pool([part.shuffled for part in parts]),
        labels=pool([part.labels for part in parts]),
        constants={},
    )


def interval(values: Values, *, seed: int) -> tuple[float | None, float | None, float | None]:
    """Mean and its 95 % interval: percentile bootstrap over cases, 2,000 resamples; None without cases."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None, None, None
    rng = np.random.default_rng(seed)
    means = known[rng.integers(0, len(known), size=(RESAMPLES, len(known)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    mean = float(known.mean())
    return mean, min(float(low), mean), max(float(high), mean)
