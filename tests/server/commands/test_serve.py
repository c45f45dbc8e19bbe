"""``stb serve`` starts, says where it is, refuses what cannot be, and ends cleanly."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from conftest import clean_environment
from serve_process import ANSWER, make_store, start
from services import free_port
from stb_core.errors import UsageError
from stb_core.store import open_store
from stb_server.app.process import bind
from virtual_server import request

pytestmark = pytest.mark.linux


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, workers: int, stop: signal.Signals) -> None:
    """One JSON line when it is ready; exit code 0 and all misses on disk after the signal."""
    url = make_store(tmp_path, "weather")
    process, ready = start(url, "--workers", str(workers))
    with httpx.Client(base_url=ready["url"]) as client:
        hit = client.post("/virtual", json=request({"city": "Bonn"}))
        client.post("/virtual", json=request({"city": "Rome"}))

    process.send_signal(stop)
    out, err = process.communicate(timeout=120)

    async def misses() -> int:
        store = await open_store(url)
        dataset = await store.datasets.get("weather")
        found = await store.misses.most_frequent(dataset.id)
        await store.close()
        return len(found)

    assert ANSWER.body == hit.content
    assert ("weather", "replay", workers) == (ready["dataset"], ready["mode"], ready["workers"])
    assert (0, "") == (process.returncode, out)
    assert f"Serving dataset weather in replay mode at {ready['url']}" in err
    assert "Traceback" not in err
    assert 1 == asyncio.run(misses())


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; a failure after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sockets() -> list[list[str]]:
    """The system's IPv4 TCP sockets, as the columns of /proc/net/tcp."""
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def has_read_all(client: socket.socket) -> bool:
    """Whether the other side has read what was sent."""
    here, there = (f":{end[1]:04X}" for end in (client.getsockname(), client.getpeername()))
    return any(
        row[1].endswith(there) and row[2].endswith(here) and row[4].endswith(":00000000") for row in sockets()
    )


def listens(port: int) -> bool:
    """Whether a process accepts connections on the port."""
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in sockets())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_request_under_way_is_finished(tmp_path: Path, workers: str) -> None:
    """A request that was accepted before the signal gets its whole answer; meanwhile nobody accepts others."""
    process, ready = start(make_store(tmp_path, "weather"), "--workers", workers)
    body = json.dumps(request({"city": "Bonn"})).encode()
    head = f"POST /virtual HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", httpx.URL(ready["url"]).port or 0), timeout=120) as client:
        client.sendall(head + body[:10])
        wait_until(lambda: has_read_all(client))
        process.terminate()
        wait_until(lambda: not listens(client.getpeername()[1]))
        client.sendall(body[10:])
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    process.communicate(timeout=120)

    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.endswith(ANSWER.body)
    assert 0 == process.returncode


def test_nobody_listens_before_a_worker_can_answer() -> None:
    """An address that is taken still refuses connections, and no other server gets it once someone listens."""
    with bind("127.0.0.1", 0) as listener:
        host, port = listener.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port))
        listener.listen()
        with pytest.raises(UsageError, match="Address already in use"):
            bind(host, port)


