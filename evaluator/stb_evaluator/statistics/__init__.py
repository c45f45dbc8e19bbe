"""Intervals, tests, agreement and sampling, on plain numbers."""

from stb_evaluator.statistics.agreement import fleiss_kappa, krippendorff_alpha, unanimous_share
from stb_evaluator.statistics.intervals import (
    Interval,
    bayesian_interval,
    bootstrap_ends,
    is_small,
    mean_interval,
    wilson_interval,
)
from stb_evaluator.statistics.judge_error import Rate, judge_quality, ppi_mean
from stb_evaluator.statistics.multiplicity import holm, rank_bounds
from stb_evaluator.statistics.paired import Comparison, Equivalence, compare, equivalence
from stb_evaluator.statistics.pass_at_k import pass_hat_k
from stb_evaluator.statistics.power import detectable_difference, queries_needed
from stb_evaluator.statistics.sampling import Array, Weighting, codes, design_of, sum_in_order
from stb_evaluator.statistics.significance import mcnemar
from stb_evaluator.statistics.spending import (
    AXES,
    JUDGE,
    QUERY,
    ROUND,
    SIMULATOR,
    TRIAL,
    UNKNOWN,
    Counts,
    Observations,
    Offer,
    Prices,
    counts_of,
    mean_components,
    offers,
    share_ends,
    shares,
    sources_of,
    split,
)
from stb_evaluator.statistics.variance import Components, VarianceSource, standard_error
