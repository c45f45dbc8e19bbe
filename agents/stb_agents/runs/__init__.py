"""Runs: an agent on the queries of a dataset, with k trials, budgets and resumption."""

from stb_agents.runs.forecast import Forecast
from stb_agents.runs.run import NothingRun, RunOutcome
