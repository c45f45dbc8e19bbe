"""The whole job against the services of ``docker-compose.yml``, run as plain processes; also while they die."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import services
from conftest import REPOSITORY, unavailable
from llm_server import LLMServer
from topology import Topology, installed

pytestmark = [pytest.mark.slow, pytest.mark.linux]

MODEL = f"simulator/{os.environ.get('STB_TEST_VLLM_MODEL', 'any')}"
# What a real model says is greedy and short, and asked for often enough to have all killed meanwhile.
TRIALS = 4 if os.environ.get("STB_TEST_VLLM") else 1
AGENT = f"run -a cot -m {MODEL} -d demo --temperature 0 --max-completion-tokens 128 --trials {TRIALS}".split()
CONNECTIONS = 2
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    """All programs are on this machine."""
    if not installed():
        unavailable("PostgreSQL, redis-server or nginx")


@pytest.fixture(scope="module")
def stub() -> Generator[LLMServer | None]:
    """A stub model, which counts; None where STB_TEST_VLLM names a vLLM server in its place."""
    if os.environ.get("STB_TEST_VLLM"):
        yield None
        return
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="module")
def models(stub: LLMServer | None) -> str:
    """The base URL of the model."""
    return stub.url if stub else os.environ["STB_TEST_VLLM"]


def env_file(folder: Path, port: int) -> Path:
    """An environment file as a user would make it from the example."""
    text = (REPOSITORY / ".env.example").read_text()
    for name, value in {
        "STB_TOKEN": TOKEN,
        "POSTGRES_PASSWORD": "fedcba9876543210",
        "STB_PUBLISH": f"127.0.0.1:{port}",
    }.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
    path = folder / ".env"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def topology(models: str) -> Generator[Topology]:
    """All services, with the replicas of the server that the example asks for."""
    # Not among pytest's own folders, which another session of pytest may clear.
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="stb-services-", ignore_cleanup_errors=True) as folder,
    ):
        for name in [name for name in os.environ if name.startswith(("STB_", "OPENAI_"))]:
            patch.delenv(name)
        made = Topology(Path(folder), env_file(Path(folder), services.free_port()), models=models)
        try:
            made.up()
            yield made
        finally:
            made.down()


def rows(topology: Topology, *command: str) -> list[dict[str, Any]]:
    """The rows that a command of the runner prints."""
    done = topology.run("stb", *command, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


def without_names(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Scores without what differs between equal runs: names, hashes, times."""
    kept = ("metric", "block", "group", "value", "std_rounds", "n", "n_total", "n_error", "ci_low", "ci_high")
    return [{name: row[name] for name in kept} for row in scores]


def test_import_run_score_inspect(topology: Topology, demo_folder: Path) -> None:
    """The same scores as ``stb demo`` gives without services; every page and state is there; up changes nothing."""
    [run] = {row["run"] for row in rows(topology, "run", "-a", "scripted", "-d", "demo", "--name", "first")}
    scores = rows(topology, "score", "first", "--judge", "rules")

    demo = json.loads((demo_folder / "demo.json").read_text())
    assert without_names(scores) == without_names(
        [row for row in demo["rows"] if row["run"] == demo["runs"][0] and not row.get("run_b")]
    )
    assert 0 == topology.run("stb", "show", f"{run}/105").returncode
    for path in ("/", "/runs", f"/runs/{run}", "/cache", "/misses"):
        status, page = topology.get(path)
        assert (200, True) == (status, "<html" in page), path
    assert run in topology.get("/runs")[1]
    topology.up()
    assert scores == rows(topology, "score", "first", "--judge", "rules")


def test_doctor_finds_the_services_well(topology: Topology) -> None:
    """``stb doctor`` in the runner has nothing to complain about."""
    done = topology.run("stb", "doctor", "--model", MODEL, "--json")

    found = json.loads(done.stdout)["rows"]
    assert (0, []) == (done.returncode, [row for row in found if row["problem"]])
    assert {"server", "redis", "store"} <= {row["check"] for row in found}


def test_nobody_gets_in_without_the_token(topology: Topology) -> None:
    """The proxy lets all through, and the server nobody without the token; liveness is open."""
    paths = ("/healthz", "/readyz", "/metrics")

    assert [200, 401, 401] == [topology.get(path, token="another")[0] for path in paths]


def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    """Return when the condition holds; a failure if it does not within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def health(topology: Topology, replica: str) -> tuple[int, dict[str, Any]]:
    """A replica's own health page."""
    status, text = topology.get("/readyz", topology.url_of(replica))
    return status, json.loads(text)


def has_begun(topology: Topology, name: str) -> bool:
    """Whether a run has a trial that is done."""
    return any(row["name"] == name and row["answers"] for row in rows(topology, "ls"))


def redis_state(topology: Topology, replica: str) -> str:
    """What a replica says about Redis."""
    state: str = health(topology, replica)[1]["parts"]["redis"]["status"]
    return state


