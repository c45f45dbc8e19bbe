"""The values that all packages share: calls, tools, queries, trajectories, verdicts, manifests."""
