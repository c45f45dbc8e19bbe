"""The services of ``docker-compose.yml`` as plain processes, for machines without Docker.

Commands, environment and settings come from the compose file and the ``.env`` beside it; what differs
is where things are: ports of the loopback in the place of containers' names, and one folder for all
data. PostgreSQL, Redis and nginx are the real programs.

    topology = Topology(Path("/tmp/somewhere"), Path(".env"))
    topology.up()                                   # as many replicas as STB_REPLICAS says
    topology.run("stb", "ls")                       # as `docker compose run --rm runner stb ls`
    topology.kill("redis"); topology.start("redis")
    topology.down()

``python tests/topology.py FOLDER compose …`` understands the few ``docker compose`` commands that the
documentation shows: a script named ``docker`` can stand in for the real one. State is kept in the
folder, so that each command may be a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import dotenv
import yaml

import services

REPOSITORY = Path(__file__).parent.parent
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")
_START_TIMEOUT_S = 120


def installed() -> bool:
    """Whether the machine has all programs."""
    return services.Postgres.installed() and services.Redis.installed() and shutil.which("nginx") is not None


class Topology:
    """The services over one folder; an object knows what others with the same folder have started."""

    def __init__(self, folder: Path, env_file: Path, *, models: str = "") -> None:
        """Make a topology.

        Args:
            folder: for data, logs and state.
            env_file: what ``docker compose`` reads as ``.env``; the process's environment goes before it.
            models: base URL of an OpenAI-compatible server that plays the simulator and the judge.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        given = {name: value or "" for name, value in dotenv.dotenv_values(env_file).items()}
        self.variables = {**given, **os.environ}
        compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
        self.services: dict[str, Any] = self._interpolated(compose["services"])
        self._state_file = folder / "topology.json"
        if not self._state_file.exists():
            host, port = self._service("proxy")["ports"][0].rsplit(":", 1)[0].rsplit(":", 1)
            ports = {"proxy": int(port), "postgres": services.free_port(), "redis": services.free_port()}
            self._save({"host": host, "ports": ports, "pids": {}, "models": models})

    # What is where.

    @property
    def url(self) -> str:
        """The proxy's address: all that is reachable from outside."""
        state = self._state
        return f"http://{state['host']}:{state['ports']['proxy']}"

    @property
    def replicas(self) -> list[str]:
        """The names of the server's replicas."""
        return sorted(name for name in self._state["ports"] if name.startswith("server-"))

    def url_of(self, replica: str) -> str:
        """A replica's own address."""
        return f"http://127.0.0.1:{self._state['ports'][replica]}"

    def get(self, path: str, url: str = "", *, token: str = "") -> tuple[int, str]:
        """Status and body of a GET through the proxy, or of another address, with the token or another."""
        token = token or self.variables["STB_TOKEN"]
        request = urllib.request.Request(
            f"{url or self.url}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    # What one does with it.

    def up(self) -> None:
        """Start all that is not running, in the order of ``depends_on``, and wait until it is healthy."""
        self.start("postgres")
        self.start("redis")
        setup = self._service("setup")
        done = subprocess.run(
            self._command(setup["command"]), env=self._environment(setup), cwd=self.folder, check=False
        )
        if done.returncode:
            raise RuntimeError(f"setup ended with {done.returncode}")
        for number in range(1, int(self._service("server")["deploy"]["replicas"]) + 1):
            self.start(f"server-{number}")
        self.start("proxy")

    def run(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as the runner does."""
        return self.begin(*command).finish(**more)

    def begin(self, *command: str) -> Running:
        """As ``run``, without waiting for the end."""
        files = self.folder / "runner-files"
        files.mkdir(exist_ok=True)
        environment = self._environment(self._service("runner"))
        return Running(
            subprocess.Popen(
                self._command(list(command)),
                env=environment,
                cwd=files,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def start(self, name: str) -> None:
        """Start a service that is down, where it was before, and wait until it answers."""
        if self._is_running(name):
            return
        state = self._state
        state["ports"].setdefault(name, services.free_port())
        self._save(state)
        if name == "postgres":
            self._start_postgres()
        elif name == "redis":
            (self.folder / "redis").mkdir(exist_ok=True)
            own = ["--port", self._port(name), "--bind", "127.0.0.1", "--dir", str(self.folder / "redis")]
            self._spawn(name, [*self._service("redis")["command"], *own])
        elif name == "proxy":
            self._start_proxy()
        else:
            self._start_replica(name)
        self._wait_for(name)

    def kill(self, name: str) -> None:
        """SIGKILL a service with all its processes."""
        if name == "postgres":
            self._postgres().kill()
            return
        with suppress(ProcessLookupError):
            os.killpg(self._state["pids"][name], signal.SIGKILL)
        while self._is_running(name):
            time.sleep(0.02)

    def down(self) -> None:
        """Stop everything; data stays."""
        for name in ("proxy", *self.replicas, "redis"):
            if self._is_running(name):
                os.killpg(self._state["pids"][name], signal.SIGTERM)
        for name in ("proxy", *self.replicas, "redis"):
            while self._is_running(name):
                time.sleep(0.05)
        if self._is_running("postgres"):
            self._postgres().stop()

    def states(self) -> list[tuple[str, str]]:
        """Each service and whether it runs."""
        names = ("proxy", *self.replicas, "postgres", "redis")
        return [(name, "running" if self._is_running(name) else "exited") for name in names]

    # How it is done.

    def _interpolated(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._interpolated(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._interpolated(member) for member in value]
        return _VARIABLE.sub(self._substitute, value) if isinstance(value, str) else value

    def _substitute(self, found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        if name is None:
            return "$"
        value = self.variables.get(name, "")
        if not value and kind == "?":
            raise RuntimeError(f"{name} is missing a value: {text}")
        return value or (text if kind == "-" else "")

    def _service(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.services[name]
        return found

    @property
    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._state_file.read_text())
        return state

    def _save(self, state: dict[str, Any]) -> None:
        self._state_file.write_text(json.dumps(state))

    def _port(self, name: str) -> str:
        return str(self._state["ports"][name])

    def _is_running(self, name: str) -> bool:
        if name == "postgres":
            return (self.folder / "postgres").exists() and self._postgres().is_running()
        pid = self._state["pids"].get(name)
        if pid is None:
            return False
        with suppress(ChildProcessError):  # it may be ours, and is to be taken note of when it has ended
            os.waitpid(pid, os.WNOHANG)
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _located(self, text: str) -> str:
        """Text with containers' names replaced by addresses of this machine."""
        state = self._state
        models = state["models"].removesuffix("/v1") or "http://nowhere.invalid"
        places = {
            "@postgres:5432": f"@127.0.0.1:{state['ports']['postgres']}",
            "//redis:6379": f"//127.0.0.1:{state['ports']['redis']}",
            "http://proxy:8080": self.url,
            "http://simulator:8000": models,
            "http://judge:8000": models,
            "/cache_dumps/": f"{REPOSITORY}/cache_dumps/",
        }
        for container, place in places.items():
            text = text.replace(container, place)
        return text

    def _command(self, command: list[str]) -> list[str]:
        located = [self._located(word) for word in command]
        return [sys.executable, "-m", "stb_core.cli", *located[1:]] if located[0] == "stb" else located

    def _environment(self, service: dict[str, Any]) -> dict[str, str]:
        """A container's environment: what the compose file gives it, and the bare necessities."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        given = {name: self._located(str(value)) for name, value in service["environment"].items()}
        return {**kept, **given, "COLUMNS": "200"}

    def _spawn(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        state = self._state
        state["pids"][name] = process.pid
        self._save(state)
        # Its end is noticed by _is_running, not by this object.
        process.returncode = 0

    def _postgres(self) -> services.Postgres:
        environment = self._service("postgres")["environment"]
        return services.Postgres(
            self.folder / "postgres",
            port=int(self._port("postgres")),
            user=environment["POSTGRES_USER"],
            password=environment["POSTGRES_PASSWORD"],
        )

    def _start_postgres(self) -> None:
        server = self._postgres()
        if server.folder.exists():
            server.start()
            return
        server.folder.mkdir()
        server.__enter__()
        server.create_database(self._service("postgres")["environment"]["POSTGRES_DB"])

    def _start_replica(self, name: str) -> None:
        service = self._service("server")
        # No profile is on: `models` are for the runner.
        own = {"STB_HOST": "127.0.0.1", "STB_PORT": self._port(name), "STB_SIMULATOR": "none"}
        self._spawn(name, self._command(service["command"]), self._environment(service) | own)

    def _start_proxy(self) -> None:
        conf = (REPOSITORY / "deploy/proxy.conf").read_text()
        conf = conf.replace("/tmp/", f"{self.folder}/")
        conf = conf.replace("listen 8080;", f"listen {self._state['host']}:{self._port('proxy')};")
        (self.folder / "proxy.conf").write_text(conf)
        upstream = (REPOSITORY / "deploy/upstream.conf").read_text()
        upstream = re.sub(r"^resolver .*\n", "", upstream, flags=re.MULTILINE)
        line = re.search(r"^  server server:8080 resolve(.*;)\n", upstream, re.MULTILINE)
        assert line
        replicas = [f"  server 127.0.0.1:{self._port(name)}{line[1]}\n" for name in self.replicas]
        (self.folder / "upstream.conf").write_text(upstream.replace(line[0], "".join(replicas)))
        conf_path = str(self.folder / "proxy.conf")
        options = ["-e", "stderr", "-p", str(self.folder), "-c", conf_path, "-g", "daemon off;"]
        self._spawn(name="proxy", command=["nginx", *options])

    def _wait_for(self, name: str) -> None:
        if name in {"postgres", "redis"}:
            services.wait_for_port(int(self._port(name)))
            return
        url = self.url if name == "proxy" else self.url_of(name)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if not self._is_running(name):
                break
            with suppress(OSError):
                if self.get("/readyz", url)[0] == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{name} did not start:\n{(self.folder / f'{name}.log').read_text()}")


class Running:
    """A command of the runner under way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def has_ended(self) -> bool:
        """Whether it has come to its end."""
        return self._process.poll() is not None

    def finish(self, *, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        return subprocess.CompletedProcess(self._process.args, self._process.returncode, out, err)


def compose(topology: Topology, words: list[str]) -> int:
    """Do what ``docker compose WORDS`` would do; returns the exit code."""
    if words[0] == "--profile":
        words = words[2:]
    action, *rest = words
    if action == "up":
        topology.up()
        return 0
    if action == "build":
        return 0
    if action == "run":
        command = [word for word in rest if word not in {"--rm", "-T"}]
        assert command[0] == "runner", command
        done = topology.run(*command[1:])
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode
    if action == "ps":
        for name, state in topology.states():
            sys.stdout.write(f"{name:<12} {state}\n")
        return 0
    if action == "down":
        topology.down()
        return 0
    raise SystemExit(f"docker compose {action} has no stand-in here")


if __name__ == "__main__":
    where, word, *others = sys.argv[1:]
    assert word == "compose", word
    model_url = os.environ.get("STB_TOPOLOGY_MODELS", "")
    sys.exit(compose(Topology(Path(where), Path(".env"), models=model_url), others))
