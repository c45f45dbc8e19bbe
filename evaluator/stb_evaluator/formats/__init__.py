"""The answer files of ToolBench and StableToolBench, read and written."""
