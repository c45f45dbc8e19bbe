"""A report as one HTML file that needs nothing else."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment
from markupsafe import Markup

from stb_evaluator.reports.content import Report
from stb_evaluator.reports.plots import draw_all
from stb_evaluator.reports.text import tables_of


def as_html(report: Report) -> bytes:
    """The page: first lines, figures, tables; no script, no link to anything that it would load.

    Raises:
        UsageError: matplotlib is not installed.
    """
    source = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    plots = [(plot, Markup(plot.svg)) for plot in draw_all(report)]  # noqa: S704 - made by us, texts as paths
    return template.render(report=report, plots=plots, tables=tables_of(report)).encode()
