"""Runs: an agent on the queries of a dataset, with k trials, budgets and resumption."""
