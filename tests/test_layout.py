"""The shape of the repository: what stands where, what is in the wheel, and what no file may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from conftest import REPOSITORY

ROOMS = {"core": "stb_core", "server": "stb_server", "agents": "stb_agents", "evaluator": "stb_evaluator"}
PACKAGES = {package: Path(folder) / package for folder, package in ROOMS.items()}
PACKAGES["stb_experiments"] = Path("evaluator/stb_experiments")  # one room, beside the evaluator
MOST_ROOMS = {"stb_core": 14}
MOST_LINES_OF_A_DOOR = 40
FOLDERS = {*ROOMS, "cache_dumps", "deploy", "docs", "benchmarks", "tests"}
OPTIONAL_FOLDERS = {"examples", ".ci", ".github"}

# Written in halves, so that this file does not hold what it forbids.
FORBIDDEN = {
    "a package registry's address": "pypi"
    r"\.org|pythonhosted"
    r"\.org|index"
    r"-url|npmjs"
    r"\.org",
    "a path of one machine": r"(?<![\w.])/(?:work|root|home|Users)/" + r"\w",
    "a mark of an unfinished merge": r"^<{7} |^>{7} ",
}

# An image has folders of its own.
CONTAINER_FILES = {"Dockerfile", "docker-compose.yml"}
OF_CONTAINERS = {"a path of one machine"}


@cache
def tracked_files() -> list[Path]:
    """Every file under version control, as paths in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name]
    return [path for path in map(Path, names) if (REPOSITORY / path).is_file()]


def test_no_package_shadows_another() -> None:
    """A room's folder is not itself a package: one called ``agents`` would hide other projects'."""
    found = [room for room in ROOMS if (REPOSITORY / room / "__init__.py").exists()]

    assert [] == found


def test_each_room_is_one_typed_package() -> None:
    """``core/stb_core`` and its three neighbours are packages that ship their types."""
    missing = [
        f"{room}/{package}/{name}"
        for room, package in ROOMS.items()
        for name in ("__init__.py", "py.typed")
        if not (REPOSITORY / room / package / name).is_file()
    ]

    assert [] == missing


def test_top_level_folders() -> None:
    """The folders at the top are those that the documentation names, and no others."""
    found = {path.parts[0] for path in tracked_files() if len(path.parts) > 1}

    assert FOLDERS == found - OPTIONAL_FOLDERS


def test_every_test_file_mirrors_a_place() -> None:
    """Tests lie in a room's folder, or at the top where they are about the whole."""
    folders = {path.parts[1] for path in tracked_files() if path.parts[0] == "tests" and len(path.parts) > 2}

    assert folders <= {*ROOMS, "benchmarks", "containers", "soak", "end_to_end", "golden"}


def rooms_of(package: str) -> set[str]:
    """Folders with modules, and modules that stand alone."""
    folder = REPOSITORY / PACKAGES[package]
    found = {path.parent.relative_to(folder).parts[0] for path in folder.glob("*/**/*.py")}
    return found | {path.stem for path in folder.glob("*.py")} - {"__init__"}


def documented_rooms() -> dict[str, set[str]]:
    """The first column of the table under each package's heading."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    sections = re.findall(r"^### `(stb_\w+)`\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    rooms = {name: set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) for name, table in sections}
    return {package: names for package, names in rooms.items() if names}


def contracts() -> dict[str, list[str]]:
    """The layers of each package, from the top, as import-linter holds them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return {
        container: [room.strip() for layer in contract["layers"] for room in layer.split("|")]
        for contract in project["tool"]["importlinter"]["contracts"]
        for container in contract.get("containers", ())
    }


