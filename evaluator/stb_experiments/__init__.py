"""Experiments on the benchmark itself: how stable its scores, judges and simulators are."""
