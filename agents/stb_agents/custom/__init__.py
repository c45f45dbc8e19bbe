"""Agents that users bring: functions, classes, remote services and replays."""
