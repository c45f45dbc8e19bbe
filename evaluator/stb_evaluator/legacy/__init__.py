"""ToolBench's and StableToolBench's own answer files, read into trajectories and verdicts."""
