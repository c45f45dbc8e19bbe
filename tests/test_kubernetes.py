"""The manifests for Kubernetes say the same as the compose file; ``.ci/run`` checks them against the schemas."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from stb_server.app import process

SERVICES: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
OURS = ("server", "setup", "runner")


def manifests() -> list[dict[str, Any]]:
    """All objects of ``deploy/kubernetes``."""
    folder = REPOSITORY / "deploy/kubernetes"
    return [one for path in sorted(folder.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


PODS = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"]
    for one in manifests()
    if "template" in one["spec"]
}


def test_what_runs_on_kubernetes() -> None:
    """The server, a cache, the import and a worker; the database is elsewhere."""
    assert {"stb-server", "stb-redis", "stb-import", "stb-worker"} == set(PODS)


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_are_confined(name: str) -> None:
    """As the containers of the compose file are, with a limit to memory."""
    pod = PODS[name]
    [container] = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container["securityContext"]
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", sorted(set(PODS) - {"stb-redis"}))
def test_pods_are_set_as_containers_are(name: str) -> None:
    """Each variable is one that the compose file sets as well, and secrets come from a secret."""
    known = {variable for service in OURS for variable in SERVICES[service]["environment"]}
    set_here = {entry["name"]: entry for entry in PODS[name]["containers"][0]["env"]}

    assert set() == set(set_here) - known
    secrets = {variable for variable in set_here if variable in {"STB_TOKEN", "STB_DATABASE_URL"}}
    assert [] == [variable for variable in secrets if "secretKeyRef" not in set_here[variable]["valueFrom"]]


def test_the_cache_is_the_same_program_everywhere() -> None:
    """Its version on Kubernetes is that of the compose file."""
    assert SERVICES["redis"]["image"] == PODS["stb-redis"]["containers"][0]["image"]


def test_a_server_that_is_told_to_stop_has_the_time_for_it() -> None:
    """Before it is killed: on Kubernetes this time includes what happens before it is told."""
    pod = PODS["stb-server"]
    [*_, before_s] = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    needed_s = process.GRACE_S + process.CLOSE_S

    assert needed_s + int(before_s) < pod["terminationGracePeriodSeconds"]
    assert needed_s < int(SERVICES["server"]["stop_grace_period"].removesuffix("s"))
