"""Running the server: one listening socket, one or more worker processes, a clean end."""

from __future__ import annotations

import asyncio
import functools
import http.client
import os
import signal
import socket
import threading
import time
from contextlib import suppress

import click
import orjson
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from stb_core import console
from stb_core.errors import NotFoundError, ServiceError, UsageError
from stb_core.store import open_store
from stb_server.app import create_app
from stb_server.options import ServerOptions

GRACE_S = 30
"""How long requests that were accepted may take to finish when the server is told to stop."""
_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_PROBE_INTERVAL_S = 0.02
_SUPERVISOR_INTERVAL_S = 0.5


def choose_dataset(database_url: str, name: str) -> str:
    """The dataset to serve: the one named, or the only one there is.

    Raises:
        NotFoundError: it is not there, or there is none.
        UsageError: none is named and there are several.
    """
    return asyncio.run(_choose_dataset(database_url, name))


async def _choose_dataset(database_url: str, name: str) -> str:
    store = await open_store(database_url)
    try:
        if name:
            return (await store.datasets.get(name)).name
        names = [dataset.name for dataset in await store.datasets.all()]
    finally:
        await store.close()
    if not names:
        raise NotFoundError(
            "There is no dataset to serve.", hint="Import one: stb data import PATH --name NAME."
        )
    if len(names) > 1:
        raise UsageError(
            f"There are several datasets: {', '.join(names)}.", hint="Choose one with --dataset."
        )
    return names[0]


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: the port is occupied or may not be used, or there is no such address.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as problem:
        reason = os.strerror(problem.errno) if problem.errno and problem.errno > 0 else str(problem)
        raise UsageError(
            f"Cannot listen on {host}:{port}: {reason}.",
            hint="Choose another port with --port, or 0 for any that is free.",
        ) from None
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """The address of a listener for clients on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(options: ServerOptions, listener: socket.socket, *, workers: int, as_json: bool) -> None:
    """Serve until SIGINT or SIGTERM; what was accepted before is finished.

    Raises:
        ServiceError: a worker cannot start.
    """
    config = uvicorn.Config(
        functools.partial(_worker_app, options, os.getpid()),
        factory=True,
        workers=workers,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: None)  # uvicorn raises them again after it has finished
    announcing = threading.Thread(
        target=_announce, args=(listener, options, workers, as_json), daemon=True, name="announce"
    )
    announcing.start()
    try:
        if workers > 1:
            Multiprocess(config, sockets=[listener]).run()
        else:
            uvicorn.Server(config).run(sockets=[listener])
    except SystemExit:
        raise ServiceError("The server could not start.", hint="The log above says why.") from None
    console.say("Stopped.")


def _worker_app(options: ServerOptions, supervisor: int) -> FastAPI:
    """The application in a worker process, which is not to outlive its supervisor."""
    if os.getpid() != supervisor:
        threading.Thread(target=_end_with, args=(supervisor,), daemon=True, name="supervised").start()
    return create_app(options)


def _end_with(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(_SUPERVISOR_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(listener: socket.socket, options: ServerOptions, workers: int, as_json: bool) -> None:
    """Wait until a worker answers, then say where the server is and what to do next."""
    url = url_of(listener)
    while not _answers(listener):
        time.sleep(_PROBE_INTERVAL_S)
    if as_json:
        click.echo(
            orjson.dumps(
                {
                    "url": url,
                    "dataset": options.dataset,
                    "mode": options.mode.value,
                    "workers": workers,
                    "pid": os.getpid(),
                }
            )
        )
    console.say(f"Serving dataset {options.dataset} in {options.mode.value} mode at {url}")
    console.say(f"Run an agent against it: stb run -a scripted -d {options.dataset} --server {url}")
    console.say("Stop with Ctrl-C.")


def _answers(listener: socket.socket) -> bool:
    with suppress(OSError, http.client.HTTPException):
        host, port = listener.getsockname()[:2]
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/healthz")
        answered = connection.getresponse().status == 200
        connection.close()
        return answered
    return False
