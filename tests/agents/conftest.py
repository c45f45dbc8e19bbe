"""Fixtures of the agents' tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

import agent_world as world
from llm_server import llm, llm_server
from stb_agents.environment.server_client import VirtualClient
from stb_core.store import Store

__all__ = ["llm", "llm_server"]


@pytest.fixture
async def world_url(sqlite_store: Store, sqlite_store_url: str) -> AsyncGenerator[str]:
    """The address of a server of the small world."""
    await world.put_world(sqlite_store)
    async with world.serving(sqlite_store_url) as url:
        yield url


@pytest.fixture
async def client(world_url: str) -> AsyncGenerator[VirtualClient]:
    """A client of that server."""
    async with VirtualClient(world_url, "world") as opened:
        yield opened
