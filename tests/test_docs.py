"""The documentation cannot drift: its examples run, its tables cover everything, its links lead somewhere.

Fences in Markdown mean: ``sh`` is executed; ``sh background`` is started and left running until the
page ends; ``text`` after ``sh`` shows output, each line of which must come (``…`` stands for anything);
``python`` is executed; ``json``, ``toml`` and ``yaml`` must parse. A page starts in a copy of the folder that
``stb demo`` makes. Language models are played by a scripted server.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pytest
import yaml

import services
from conftest import REPOSITORY, clean_environment
from llm_server import LLMServer
from stb_core.cli.program import flag_name, load_commands
from stb_core.settings import PREFIX
from stb_core.store import Store
from stb_server.app.application import create_app
from stb_server.worker import metrics
from stb_server.worker.metrics import RequestTimes
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MARKDOWN = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]
_FENCE = re.compile(r"^```(\w+)( background)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PORT = "8080"
# A reader's shell remembers what the block before has set; names in small letters are theirs.
_KEEPING_VARIABLES = """\
if [ -f .variables ]; then . ./.variables; fi
{}
declare -p | grep -E '^declare -- [a-z_]+=' > .variables || true"""
_START_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 60


@dataclass(frozen=True)
class Block:
    """One fenced block; ``shown`` is the output that the page shows beneath it."""

    language: str
    background: bool
    text: str
    shown: tuple[str, ...] = ()


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order; a ``text`` block belongs to the one before it."""
    found: list[Block] = []
    for language, mark, text in _FENCE.findall(page.read_text()):
        if language == "text" and found:
            found[-1] = replace(found[-1], shown=tuple(filter(str.strip, text.splitlines())))
        elif language != "text":
            found.append(Block(language, bool(mark), text))
    return found


