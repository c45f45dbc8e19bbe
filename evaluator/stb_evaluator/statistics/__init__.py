"""Intervals, tests, agreement and sampling, on plain numbers."""
