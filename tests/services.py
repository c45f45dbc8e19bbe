"""Real services for tests, started and owned by them: PostgreSQL and Redis on the loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self


def free_port() -> int:
    """A TCP port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, *, seconds: float = 60) -> None:
    """Return when something accepts connections on the port; TimeoutError otherwise."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing answers on 127.0.0.1:{port}")


def _postgres_bin() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


class Postgres:
    """A PostgreSQL server with its own data folder, on the loopback; without a password unless given one."""

    def __init__(self, folder: Path, *, port: int = 0, user: str = "postgres", password: str = "") -> None:
        self.folder = folder
        self.port = port or free_port()
        self.user = user
        self.password = password
        self._bin = _postgres_bin()

    @staticmethod
    def installed() -> bool:
        """Whether the machine has the programs."""
        return _postgres_bin() is not None

    def __enter__(self) -> Self:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            for parent in self.folder.parents:
                if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                    parent.chmod(0o755)
        method = ["-A", "trust"]
        if self.password:
            secret = self.folder / "password"
            secret.write_text(self.password)
            if os.geteuid() == 0:
                os.chown(secret, owner.pw_uid, owner.pw_gid)
            method = ["-A", "scram-sha-256", "--pwfile", str(secret)]
        self._run("initdb", "-D", self._data, *method, "-U", self.user, "-N", "--no-instructions")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop", check=False)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *args: str, check: bool = True) -> None:
        assert self._bin
        command = [str(self._bin / program), *args]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
        done = subprocess.run(
            command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}")

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c max_connections=200"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "-t", "300", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast``, or ``immediate``, which is a crash."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def kill(self) -> None:
        """SIGKILL the server; its other processes notice and end by themselves."""
        self._signal(signal.SIGKILL)
        while self.is_running():
            time.sleep(0.02)

    def pause(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for each in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def _processes(self) -> list[int]:
        pid = self._pid()
        assert pid, "it does not run"
        found = subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE, text=True, check=False)
        return [pid, *map(int, found.stdout.split())]

    def is_running(self) -> bool:
        """Whether the server's first process is there."""
        pid = self._pid()
        return pid is not None and Path(f"/proc/{pid}").exists()

    def _pid(self) -> int | None:
        try:
            return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """A new database, a copy of another, empty without one; returns its URL."""
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", self.user]
        environment = {**os.environ, "PGPASSWORD": self.password}
        subprocess.run(["createdb", *address, "-T", template, name], check=True, env=environment)
        secret = f":{self.password}" if self.password else ""
        return f"postgresql://{self.user}{secret}@127.0.0.1:{self.port}/{name}"


class Redis:
    """A Redis server that keeps nothing on disk."""

    def __init__(self, folder: Path, *, max_memory: str = "0") -> None:
        self.folder = folder
        self.port = free_port()
        self.max_memory = max_memory
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def installed() -> bool:
        """Whether the machine has the program."""
        return shutil.which("redis-server") is not None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, empty, on the port that it has had from the beginning."""
        self._process = subprocess.Popen(
            [
                "redis-server",
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--save", "", "--appendonly", "no", "--maxmemory", self.max_memory),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_port(self.port)

    def kill(self) -> None:
        """SIGKILL: it is gone with all that it held."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def execute(self, *command: str) -> None:
        """Send it a command."""
        subprocess.run(["redis-cli", "-p", str(self.port), *command], check=True, capture_output=True)

    def pause(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)
