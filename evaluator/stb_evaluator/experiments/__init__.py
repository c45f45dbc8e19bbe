"""Experiments on the benchmark itself: how stable its scores are, as commands that anyone can rerun."""
