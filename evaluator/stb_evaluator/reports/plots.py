"""The figures of a report, as SVG made by matplotlib: the same rows give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stb_core.errors import UsageError
from stb_core.plugins import Figure
from stb_evaluator.reports.content import Report
from stb_evaluator.scores import MACRO, MICRO, ResultRow
from stb_evaluator.scores.cells import groups_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Colours that differ in lightness too (Okabe and Ito, 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
ALPHA = 0.05


_LIGHT = {"figure.facecolor": "white", "axes.facecolor": "white"}
_DARK = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "#1b1f24"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "#e4e7ea"),
    "axes.edgecolor": "#7d8590",
    "grid.color": "#30363d",
}


Draw = Callable[["type[Canvas]", Report], Figure | None]


def draw_all(report: Report) -> list[Figure]:
    """Every figure that the rows allow.

    Raises:
        UsageError: matplotlib is not installed.
    """
    return _draw(report, (_forest, _groups, _matrix, _provenance, _cost, _consistency), _LIGHT)


def draw_comparison(
    scores: Sequence[ResultRow], differences: Sequence[ResultRow], *, dark: bool = False
) -> list[Figure]:
    """The figures that set runs against one another, for a light ground or a dark one.

    Args:
        scores: rows of ``stb score``.
        differences: rows of ``stb compare``; none for a single run.
        dark: whether the ground is dark.

    Raises:
        UsageError: matplotlib is not installed.
    """
    report = Report("", [], [], list(scores), list(differences), [], [])
    return _draw(report, (_forest, _matrix), _DARK if dark else _LIGHT)


def _draw(report: Report, drawers: Sequence[Draw], colours: Mapping[str, str]) -> list[Figure]:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to import
        from matplotlib.figure import Figure as Canvas  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UsageError(
            "Plots need matplotlib.", hint="Install it: pip install 'stabletoolbench[report]'."
        ) from None
    settings = {
        "svg.hashsalt": "stabletoolbench",
        "svg.fonttype": "path",
        "text.parse_math": False,  # names are names, dollar signs and all
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **colours,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        return [plot for draw in drawers if (plot := draw(Canvas, report)) is not None]


def _save(figure: Canvas) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _faithful(report: Report, group: str) -> list[ResultRow]:
    return [
        row
        for row in report.scores
        if (row["block"], row["group"]) == ("faithful", group) and row["value"] is not None
    ]


def _whiskers(
    axes: Axes, rows: Sequence[ResultRow], heights: Sequence[float], colour: str, label: str = ""
) -> None:
    for row, height in zip(rows, heights, strict=True):
        ends = [row["ci_low"], row["ci_high"]] if row["ci_low"] is not None else [row["value"]] * 2
        axes.plot(ends, [height, height], color=colour, linewidth=1.6, solid_capstyle="butt")
        filled = colour if row["complete"] else axes.get_facecolor()
        axes.plot(
            [row["value"]],
            [height],
            marker="o",
            markersize=5,
            color=colour,
            markerfacecolor=filled,
            label=label,
        )
        label = ""


def _forest(figure_class: type[Canvas], report: Report) -> Figure | None:
    rows = _faithful(report, MACRO)
    if not rows:
        return None
    figure = figure_class(figsize=(7.2, 0.6 + 0.34 * len(rows)))
    axes = figure.add_subplot()
    heights = [float(-number) for number in range(len(rows))]
    _whiskers(axes, rows, heights, COLOURS[0])
    axes.set_yticks(heights, [row["run"] for row in rows])
    axes.set_xlabel("macro solvable pass rate, % (points: score, lines: 95 % interval)")
    axes.grid(axis="x", linewidth=0.4)
    axes.margins(y=0.12)
    hollow = " A hollow point is an incomplete score." if not report.complete else ""
    return Figure(
        "forest",
        "Scores with their intervals",
        "Faithful macro SoPR of each run. Overlapping lines do not prove equality, nor does the order prove"
        f" a difference: see the paired differences.{hollow}",
        _save(figure),
    )


def _groups(figure_class: type[Canvas], report: Report) -> Figure | None:
    groups = [group for group in groups_of(report.scores) if group not in {MACRO, MICRO}]
    runs = list(dict.fromkeys(row["run"] for row in report.scores))
    if not groups:
        return None
    figure = figure_class(figsize=(7.2, 0.8 + 0.16 * len(groups) * (len(runs) + 1)))
    axes = figure.add_subplot()
    for number, run in enumerate(runs):
        rows = [row for group in groups for row in _faithful(report, group) if row["run"] == run]
        step = 0.8 / max(1, len(runs))
        heights = [-groups.index(row["group"]) + 0.4 - step * (number + 0.5) for row in rows]
        _whiskers(axes, rows, heights, COLOURS[number % len(COLOURS)], label=run)
    axes.set_yticks([float(-n) for n in range(len(groups))], groups)
    axes.set_xlabel("solvable pass rate, % (95 % interval)")
    axes.grid(axis="x", linewidth=0.4)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return Figure("groups", "Scores by group", "Faithful SoPR of each run in each group.", _save(figure))


def _matrix(figure_class: type[Canvas], report: Report) -> Figure | None:
    rows = [row for row in report.comparisons if row["group"] == MACRO]
    if not rows:
        return None
    runs = list(dict.fromkeys([*(row["run"] for row in rows), *(row["run_b"] for row in rows)]))
    size = len(runs)
    table = [[float("nan")] * size for _ in runs]
    for row in rows:
        one, other = runs.index(row["run"]), runs.index(row["run_b"])
        table[one][other], table[other][one] = row["value"], -row["value"]
    figure = figure_class(figsize=(2.6 + 0.75 * size, 1.4 + 0.55 * size))
    axes = figure.add_subplot()
    limit = max(1.0, *(abs(row["value"]) for row in rows))
    image = axes.imshow(table, cmap="PuOr", vmin=-limit, vmax=limit)
    for row in rows:
        one, other = runs.index(row["run"]), runs.index(row["run_b"])
        star = "*" if row["p_holm"] < ALPHA else ""
        for x, y, value in ((other, one, row["value"]), (one, other, -row["value"])):
            colour = "white" if abs(value) > 0.5 * limit else "black"
            axes.text(x, y, f"{value:+.1f}{star}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(size), runs, rotation=40, ha="right")
    axes.set_yticks(range(size), runs)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.8, label="points, row minus column")
    return Figure(
        "matrix",
        "Paired differences",
        f"Macro SoPR of the row minus that of the column. A star: p below {ALPHA} after Holm's adjustment over"
        " all pairs. Without a star the difference is not significant.",
        _save(figure),
    )


def _provenance(figure_class: type[Canvas], report: Report) -> Figure | None:
    rows = [
        row
        for row in report.measures
        if row["metric"].startswith("provenance_") and row["group"] == MICRO and row["value"] is not None
    ]
    origins = list(dict.fromkeys(row["metric"].removeprefix("provenance_") for row in rows))
    runs = list(dict.fromkeys(row["run"] for row in rows))
    if not rows:
        return None
    figure = figure_class(figsize=(7.2, 0.8 + 0.34 * len(runs)))
    axes = figure.add_subplot()
    left = dict.fromkeys(runs, 0.0)
    for number, origin in enumerate(origins):
        shares = {r["run"]: r["value"] for r in rows if r["metric"] == f"provenance_{origin}"}
        widths = [shares.get(run, 0.0) for run in runs]
        axes.barh(
            [-n for n in range(len(runs))],
            widths,
            left=[left[run] for run in runs],
            color=COLOURS[number % len(COLOURS)],
            label=origin,
            height=0.6,
        )
        for run, width in zip(runs, widths, strict=True):
            left[run] += width
    axes.set_yticks([-n for n in range(len(runs))], runs)
    axes.set_xlabel("tool calls, %")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return Figure(
        "provenance",
        "Where tool answers came from",
        "Share of tool calls by the origin of their answer; unknown where nobody wrote it down.",
        _save(figure),
    )


def _cost(figure_class: type[Canvas], report: Report) -> Figure | None:
    scores = {row["run"]: row for row in _faithful(report, MICRO)}
    found = {
        name: {
            row["run"]: row
            for row in report.measures
            if (row["metric"], row["group"]) == (name, MICRO) and row["run"] in scores
        }
        for name in ("cost_usd", "tokens", "calls")
    }
    name = next((name for name, rows in found.items() if rows), None)
    if name is None:
        return None
    labels = {"cost_usd": "cost, USD a query", "tokens": "tokens a query", "calls": "tool calls a query"}
    figure = figure_class(figsize=(6.2, 3.6))
    axes = figure.add_subplot()
    for number, (run, row) in enumerate(found[name].items()):
        colour = COLOURS[number % len(COLOURS)]
        score = scores[run]
        axes.plot([row["value"]] * 2, [score["ci_low"], score["ci_high"]], color=colour, linewidth=1.2)
        if row["ci_low"] is not None:
            axes.plot([row["ci_low"], row["ci_high"]], [score["value"]] * 2, color=colour, linewidth=1.2)
        axes.plot([row["value"]], [score["value"]], marker="o", color=colour, label=run, linestyle="none")
    axes.set_xlabel(labels[name])
    axes.set_ylabel("micro SoPR, %")
    axes.grid(linewidth=0.4)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return Figure(
        "cost",
        "Cost against score",
        f"Each run's {labels[name]} and its faithful micro SoPR, both with 95 % intervals.",
        _save(figure),
    )


def _consistency(figure_class: type[Canvas], report: Report) -> Figure | None:
    rows: list[dict[str, Any]] = [row for row in report.consistency if row["unanimous"] is not None]
    if not rows:
        return None
    figure = figure_class(figsize=(7.2, 0.8 + 0.34 * len(rows)))
    axes = figure.add_subplot()
    heights = [-n for n in range(len(rows))]
    axes.barh(heights, [row["unanimous"] for row in rows], color=COLOURS[5], height=0.6)
    for height, row in zip(heights, rows, strict=True):
        kappa = "" if row["fleiss_kappa"] is None else f", κ {row['fleiss_kappa']:.2f}"
        axes.text(1.0, height, f"{row['unanimous']:.1f} %{kappa}", va="center", fontsize=8)
    axes.set_yticks(heights, [row["run"] for row in rows])
    axes.set_xlim(0, 100)
    axes.set_xlabel("answers on which all rounds agree, %")
    return Figure(
        "consistency",
        "Consistency of the judge",
        "Of the answers that were judged in every round, the share with one verdict throughout, and Fleiss' κ.",
        _save(figure),
    )
