"""The stable evaluator: trajectory → judge → verdict → score → report."""
