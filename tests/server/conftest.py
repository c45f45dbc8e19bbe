"""Fixtures of the server's tests."""

from __future__ import annotations

from command_line import in_process
from llm_server import llm, llm_server

__all__ = ["in_process", "llm", "llm_server"]
