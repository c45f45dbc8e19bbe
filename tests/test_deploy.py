"""What is deployed keeps its promises: the compose file, its settings, the images, the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import dotenv
import pytest
import yaml

from conftest import REPOSITORY, clean_environment, unavailable
from stb_server.worker import metrics
from stb_server.worker.metrics import Numbers, exposition

COMPOSE = REPOSITORY / "docker-compose.yml"
EXAMPLE = REPOSITORY / ".env.example"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
PROFILES = sorted({profile for service in SERVICES.values() for profile in service.get("profiles", ())})
OURS = {"server", "setup", "runner"}
_MUST_BE_SET = {"STB_TOKEN", "POSTGRES_PASSWORD"}
_USED = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


def test_the_profiles() -> None:
    """What is optional, by name."""
    assert ["gpu", "judge", "observability", "runner"] == PROFILES


def test_only_the_proxy_and_the_dashboard_are_published_and_on_the_loopback() -> None:
    """Every published port has an address, which is 127.0.0.1 unless someone says otherwise."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert {"proxy", "grafana"} == set(published)
    assert all(":-127.0.0.1:" in port for ports in published.values() for port in ports)


def test_images_are_pinned() -> None:
    """Each image of others has a version of at least three numbers or a variable with such a default."""
    images = {service["image"] for name, service in SERVICES.items() if name not in OURS}
    dockerfiles = [REPOSITORY / room / "Dockerfile" for room in ("server", "evaluator")]
    bases = {
        line.split()[1]
        for path in dockerfiles
        for line in path.read_text().splitlines()
        if line[:5] == "FROM "
    }

    loose = [
        image for image in images | bases if not re.search(r":(\$\{\w+:-)?v?\d+\.\d+(\.\d+)?[-}\w]*", image)
    ]

    assert [] == loose
    assert not any("latest" in image for image in images | bases)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"simulator", "judge"}))
def test_containers_are_confined(name: str) -> None:
    """The root is read-only, no capability is left, no rights can be gained, and nobody is root."""
    service = SERVICES[name]

    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    # Images that say USER themselves need no line here.
    assert "user" in service or name in {*OURS, "prometheus", "grafana"}


def test_our_images_run_as_nobody_in_particular() -> None:
    """Both Dockerfiles name a numeric user, and leave compilers and pip behind."""
    for room in ("server", "evaluator"):
        final = (REPOSITORY / room / "Dockerfile").read_text().split("FROM ")[-1]
        assert "USER 10001" in final
        assert "pip install" not in final


def test_every_variable_is_in_the_example_with_its_default() -> None:
    """``.env.example`` names each variable of the compose file, with the value that it has when left out."""
    example = {name: value or "" for name, value in dotenv.dotenv_values(EXAMPLE, interpolate=False).items()}
    used = {name: (kind, text) for name, kind, text in _USED.findall(COMPOSE.read_text())}

    assert set(used) | {"COMPOSE_PROJECT_NAME"} == set(example)
    assert _MUST_BE_SET == {name for name, (kind, _) in used.items() if kind == "?"}
    assert {name: text for name, (kind, text) in used.items() if kind == "-"} == {
        name: example[name] for name, (kind, _) in used.items() if kind == "-"
    }


def test_no_secret_has_a_default() -> None:
    """Passwords, keys and tokens are empty unless someone sets them."""
    example = dotenv.dotenv_values(EXAMPLE, interpolate=False)
    secrets = [name for name in example if name.endswith(("TOKEN", "PASSWORD", "KEY"))]

    assert secrets
    assert [] == [name for name in secrets if example[name]]


@pytest.mark.parametrize("profile", ["", *PROFILES])
def test_docker_compose_resolves(profile: str, tmp_path: Path) -> None:
    """A real ``docker-compose`` understands the file, with each profile."""
    if not (program := shutil.which("docker-compose")):
        unavailable("docker-compose")
    environment = tmp_path / "env"
    environment.write_text("STB_TOKEN=a\nPOSTGRES_PASSWORD=b\n")

    done = subprocess.run(
        [
            program,
            "--env-file",
            environment,
            *(["--profile", profile] if profile else []),
            "config",
            "--services",
        ],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    wanted = {name for name, service in SERVICES.items() if profile in service.get("profiles", [profile])}
    assert done.returncode == 0, done.stderr
    assert wanted <= set(done.stdout.split())


def test_without_secrets_nothing_starts(tmp_path: Path) -> None:
    """Where token and password are not set, ``docker-compose`` says so."""
    if not (program := shutil.which("docker-compose")):
        unavailable("docker-compose")

    (tmp_path / "env").touch()

    done = subprocess.run(
        [program, "--env-file", tmp_path / "env", "config"],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode
    assert "set it in .env" in done.stderr


def test_the_dashboard_shows_metrics_that_exist() -> None:
    """Each number of ours on the dashboard is one that the server exports."""
    text = (REPOSITORY / "deploy/grafana/dashboards/stabletoolbench.json").read_text()
    shown = {
        name for panel in json.loads(text)["panels"] for t in panel["targets"] for name in _metrics(t["expr"])
    }
    numbers = Numbers(times={("recorded", "store", "200", ""): [0.1] + [1.0] * 16})
    exported = set(re.findall(r"^# TYPE (\S+)", exposition(numbers).decode(), re.MULTILINE))

    known = {name.removesuffix("_total") for name in exported} | set(metrics._GAUGES)
    assert set() == {re.sub(r"_(total|count|bucket|sum)$", "", name) for name in shown} - known


def _metrics(expression: str) -> list[str]:
    return re.findall(r"\bstb_\w+", expression)


@pytest.mark.parametrize("room", ["server", "evaluator"])
def test_the_images_install_what_the_project_asks_for(room: str) -> None:
    """Each requirement is locked, at a version that the project accepts."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {
        "server": ["mcp", "otel", "postgres"],
        "evaluator": ["otel", "postgres", "report", "retrieval"],
    }[room]
    wanted = project["dependencies"] + [
        one for extra in extras for one in project["optional-dependencies"][extra]
    ]
    locked: dict[str, str] = {}
    for line in (REPOSITORY / room / "requirements.lock").read_text().splitlines():
        if line and line[0] != "#":
            name, _, version = line.partition(";")[0].strip().partition("==")
            locked.setdefault(name, version)

    wrong = []
    for requirement in wanted:
        name, _, least = re.sub(r"\[.*?\]", "", requirement).partition(">=")
        there = locked.get(name.lower(), "0")
        if [int(n) for n in re.findall(r"\d+", there)] < [int(n) for n in re.findall(r"\d+", least)]:
            wrong.append(f"{requirement}: {there}")
    assert [] == wrong