class Page:
    """A folder in which the blocks of one page are executed."""

    def __init__(self, folder: Path, model_url: str) -> None:
        self.folder = folder
        self.port = services.free_port()
        self._started: list[subprocess.Popen[bytes]] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = clean_environment(
            PATH=path, COLUMNS="200", OPENAI_BASE_URL=model_url, OPENAI_API_KEY="none-needed"
        )

    def execute(self, block: Block) -> str:
        """Run a block to its end and return all that it printed."""
        program = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
        text = _KEEPING_VARIABLES.format(self._text(block)) if block.language == "sh" else self._text(block)
        done = subprocess.run(
            [*program, text],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{block.text}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout.replace(str(self.port), _PORT)

    def start(self, block: Block) -> None:
        """Start a block and go on when its port answers."""
        with (self.folder / f"background{len(self._started)}.log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._text(block)}"],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        services.wait_for_port(self.port, seconds=_START_TIMEOUT_S)

    def close(self) -> None:
        """End what runs in the background."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise

    def _text(self, block: Block) -> str:
        return block.text.replace(_PORT, str(self.port))


def missing_lines(shown: tuple[str, ...], printed: str) -> list[str]:
    """The lines of ``shown`` that were not printed; white space counts as one blank."""
    said = [" ".join(line.split()) for line in printed.splitlines()]

    def was_said(line: str) -> bool:
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        return any(re.fullmatch(pattern, candidate) for candidate in said)

    return [line for line in shown if not was_said(line)]


@pytest.fixture(scope="module")
def models() -> Generator[LLMServer]:
    """The language models of all examples."""
    with LLMServer() as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("path", [page for page in PAGES if blocks(page)], ids=lambda path: path.stem)
def test_examples_run(path: Path, demo_folder: Path, tmp_path: Path, models: LLMServer) -> None:
    """Every example of a page runs, in order, and prints what the page shows."""
    folder = tmp_path / "stb-demo"
    shutil.copytree(demo_folder, folder)
    (folder / "cache_dumps").symlink_to(REPOSITORY / "cache_dumps")
    page = Page(folder, models.url)

    absent: list[str] = []
    try:
        for block in blocks(path):
            if block.background:
                page.start(block)
            elif block.language in {"sh", "python"}:
                absent += missing_lines(block.shown, page.execute(block))
            elif block.language == "json":
                json.loads(block.text)
            elif block.language == "toml":
                tomllib.loads(block.text)
            elif block.language == "yaml":
                yaml.safe_load(block.text)
    finally:
        page.close()

    assert [] == absent


def test_the_readme_has_two_command_lines() -> None:
    """The first sets up and runs the demo, the second the tests; ``.ci/run`` executes both.

    A third block, on services, is executed by ``tests/end_to_end/test_services.py``.
    """
    lines = [block.text.strip() for block in blocks(REPOSITORY / "README.md") if block.language == "sh"]

    assert 3 == len(lines)
    assert [0, 0] == [line.count("\n") for line in lines[:2]]
    assert lines[0].endswith("stb demo")
    assert lines[1].endswith("pytest -n 2")


GENERATED = ("cli", "endpoints", "settings")


@pytest.mark.parametrize("name", GENERATED)
def test_the_reference_is_up_to_date(name: str) -> None:
    """Each generated page is what ``python docs/generate.py`` writes."""
    references = runpy.run_path(str(DOCS / "generate.py"))["REFERENCES"]

    assert set(GENERATED) == {Path(page).stem for page in references}
    assert references[f"{name}.md"]() == (DOCS / f"{name}.md").read_text()


def leaves(group: click.Group, path: str = "stb") -> Iterator[tuple[str, click.Command]]:
    """All commands with their full names."""
    for name, member in group.commands.items():
        if isinstance(member, click.Group):
            yield from leaves(member, f"{path} {name}")
        else:
            yield f"{path} {name}", member


def test_every_command_says_what_it_does() -> None:
    """Each command, and each of its flags, has a help text."""
    silent = [path for path, member in leaves(load_commands()) if not member.help]
    silent += [
        f"{path} {parameter.opts[0]}"
        for path, member in leaves(load_commands())
        for parameter in member.params
        if isinstance(parameter, click.Option)
        and not (parameter.help or "").replace(f"[env: {PREFIX}{flag_name(parameter).upper()}]", "").strip()
    ]

    assert [] == silent


def test_every_command_is_introduced() -> None:
    """Each command appears on a page besides the reference."""
    prose = "".join(path.read_text() for path in MARKDOWN if path.stem not in GENERATED)

    absent = [path for path, _ in leaves(load_commands()) if path not in prose]

    assert [] == absent


def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    """Each path of the server stands in ``docs/cache-and-server.md``, and each operation says what it does."""
    app = create_app(ServerOptions(database_url=f"sqlite:///{tmp_path}/store.db", dataset="demo"))
    operations = [
        (method, path, operation)
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    assert [] == [
        (method, path) for method, path, operation in operations if not operation.get("description")
    ]
    page = (DOCS / "cache-and-server.md").read_text()

    absent = [path for path in app.openapi()["paths"] if f"`{path}`" not in page and f" {path}`" not in page]

    assert [] == absent


def test_the_metrics_table_is_complete() -> None:
    """``docs/operations.md`` has each metric that the server exports, with its labels, and no other."""
    table = re.findall(
        r"^\| `(stb_\w+)` \| ((?:`\w+`(?:, )?)*) ?\|", (DOCS / "operations.md").read_text(), re.MULTILINE
    )
    exported = {"stb_virtual_seconds": RequestTimes.LABELS}
    exported |= {f"{name}_total": labels for name, (_, labels) in metrics._COUNTERS.items()}
    exported |= dict.fromkeys(metrics._GAUGES, ())

    assert exported == {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in table}


async def test_the_metrics_are_those_of_a_running_server(sqlite_store: Store, sqlite_store_url: str) -> None:
    """What ``/metrics`` of a server says is in the table."""
    await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    async with running(ServerOptions(database_url=sqlite_store_url, dataset="weather")) as server:
        await server.call(request({"city": "Bonn"}))
        said = (await server.client.get("/metrics")).text

    page = (DOCS / "operations.md").read_text()
    found = set(re.findall(r"^# TYPE (stb_\w+)", said, re.MULTILINE))
    assert len(found) > 10
    assert [] == sorted(name for name in found if f"| `{name}` |" not in page)


def test_every_setting_is_documented() -> None:
    """Each setting that is read by name, and is no flag, is documented: its variable or its table."""
    read = re.compile(r"""values\.get\(\s*f?["'](\w+)["']""")
    sources = [
        p for room in ("core", "server", "agents", "evaluator") for p in (REPOSITORY / room).rglob("*.py")
    ]
    names = {name for source in sources for name in read.findall(source.read_text())}
    prose = "".join(path.read_text() for path in MARKDOWN)

    absent = [
        name for name in sorted(names) if f"{PREFIX}{name.upper()}" not in prose and f"[{name}]" not in prose
    ]

    assert [] == absent


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings; of a file of tests, their names."""
    if path.suffix == ".py":
        return set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """A link within the project names a file that exists, and a heading in it."""
    broken = []
    for link in _LINK.findall(path.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert [] == broken


def test_every_page_is_in_the_index() -> None:
    """The index links each page, and the first page of each folder."""
    linked = {link.partition("#")[0] for link in _LINK.findall((DOCS / "index.md").read_text())}
    pages = {page.name for page in PAGES} - {"index.md"}
    folders = {f"{path.parent.name}/README.md" for path in DOCS.glob("*/README.md")}

    assert pages | folders == {link for link in linked if "://" not in link}
