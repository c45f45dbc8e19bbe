"""Charts as SVG, drawn by matplotlib where it is installed; the same values give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that differ in lightness too (Okabe and Ito, 2008), and markers that differ without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS = "osD^vP*"


@dataclass(frozen=True)
class LineChart:
    """A chart of lines: name → points, each (x, y) or (x, y, low, high)."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, ...]]]
    x_names: Sequence[str] = ()


@dataclass(frozen=True)
class DotChart:
    """A chart of values with their intervals: name → (value, low, high)."""

    name: str
    title: str
    x_label: str
    dots: Mapping[str, tuple[float, float, float]]


Chart = LineChart | DotChart


def draw_chart(chart: Chart) -> str:
    """The chart as SVG; "" where matplotlib is not installed, or there is nothing to show."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to import
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError:
        return ""
    if isinstance(chart, DotChart) and not chart.dots:
        return ""
    settings = {"svg.hashsalt": "stabletoolbench", "font.size": 9}
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        height = 3.6 if isinstance(chart, LineChart) else 1.0 + 0.28 * len(chart.dots)
        figure = Figure(figsize=(6.4, height))
        axes = figure.subplots()
        if isinstance(chart, LineChart):
            _draw_lines(axes, chart)
        else:
            _draw_dots(axes, chart)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return "\n".join(line.rstrip() for line in text[text.index("<svg") :].splitlines()) + "\n"


def _draw_lines(axes: Axes, chart: LineChart) -> None:
    for (name, points), colour, mark in zip(chart.lines.items(), _COLOURS, _MARKS, strict=False):
        x, y = [point[0] for point in points], [point[1] for point in points]
        axes.plot(x, y, color=colour, marker=mark, markersize=4, linewidth=1.2, label=name)
        if points and len(points[0]) == 4:
            axes.fill_between(x, [p[2] for p in points], [p[3] for p in points], color=colour, alpha=0.12)
    if chart.x_names:
        axes.set_xticks(range(len(chart.x_names)), chart.x_names, rotation=25, ha="right")
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    axes.legend(frameon=False)


def _draw_dots(axes: Axes, chart: DotChart) -> None:
    for number, (value, low, high) in enumerate(chart.dots.values()):
        axes.plot([low, high], [-number, -number], color=_COLOURS[0], linewidth=1.4, solid_capstyle="butt")
        axes.plot([value], [-number], color=_COLOURS[0], marker="o", markersize=5)
    axes.set_yticks([-number for number in range(len(chart.dots))], list(chart.dots))
    axes.set(title=chart.title, xlabel=chart.x_label)
    axes.grid(axis="x", linewidth=0.4)
