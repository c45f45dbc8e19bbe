"""Every command prints, whatever the encoding, and nothing that it prints is obeyed by the terminal."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import small_release
from conftest import clean_environment
from evaluator_makers import make_run, trajectory
from stb_core.cli.output import guard_output
from stb_core.cli.program import main
from stb_core.store import open_store
from stb_core.telemetry import logs
from stb_core.values import Manifest, Step

HOSTILE = "Øslo ☃ 北京 🌦 \u202eRTL\u202c \x1b[31m\x1b]0;title\x07\x9b2J\u2066\u200f\r 'end'"
OBEYED = set("\x1b\x07\x9b\r\u202e\u202c\u2066\u200f")
RELEASE = "Ordner mit ü ☃"

COMMANDS = [
    *(
        line.split()
        for line in (
            "ls",
            "show fine",
            "show fine/1 --full",
            "show odd",
            "show odd/1",
            "score fine odd --judge rules",
            "compare fine odd --judge rules",
            "cache ls",
            "data ls",
            "doctor",
            "--help",
            "run --help",
        )
    ),
    ["data", "import", RELEASE, "--name", "again"],
    ["data", "import", f"nowhere {HOSTILE}"],
    ["import", f"nowhere {HOSTILE}"],
    ["show", HOSTILE],
    ["ls", f"--{HOSTILE}"],
    [HOSTILE],
]


@pytest.fixture
def filled(tmp_path: Path, sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a store with hostile text in every place that takes text from outside."""
    monkeypatch.setenv("STB_DATABASE_URL", sqlite_store_url)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    entries = {repr({"city": HOSTILE}): {"error": HOSTILE, "response": HOSTILE}}
    small_release.write_entries(tmp_path / RELEASE, entries)

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        step = Step(function=HOSTILE, arguments=json.dumps({"a": HOSTILE}), observation=HOSTILE)
        await make_run(store, [trajectory(query=HOSTILE, answer=HOSTILE, steps=[step])], run="fine")
        await store.runs.create(
            "odd", Manifest(dataset="d", dataset_hash="", agent=HOSTILE, model=HOSTILE), {"g": ["1"]}
        )
        failed = trajectory(query=HOSTILE, group="g").model_copy(update={"agent": HOSTILE, "error": HOSTILE})
        await store.runs.put_trajectories("odd", [failed])
        await store.close()

    asyncio.run(fill())
    assert printed(monkeypatch, "utf-8", "data", "import", RELEASE, "--name", "release")[0] == 0
    return tmp_path


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command whose streams take one encoding only."""
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        for name in ("stdout", "stderr")
    }
    with monkeypatch.context() as patched:
        for name, stream in streams.items():
            patched.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            main(args)
        texts = []
        for stream in streams.values():
            stream.flush()
            texts.append(stream.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]
    code = ended.value.code
    return code if isinstance(code, int) else 0, texts[0], texts[1]


@pytest.mark.slow
@pytest.mark.usefixtures("filled")
def test_every_command_prints_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one exit code, and without anything that a terminal would obey."""
    for command in COMMANDS:
        texts = {
            encoding: printed(monkeypatch, encoding, *command) for encoding in ("utf-8", "cp1252", "ascii")
        }

        assert len({code for code, _, _ in texts.values()}) == 1, (command, texts)
        assert not OBEYED & set("".join(out + err for _, out, err in texts.values())), command
        assert all(out + err for _, out, err in texts.values()), command


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    "command", ["ls", "show odd", "show fine/1", "cache ls", "data ls", "score fine --judge rules"]
)
@pytest.mark.usefixtures("filled")
def test_json_is_the_same_document_in_every_encoding(
    monkeypatch: pytest.MonkeyPatch, command: str, encoding: str
) -> None:
    """What the encoding lacks is escaped as JSON does it."""
    args = (*command.split(), "--json")

    documents = [json.loads(printed(monkeypatch, e, *args)[1]) for e in (encoding, "utf-8")]

    assert documents[0] == documents[1]


def test_a_log_line_is_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays one JSON document."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    guard_output()
    logs.configure("warning")
    logging.getLogger("x").warning(HOSTILE)

    assert not OBEYED & set(stream.getvalue())
    assert json.loads(stream.getvalue())["event"] == HOSTILE


@pytest.mark.parametrize("as_json", [False, True])
def test_paths_outside_the_locale_are_named(filled: Path, as_json: bool) -> None:
    """A release whose path is not ASCII is imported in the C locale; one that is not there is an error."""
    c_locale = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def run(*args: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "stb_core.cli", *args, *(["--json"] if as_json else [])],
            env=clean_environment(STB_DATABASE_URL=f"sqlite:///{filled / 'store.db'}", **c_locale),
            cwd=filled,
            capture_output=True,
            timeout=300,
            check=False,
        )

    done, missing = run("data", "import", RELEASE, "--name", "t"), run("import", "nirgends ü")
    named = run("data", "import", RELEASE, "--name", "ü ☃")

    assert done.returncode == 0, done.stderr
    assert missing.returncode == 2
    assert missing.stderr.isascii()
    assert b"stb: There is no file or folder nirgends \\u00fc." in missing.stderr
    assert (named.returncode, b"Traceback" in named.stderr) == (2, False)


def test_the_reader_of_a_pipe_may_leave(filled: Path) -> None:
    """Nobody is told about it."""
    command = f"{sys.executable} -m stb_core.cli show fine/1 --json | head -c 5"
    environment = clean_environment(STB_DATABASE_URL=f"sqlite:///{filled / 'store.db'}")

    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env=environment,
        cwd=filled,
        capture_output=True,
        timeout=300,
        check=False,
    )

    assert done.stderr == b""
