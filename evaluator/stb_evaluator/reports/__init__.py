"""Reports: what was found about runs, in the forms that stb report writes."""

from stb_evaluator.reports.content import Report, consistency_row, gather
from stb_evaluator.reports.junit import as_junit
from stb_evaluator.reports.latex import as_latex
from stb_evaluator.reports.page import as_html
from stb_evaluator.reports.text import as_csv, as_json, as_markdown, plain_cell
from stb_evaluator.reports.trajectory_text import draw_trajectory
