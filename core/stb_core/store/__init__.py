"""The store: the one truth for datasets, responses, misses, runs, trajectories and verdicts."""

from stb_core.store.store import Store, open_store

__all__ = ["Store", "open_store"]
