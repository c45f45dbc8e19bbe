"""Runs the server: one listening socket, one or more worker processes, and a clean stop."""

from __future__ import annotations

import asyncio
import functools
import http.client
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from stb_core.cli import console
from stb_core.cli.output import guard_output
from stb_core.cli.store import choose_dataset
from stb_core.errors import ServiceError, StoreError, UsageError
from stb_core.store import open_store
from stb_core.telemetry import logs, traces
from stb_server.app.application import create_app
from stb_server.app.http_protocol import PatientHttp
from stb_server.app.request_labels import RequestLabels
from stb_server.calls import BadRequestError
from stb_server.worker import ServerOptions, Worker, read_numbers

_log = logging.getLogger(__name__)

GRACE_S = 30
"""Seconds that accepted requests may take to finish when the server stops."""
CLOSE_S = 15
"""Seconds that writes under way and the closing of connections may take after that."""
_KEEP_ALIVE_S = 75
_WORKER_TIMEOUT_S = 60
"""Seconds without a sign of life after which a worker is restarted. On a busy machine a worker needs more than
uvicorn's default of five seconds to start, and would be restarted forever."""
_BACKLOG = 2048
_PROBE_INTERVAL_S = 0.02
_has_ended = threading.Event()
_SUPERVISOR_INTERVAL_S = 0.5


def check(options: ServerOptions) -> ServerOptions:
    """Check that a server with these options can start; returns them with the dataset filled in.

    Raises:
        NotFoundError: there is no such dataset, or none at all.
        UsageError: no dataset is named and there are several, or the mode needs a missing option.
        StoreError: the store cannot be opened.
    """
    return asyncio.run(_check(options))


async def _check(options: ServerOptions) -> ServerOptions:
    store = await open_store(options.database_url)
    try:
        chosen = replace(options, dataset=(await choose_dataset(store, options.dataset)).name)
    finally:
        await store.close()
    worker = Worker(replace(chosen, redis_url="", metrics_folder=None))
    try:
        await worker.open()
    except BadRequestError as problem:
        raise UsageError(problem.message, hint="Name one with --upstream or --simulator.") from None
    await worker.close()
    return chosen


def bind(host: str, port: int) -> socket.socket:
    """Take an address, without listening yet: the first worker that can answer does.

    Until then connections are refused, so that a proxy asks another replica. A socket that listens earlier
    would accept requests and let them wait for the workers to start.

    Raises:
        UsageError: the port is in use or not allowed, or there is no such address.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as problem:
        raise _cannot_listen(f"{host}:{port}", problem) from None
    # Head and body of an answer are two writes; without this the second may wait 40 ms for the client.
    # Accepted connections inherit it; event loops set it for some listeners only.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.set_inheritable(True)
    return listener


def _cannot_listen(place: str, problem: OSError) -> UsageError:
    reason = os.strerror(problem.errno) if problem.errno and problem.errno > 0 else str(problem)
    return UsageError(
        f"Cannot listen on {place}: {reason}.",
        hint="Choose another port with --port; 0 means any free port.",
    )


def url_of(listener: socket.socket) -> str:
    """The URL of a listener for clients on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(options: ServerOptions, listener: socket.socket, *, workers: int, as_json: bool) -> None:
    """Serve until SIGINT or SIGTERM; requests accepted before are finished.

    Raises:
        ServiceError: a worker cannot start.
        StoreError: misses could not be written to the ledger.
    """
    _allow_many_connections()
    with tempfile.TemporaryDirectory(prefix="stb-metrics-") as folder:
        options = replace(options, metrics_folder=Path(folder))
        _run(options, listener, workers=workers, as_json=as_json)
        lost = read_numbers(Path(folder)).counters.get("stb_misses_lost", {}).get((), 0)
    console.print_note("Stopped.")
    if lost:
        raise StoreError(
            f"{lost:,.0f} {'miss was' if lost == 1 else 'misses were'} lost: the store could not be written, or the ledger is full.",
            hint="Answers are not affected. The log says what happened.",
        )


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one; a connection is an open file."""
    with suppress(ImportError, OSError, ValueError):  # not on Windows, and not everywhere allowed
        import resource  # noqa: PLC0415 - does not exist on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run(options: ServerOptions, listener: socket.socket, *, workers: int, as_json: bool) -> None:
    # Whoever may name the client's address can evade limits per client, so nobody may unless this says so.
    trusted_proxies = options.environment.get("FORWARDED_ALLOW_IPS", "")
    config = uvicorn.Config(
        functools.partial(_worker_app, options, listener, os.getpid(), logs.current_level()),
        factory=True,
        workers=workers,
        http=PatientHttp,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        timeout_worker_healthcheck=_WORKER_TIMEOUT_S,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        backlog=_BACKLOG,
    )
    server = _Workers(config, sockets=[listener]) if workers > 1 else uvicorn.Server(config)
    if isinstance(server, uvicorn.Server):
        _stop_on_signals(server)
    announcing = threading.Thread(
        target=_announce, args=(listener, options, workers, as_json), daemon=True, name="announce"
    )
    announcing.start()
    try:
        _has_ended.clear()
        if isinstance(server, uvicorn.Server):
            server.run(sockets=[listener])
        else:
            server.run()
    except SystemExit:
        raise ServiceError("The server could not start.", hint="The log above says why.") from None
    finally:
        _has_ended.set()
    if isinstance(server, _Workers) and any(one.exitcode == STARTUP_FAILURE for one in server.processes):
        raise ServiceError("The server could not start.", hint="The log above says why.")


class _Workers(Multiprocess):
    """Notices at once that a worker has died, whatever the timeout for signs of life.

    Only the worker keeps its end of the pipe open, so its death is seen at ours. Connections are accepted only
    while workers serve: the address is given up before the workers are told to stop.
    """

    def init_processes(self) -> None:
        """Start the workers."""
        super().init_processes()
        self._let_go()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have died."""
        super().keep_subprocess_alive()
        self._let_go()

    def terminate_all(self) -> None:
        """Stop the workers; nobody accepts connections in their place."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def _let_go(self) -> None:
        for process in self.processes:
            process.child_conn.close()


def _stop_on_signals(server: uvicorn.Server) -> None:
    """Handle signals that arrive before uvicorn's handlers are set, and those that it raises again at its end."""

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _worker_app(
    options: ServerOptions, listener: socket.socket, supervisor: int, log_level: str
) -> RequestLabels:
    """The application of a worker process, which must not outlive its supervisor."""
    if os.getpid() != supervisor:
        threading.Thread(target=_end_with, args=(supervisor,), daemon=True, name="supervised").start()
        # A new process starts without logs and traces.
        guard_output()
        logs.configure(log_level)
        traces.start(options.environment, "stb-serve")
    return RequestLabels(
        create_app(options, ready=functools.partial(_listen, listener), closing=_end_in_time)
    )