def attempt(
    topology: Topology, stub: LLMServer | None, kill: Callable[[Callable[[], bool]], None]
) -> tuple[list[int], str]:
    """Run an agent while services are killed; the same command again until it succeeds. All exit codes.

    The stub answers as often as ``kill`` lets it until that has ended.
    """
    if stub:
        stub.behaviour.allowance = 0
    # Few at a time, so that work is left for each of the killings.
    command = (*AGENT, "--name", "killed", "--max-connections", f"{CONNECTIONS}")
    under_way = topology.begin("stb", *command)
    try:
        kill(lambda: under_way.has_ended)
    finally:
        if stub:
            stub.behaviour.allowance = None
        ended = [under_way.finish()]
    while ended[-1].returncode and len(ended) < 5:
        ended.append(topology.run("stb", *command))
    return [done.returncode for done in ended], "".join(done.stderr for done in ended)


def test_nothing_is_lost_when_services_are_killed(topology: Topology, stub: LLMServer | None) -> None:
    """Redis, a replica and PostgreSQL are killed and started again during a run.

    Health pages say so while it lasts, the exit code is 1 where work is left and the same command goes
    on; in the end trajectories and scores are those of an undisturbed run, and no model reply was paid for
    again but those that came when PostgreSQL was away.
    """
    before = stub.paid if stub else 0
    [calm] = {row["run"] for row in rows(topology, *AGENT, "--name", "calm")}
    first, second = topology.replicas
    between = stub.paid if stub else 0

    def advance(has_ended: Callable[[], bool]) -> None:
        """Let the run get some replies of the model, and no more, so that it cannot end meanwhile."""
        if stub is None:
            until(lambda: has_begun(topology, "killed") or has_ended(), seconds=240)
            return
        stub.behaviour.allowance = 2 * CONNECTIONS
        until(lambda: stub.behaviour.allowance == 0 or has_ended(), seconds=240)

    def kill(has_ended: Callable[[], bool]) -> None:
        advance(has_ended)
        topology.kill("redis")
        until(lambda: redis_state(topology, first) == "down")
        assert 200 == health(topology, first)[0], "answers go on without Redis"
        advance(has_ended)
        topology.start("redis")
        until(lambda: redis_state(topology, first) == "ok")

        topology.kill(second)
        assert 200 == topology.get("/readyz")[0], "the proxy asks the other replica"
        advance(has_ended)
        topology.start(second)

        assert not has_ended(), "the run ended although the model still had replies to give"
        topology.kill("postgres")
        if stub:
            stub.behaviour.allowance = None
        assert (503, "down") == (
            health(topology, first)[0],
            health(topology, first)[1]["parts"]["store"]["status"],
        )
        assert 200 == topology.get("/healthz")[0]
        topology.start("postgres")
        until(lambda: health(topology, first)[0] == 200)

    codes, said = attempt(topology, stub, kill)

    assert 0 == codes[-1]
    assert set(codes) <= {0, 1}
    assert "Traceback" not in said
    judged = [rows(topology, "score", name, "--judge", "rules") for name in (calm, "killed")]
    assert [True, True] == [
        row["complete"] for row in rows(topology, "ls") if row["name"] in {"calm", "killed"}
    ]
    if stub:  # a real model may say another thing when other requests are beside it
        assert stub.paid - between <= between - before + CONNECTIONS
        assert without_names(judged[0]) == without_names(judged[1])
        assert trajectories(topology, "calm") == trajectories(topology, "killed")


def trajectories(topology: Topology, name: str) -> dict[str, Any]:
    """What a run's trajectories say, by query: conversation, calls, answer, reason of their end."""
    folder = topology.folder / "runner-files" / name
    done = topology.run("stb", "export", name, "--format", "toolbench", "-o", name)
    assert done.returncode == 0, done.stderr
    return {
        re.sub(rf"\b{name}(?=/)|(?<=_){name}(?=\.)", "run", str(path.relative_to(folder))): json.loads(
            path.read_text()
        )
        for path in sorted(folder.rglob("*.json"))
    }


def services_section() -> list[str]:
    """The command lines of README's section on services."""
    readme = (REPOSITORY / "README.md").read_text()
    section = readme.split("\n## As services\n")[1].split("\n## ")[0]
    [block] = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for line in block.splitlines() if line.strip()]


def test_the_readme_section_on_services(tmp_path: Path, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line works as it stands there; ``docker`` is a script that starts the same services as processes."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in (".env.example", "docker-compose.yml"):
        (checkout / name).write_text((REPOSITORY / name).read_text())
    programs = tmp_path / "bin"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(
        f'#!/bin/sh\nexec {sys.executable} {REPOSITORY}/tests/topology.py {tmp_path}/services "$@"\n'
    )
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    port = services.free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STB_")},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "STB_PUBLISH": f"127.0.0.1:{port}",
        "STB_TOPOLOGY_MODELS": models,
    }

    said = {}
    try:
        for line in services_section():
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line.replace(":8080", f":{port}")],
                cwd=checkout,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=240,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}"
            said[line] = done.stdout
    finally:
        monkeypatch.setenv("STB_PUBLISH", f"127.0.0.1:{port}")
        Topology(tmp_path / "services", checkout / ".env").down()

    everything = "\n".join(said.values())
    assert "97.2 [83.3, 99.7]" in everything
    assert '"status":"ready"' in everything
