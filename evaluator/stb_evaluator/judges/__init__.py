"""Judges: what they are asked, how their replies are read, and the verdicts they give."""

from stb_evaluator.judges.ask_many import JudgingTally, Questions, claim_questions, judge_all, judge_missing
from stb_evaluator.judges.failures import report_failures
from stb_evaluator.judges.flags import evaluator_option, with_cost_options
from stb_evaluator.judges.forecast import (
    Allowance,
    PromptMeter,
    VerdictForecast,
    build_prompts,
    forecast_verdicts,
    reserving,
)
from stb_evaluator.judges.imported import IMPORTED, find_brought, is_imported
from stb_evaluator.judges.judge import AskingJudge, Case, Judge
from stb_evaluator.judges.metrics import METRICS
from stb_evaluator.judges.opening import (
    RECORDED,
    OpenedJudges,
    default_judge,
    logged_panel,
    open_judges,
    price_for_limit,
)
from stb_evaluator.judges.pairs import Pair, PairJudge
from stb_evaluator.judges.panel import Panel, PanelMember, majority_marks, panel_of_one
from stb_evaluator.judges.quoting import shorten
from stb_evaluator.judges.replies import SOLVABILITY, find_reply
from stb_evaluator.judges.rubrics import CUT, load_rubric
from stb_evaluator.judges.rules import RulesJudge, judge_by_rules
from stb_evaluator.judges.solvable_votes import (
    MODE,
    Vote,
    collect_votes,
    forecast_votes,
    load_solvability_tasks,
)
from stb_evaluator.judges.undisputed import Anchor, load_undisputed
