"""Whether the host of a simulator's model exists: a container that is started only where somebody wants it.

A host that exists but does not answer is a failure, which is reported and tried again. One that does not exist
is a choice: nothing is asked, and nothing is waited for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

_TIMEOUT_S = 2.0
"""A host of the same network is known at once; who asks further for one that does not exist may wait long."""


class Presence:
    """Whether at least one host exists, as of the last look."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.hosts = tuple(dict.fromkeys(urlsplit(url).hostname or "" for url in urls))
        self.is_there = False
        self._searches: dict[str, asyncio.Task[bool]] = {}

    async def look(self) -> bool:
        """Look the hosts up; returns whether the answer has changed."""
        for host in self.hosts:
            # A search that hangs keeps its thread, so none is started beside it.
            if host not in self._searches or self._searches[host].done():
                self._searches[host] = asyncio.create_task(_exists(host))
        ended, _ = await asyncio.wait([self._searches[host] for host in self.hosts], timeout=_TIMEOUT_S)
        before, self.is_there = self.is_there, any(search.result() for search in ended)
        return before != self.is_there


async def _exists(host: str) -> bool:
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: no name of a host
        return False
    return True
