"""The virtual API server in a thread of this process, for tests that wait for something else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from stb_server.app.application import create_app
from stb_server.app.process import bind, url_of
from stb_server.worker.options import ServerOptions


@contextmanager
def served(options: ServerOptions, port: int = 0) -> Iterator[str]:
    """The address of a server with these options, in a thread of its own."""
    with bind("127.0.0.1", port) as listener:
        config = uvicorn.Config(create_app(options), lifespan="on", ws="none", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield url_of(listener)
        server.should_exit = True
        thread.join(30)


def settled_page(address: str) -> str:
    """A page once nothing in it is being computed."""
    while "data-reload" in (page := httpx.get(address, timeout=60).text):
        time.sleep(0.05)
    return page


def in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end beside a browser, whose own loop runs in the thread of the tests."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
