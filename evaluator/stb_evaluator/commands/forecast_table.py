"""What ``--dry-run`` prints: the verdicts that are missing, and what it would cost to ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from stb_core.cli import console
from stb_evaluator.judges import VerdictForecast

_COLUMNS = (
    "what",
    "metric",
    "judge",
    "verdicts",
    "calls",
    "prompt_tokens:prompt tokens",
    "completion_tokens:completion tokens",
    "cost:USD",
    "most:at most USD",
)


@dataclass(frozen=True)
class ForecastLine:
    """What one judge would be asked about one run, pair of runs or dataset."""

    what: str
    metric: str
    judge: str
    forecast: VerdictForecast


def show_forecasts(lines: Sequence[ForecastLine], *, as_json: bool) -> None:
    """Print a line per judge, and their sum if there are several."""
    total = sum((line.forecast for line in lines), VerdictForecast())
    rows = [
        {"what": line.what, "metric": line.metric, "judge": line.judge, **asdict(line.forecast)}
        for line in lines
    ]
    if as_json:
        console.emit_json({"dry_run": True, "rows": rows, "total": asdict(total)})
        return
    if len(rows) != 1:
        rows.append({"what": "total", "metric": "", "judge": "", **asdict(total)})
    shown = [{**row, "cost": _usd(row["cost_usd"]), "most": _usd(row["most_cost_usd"])} for row in rows]
    console.emit_table(shown, _COLUMNS, title="not asked: a dry run")
    if total.cost_usd is None:
        unpriced = sorted({line.judge for line in lines if line.forecast.cost_usd is None})
        console.print_note(
            f"The cost is not known without the price of {', '.join(unpriced)}: see [prices] in stb.toml."
        )


def _usd(cost: float | None) -> str | None:
    return None if cost is None else f"{cost:.4f}"