_SECOND_SERVER = """
import asyncio, sys
from stb_server.app.process import bind, serve
from stb_server.worker.options import ServerOptions

if __name__ == "__main__":
    with bind("127.0.0.1", 0) as ours, bind("127.0.0.1", ours.getsockname()[1]) as other:
        other.listen()
        serve(ServerOptions(sys.argv[1], "weather"), ours, workers=int(sys.argv[2]), as_json=True)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_two_servers_that_start_at_once_one_ends(tmp_path: Path, workers: str) -> None:
    """A server whose address another one listens on first ends, and does not start workers for ever."""
    script = tmp_path / "second.py"
    script.write_text(_SECOND_SERVER)
    done = subprocess.run(
        [sys.executable, script, make_store(tmp_path, "weather"), workers],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode
    assert "Cannot listen on 127.0.0.1:" in done.stderr
    assert "The server could not start." in done.stderr
    assert "" == done.stdout


def test_two_workers_share_the_port(tmp_path: Path) -> None:
    """Both processes answer, and one that is killed is replaced."""
    process, ready = start(make_store(tmp_path, "weather"), "--workers", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = [
        int(pid)
        for pid in children.read_text().split()
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    subprocess.run(["kill", "-9", str(workers[0])], check=True)
    statuses = []
    for _ in range(20):
        with httpx.Client(timeout=120) as client:
            statuses.append(client.post(f"{ready['url']}/virtual", json=request()).status_code)
    process.terminate()
    process.communicate(timeout=120)

    assert 2 == len(workers)
    assert [200] * 20 == statuses


def test_a_server_whose_parent_was_killed_ends(tmp_path: Path) -> None:
    """Workers do not outlive a supervisor that had no chance to stop them; the port becomes free."""
    process, ready = start(make_store(tmp_path, "weather"), "--workers", "2")
    process.kill()
    process.communicate()

    deadline = time.monotonic() + 60
    alive = True
    while alive and time.monotonic() < deadline:
        try:
            httpx.get(f"{ready['url']}/healthz", timeout=1)
            time.sleep(0.1)
        except httpx.TransportError:
            alive = False

    assert not alive


def test_an_occupied_port_is_one_line(tmp_path: Path, in_process) -> None:
    """It says which port and what to do; exit code 2."""
    make_store(tmp_path, "weather")
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        done = in_process("serve", "--port", port)

    assert 2 == done.code
    assert (
        f"stb: Cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Choose another port with --port; 0 means any free port.\n"
    ) == done.err


@pytest.mark.parametrize(
    ("datasets", "options", "message"),
    [
        ([], [], "There is no dataset. Import one: stb data import PATH --name NAME."),
        (["a", "b"], [], "There are several datasets. Name one of them: a, b."),
        (["a"], ["--dataset", "c"], "There is no dataset 'c'. There are: a."),
        (
            ["a"],
            ["--mode", "record"],
            "Mode record needs a real API, and none is configured. Name one with --upstream or --simulator.",
        ),
        (
            ["a"],
            ["--upstream", "none.yaml"],
            "There is no upstream configuration none.yaml. Check --upstream.",
        ),
        (
            ["a"],
            ["--redis-url", "localhost"],
            (
                "This is not a valid Redis URL. "
                "Use redis://HOST:6379/0, rediss://USER:PASSWORD@HOST/0 or unix:///path/to/socket."
            ),
        ),
        (
            ["a"],
            ["--host", "0.0.0.0"],
            "Other machines can reach 0.0.0.0. Set a token with --token, or listen on 127.0.0.1.",
        ),
        (
            ["a"],
            ["--host", "192.0.2.1", "--token", "t"],
            (
                "Cannot listen on 192.0.2.1:8080: Cannot assign requested address. "
                "Choose another port with --port; 0 means any free port."
            ),
        ),
    ],
)
def test_what_cannot_be_served_is_one_line(
    tmp_path: Path, in_process, datasets: list[str], options: list[str], message: str
) -> None:
    """What is wrong and what to do; exit code 2, no traceback."""
    make_store(tmp_path, *datasets)

    done = in_process("serve", *options)

    assert (2, "", f"stb: {message}\n") == (done.code, done.out, done.err)


@pytest.mark.slow
def test_a_worker_that_is_slow_is_not_ended(tmp_path: Path) -> None:
    """One that gives no sign for six seconds, as in its start on a busy machine, is waited for."""
    process, ready = start(make_store(tmp_path, "weather"), "--workers", "2")
    workers = workers_of(process.pid)
    try:
        os.kill(workers[0], signal.SIGSTOP)
        time.sleep(6)
        os.kill(workers[0], signal.SIGCONT)

        assert 200 == httpx.get(f"{ready['url']}/healthz", timeout=120).status_code
        assert workers == workers_of(process.pid)
    finally:
        process.terminate()
        process.communicate()


def workers_of(pid: int) -> list[int]:
    """The processes of a server that serve."""
    listed = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "spawn_main"], capture_output=True, text=True, check=True
    )
    return sorted(map(int, listed.stdout.split()))


@pytest.mark.parametrize(("trusted", "refused"), [("", True), ("127.0.0.1", False)])
def test_who_may_name_a_client(tmp_path: Path, trusted: str, refused: bool) -> None:
    """A client cannot get around its limit by another address in a header, unless its proxy is named."""
    url = make_store(tmp_path, "weather")
    options = "--dataset", "weather", "--rate-limit", "0.001"
    process, served = start(url, *options, FORWARDED_ALLOW_IPS=trusted)
    answers = [
        httpx.post(
            f"{served['url']}/virtual",
            json=request({"city": "Bonn"}),
            headers={"X-Forwarded-For": f"10.0.0.{number}"},
            timeout=60,
        )
        for number in range(3)
    ]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert refused == (429 in {answer.status_code for answer in answers})


@pytest.mark.linux
def test_it_takes_as_many_connections_as_the_system_allows(tmp_path: Path) -> None:
    """The soft limit of open files, 1,024 on many systems, is raised to the hard one."""
    url = make_store(tmp_path, "weather")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        process, served = start(url, "--dataset", "weather", fresh=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{served['pid']}/limits").read_text()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert [str(hard)] * 2 == line.split()[3:5]


@pytest.mark.parametrize("many", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_many_connections_that_say_nothing_stop_nothing(tmp_path: Path, many: int) -> None:
    """Nothing, half a head and half a body, on as many connections as may be open: others are answered."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = min(many, hard - 500)
    process, said = start(make_store(tmp_path, "weather"))
    address = said["url"].removeprefix("http://").split(":")
    pieces = [
        b"",
        b"POST /virtual HTTP/1.1\r\nHo",
        b"POST /virtual HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = []
    try:
        for number in range(many):
            connections.append(socket.create_connection((address[0], int(address[1])), timeout=60))
            connections[-1].sendall(pieces[number % len(pieces)])
        alive = [httpx.get(f"{said['url']}/healthz", timeout=120).status_code for _ in range(3)]
        answer = httpx.post(f"{said['url']}/virtual", json=request({"city": "Bonn"}), timeout=120)
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
        process.terminate()
        process.communicate()

    assert ([200] * 3, 200) == (alive, answer.status_code)
