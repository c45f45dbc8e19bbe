"""Scores: from stored answers to verdicts, points and rows with intervals."""