def modules() -> Iterator[tuple[str, str, Path, ast.Module]]:
    """Package, dotted name, path and tree of every module."""
    for package, folder in PACKAGES.items():
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            parts = path.relative_to(REPOSITORY / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            yield package, name, path, ast.parse(path.read_text())


def test_the_rooms_are_those_of_the_architecture_page() -> None:
    """Each room is named there, each room named there exists, and no module stands outside of one."""
    found = {package: rooms_of(package) for package in PACKAGES if package != "stb_experiments"}

    assert documented_rooms() == found


def test_every_room_has_its_floor() -> None:
    """The contracts of import-linter order all rooms, and a package has at most twelve, the core fourteen."""
    found = {package: rooms_of(package) for package in PACKAGES if package != "stb_experiments"}

    assert {package: set(layers) for package, layers in contracts().items()} == found
    assert [] == [name for name, rooms in found.items() if len(rooms) > MOST_ROOMS.get(name, 12)]


def test_public_class_names_are_unique() -> None:
    """One name means one thing in the whole product; a migration is a script of its own."""
    places = defaultdict(list)
    for _, name, _, tree in modules():
        for node in tree.body:
            if (
                isinstance(node, ast.ClassDef)
                and not node.name.startswith("_")
                and ".migrations." not in name
            ):
                places[node.name].append(name)

    assert {} == {name: where for name, where in places.items() if len(where) > 1}


def test_a_front_door_is_small_and_used() -> None:
    """It hands on names in fewer than forty lines; other rooms import from it what it hands on."""
    doors: dict[str, dict[str, str]] = {}
    for _, name, path, tree in modules():
        if path.name == "__init__.py" and name.count(".") == 1:
            assert len(path.read_text().splitlines()) < MOST_LINES_OF_A_DOOR, name
            doors[name] = {
                alias.name: node.module or ""
                for node in tree.body
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }

    past = [
        f"{name}: from {node.module} import {alias.name}"
        for _, name, _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        for room in [".".join((node.module or "").split(".")[:2])]
        if not name.startswith(room) and doors.get(room, {}).get(alias.name) == node.module
    ]
    assert [] == past


def test_one_module_reads_python_notation() -> None:
    """``ast.literal_eval`` is called behind one guard, and nothing calls ``eval`` or ``exec``."""
    readers = {
        name
        for _, name, _, tree in modules()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "literal_eval")
        or (isinstance(node, ast.alias) and node.name == "literal_eval")
        or (isinstance(node, ast.Name) and node.id in {"eval", "exec"})
    }

    assert {"stb_core.values.python_notation"} == readers


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    """No tracked text names a registry, a machine's own path, or an unfinished merge."""
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)

    found = []
    for path in tracked_files():
        if what in OF_CONTAINERS and path.name in CONTAINER_FILES:
            continue
        text = (REPOSITORY / path).read_bytes().decode("utf-8", errors="replace")
        found += [f"{path}: {match.group()}" for match in pattern.finditer(text)]

    assert [] == found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_demo_dataset(wheel: list[str]) -> None:
    """Every file of ``cache_dumps/demo`` is installed as ``stb_core/demo_data``."""
    demo = REPOSITORY / "cache_dumps" / "demo"
    expected = {
        f"stb_core/demo_data/{path.relative_to(demo).as_posix()}"
        for path in demo.rglob("*")
        if path.is_file()
    }

    installed = {name for name in wheel if name.startswith("stb_core/demo_data/")}

    assert expected == installed


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: list[str]) -> None:
    """No test, document or benchmark is installed."""
    tops = {name.split("/", maxsplit=1)[0] for name in wheel if ".dist-info/" not in name}

    assert PACKAGES.keys() == tops


def test_the_wheel_holds_files_that_are_not_python(wheel: list[str]) -> None:
    """Whatever stands in a package under version control, templates included, is installed."""
    packages = tuple(f"{room}/{package}/" for room, package in ROOMS.items())
    expected = {
        path.as_posix().split("/", maxsplit=1)[1]
        for path in tracked_files()
        if path.as_posix().startswith(packages)
    }

    assert set() == expected - set(wheel)
