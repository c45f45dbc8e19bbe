"""Agents and the runner that gives them queries: query → agent → trajectory."""
