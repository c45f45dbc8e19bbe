"""Scores: from stored answers to verdicts, points and rows with intervals."""

from stb_evaluator.scores.comparison import (
    QueryPlace,
    Side,
    adjust_p_values,
    compare_runs,
    comparison_warnings,
)
from stb_evaluator.scores.gates import EVEN, low_scores, worse_runs
from stb_evaluator.scores.headlines import run_headlines
from stb_evaluator.scores.judge_watch import JudgeWatch, forecast_anchors
from stb_evaluator.scores.labels import CORRECTED, QUALITY, LabelSet, corrected_rows, read_labels
from stb_evaluator.scores.pair_verdicts import ask_for_preferences, forecast_preferences, preferences
from stb_evaluator.scores.parts import choose_queries, split_ids
from stb_evaluator.scores.pass_rate import BLOCKS, MACRO, MICRO, Block, ResultRow, query_scores
from stb_evaluator.scores.pass_verdicts import forecast_run, judge_run
from stb_evaluator.scores.points import faithful_table
from stb_evaluator.scores.ranks import Coverage, coverage_of_rows, coverage_of_side, rank_runs
from stb_evaluator.scores.reference_rules import OURS, set_switches
from stb_evaluator.scores.rows import (
    NOT_COMPARABLE,
    TRAJECTORY,
    faults,
    foreign_lines,
    headline,
    measure_rows,
    score_rows,
)
from stb_evaluator.scores.run_reader import RunReader, load_queries, load_verdict_table, without_agent_name
from stb_evaluator.scores.score_metrics import ScoreMetric, ScoreRequest
from stb_evaluator.scores.trial_rows import TRIALS
from stb_evaluator.scores.unsimulated import UNSIMULATED, unsimulated_rows
from stb_evaluator.scores.verdict_table import VerdictTable, without_copies
from stb_evaluator.scores.win_verdicts import WinComparison, load_win_comparison, win_rows