def _end_in_time() -> None:
    """End this process if it has not ended by itself when the time to close is up.

    A database that is frozen holds up whatever waits for it, and nothing that was acknowledged waits.
    """

    def end() -> None:
        if _has_ended.wait(CLOSE_S):
            return
        _log.error("the server could not close in time, and ends", extra={"seconds": CLOSE_S})
        os._exit(1)

    threading.Thread(target=end, daemon=True, name="closing").start()


def _listen(listener: socket.socket) -> None:
    """Accept connections from now on.

    Raises:
        UsageError: another server took the same address before anyone listened, and listens already.
    """
    try:
        listener.listen(_BACKLOG)
    except OSError as problem:
        host, port = listener.getsockname()[:2]
        raise _cannot_listen(f"{host}:{port}", problem) from None
    _log.info("accepts connections")


def _end_with(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(_SUPERVISOR_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(listener: socket.socket, options: ServerOptions, workers: int, as_json: bool) -> None:
    """Wait until all workers have started, then print the URL and what to do next."""
    url = url_of(listener)
    while not _answers(listener) or _started(options) < workers:
        time.sleep(_PROBE_INTERVAL_S)
    if as_json:
        console.emit_json(
            {
                "url": url,
                "dataset": options.dataset,
                "mode": options.mode.value,
                "workers": workers,
                "pid": os.getpid(),
            },
            indent=False,
        )
    mode = f"{options.mode.value} mode"
    if options.follows_sources:
        mode += ", or auto mode while there is a simulator or a real API,"
    console.print_note(f"Serving dataset {options.dataset} in {mode} at {url}")
    console.print_note(f"Run an agent against it: stb run -a scripted -d {options.dataset} --server {url}")
    console.print_note("Stop with Ctrl-C.")


def _started(options: ServerOptions) -> int:
    """How many workers have started: each then writes its numbers into the folder."""
    assert options.metrics_folder
    return len(list(options.metrics_folder.glob("*.json")))


def _answers(listener: socket.socket) -> bool:
    with suppress(OSError, http.client.HTTPException):
        host, port = listener.getsockname()[:2]
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/healthz")
        answered = connection.getresponse().status == 200
        connection.close()
        return answered
    return False
