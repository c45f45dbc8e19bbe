"""Runs, answers and verdicts in and out of the store."""
