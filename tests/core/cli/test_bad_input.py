"""Bad input gives one clear line that says what to do, an exit code, and nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

import services
from conftest import REPOSITORY, clean_environment
from stb_core import cli


class Case(NamedTuple):
    """A command line, with words in braces filled in, and what comes of it."""

    line: str
    code: int
    said: str
    environment: str = ""


pytestmark = pytest.mark.linux

DATASETS = "There are: demo."

CASES = [
    # How it was typed.
    Case("frobnicate", 2, "No such command 'frobnicate'. See: stb --help."),
    Case("ls --nope", 2, "No such option '--nope'. See: stb ls --help."),
    Case("run -d demo", 2, "Missing option '-a' / '--agent'. See: stb run --help."),
    Case("data import", 2, "Missing argument 'PATH'. See: stb data import --help."),
    Case("ls more", 2, "Got unexpected extra argument (more). See: stb ls --help."),
    Case(
        "run -a scripted -d demo",
        2,
        "Invalid value for '--limit': 'many' is not a valid integer range. "
        "It comes from STB_LIMIT or a configuration file. See: stb run --help.",
        "STB_LIMIT=many",
    ),
    Case("--log-level loud ls", 2, "There is no log level 'loud'. Use debug, info, warning or error."),
    # Configuration.
    Case("--config missing.toml ls", 2, "There is no configuration file missing.toml. Check --config."),
    Case(
        "--config bad.toml ls",
        1,
        "bad.toml cannot be read: Invalid value (at end of document). Fix it, or leave it out.",
    ),
    Case(
        "--config list.yaml ls",
        1,
        "list.yaml does not hold settings by name. Write one 'name = value' per line.",
    ),
    # The store.
    Case(
        "ls",
        1,
        "The store /proc/no/store.db cannot be written ([Errno 2] No such file or directory: '/proc/no'). "
        "Check its permissions and its disk, or name another place with STB_DATABASE_URL.",
        "STB_DATABASE_URL=sqlite:////proc/no/store.db",
    ),
    Case(
        "ls",
        1,
        "A mysql database cannot be a store. Use SQLite or PostgreSQL.",
        "STB_DATABASE_URL=mysql://host/name",
    ),
    Case(
        "ls",
        1,
        "STB_DATABASE_URL is not a database URL. "
        "Write postgresql://user@host:5432/name or sqlite:///path/to/file.db.",
        "STB_DATABASE_URL=nonsense",
    ),
    Case(
        "ls",
        1,
        "The store bad.toml is damaged (file is not a database). Restore it from a copy, or move it away.",
        "STB_DATABASE_URL=sqlite:///bad.toml",
    ),
    Case(
        "data import {demo} --name other",
        1,
        "The store file:.stb/stb.db cannot be written (attempt to write a readonly database). "
        "Check its permissions and its disk, or name another place with STB_DATABASE_URL.",
        "STB_DATABASE_URL=sqlite:///file:.stb/stb.db?mode=ro&uri=true",
    ),
    # Datasets.
    Case("data import missing", 2, "There is no folder missing. Check the path."),
    Case(
        "data import empty",
        2,
        "empty is not a release: it holds no tools/, solvable_queries/, tool_response_cache/ or dump. "
        "Name the folder that holds them, or one of them.",
    ),
    Case(
        "data import {demo} --name a:b",
        2,
        "A dataset cannot be called 'a:b'. Choose a name of up to 200 letters, digits, '.', '_' and '-'.",
    ),
    Case("data show nope", 2, f"There is no dataset 'nope'. {DATASETS}"),
    Case("data verify nope", 2, f"There is no dataset 'nope'. {DATASETS}"),
    Case("data rm nope", 2, f"There is no dataset 'nope'. {DATASETS}"),
    Case("data rm demo", 2, "This would delete demo with {responses} responses. Add --yes to do it."),
    # Recorded responses.
    Case("cache ls nope", 2, f"There is no dataset 'nope'. {DATASETS}"),
    Case(
        "cache ls demo --newer soon",
        2,
        "'soon' is not a valid age. Write a number and a unit: 90s, 30m, 12h, 7d or 4w.",
    ),
    Case(
        "cache show 0123456789ab",
        2,
        "There is no response whose key starts with 0123456789ab. List them with: stb cache ls.",
    ),
    Case(
        "cache show zz", 2, "No key can start with 'zz'. Keys are hexadecimal; list them with: stb cache ls."
    ),
    Case(
        "cache dump demo -o out.txt",
        2,
        "out.txt is not a valid name for a dump. Use a name that ends in .jsonl or .jsonl.zst.",
    ),
    Case(
        "cache dump demo -o /proc/x.jsonl",
        2,
        "/proc/x.jsonl cannot be written: No such file or directory. Name another place, or make room.",
    ),
    Case("cache load missing.jsonl", 2, "There is no dump missing.jsonl. Check the path."),
    Case(
        "cache load cut.jsonl",
        1,
        "cut.jsonl, line 8 is cut short or not a response. Nothing was loaded. Get a new copy of the dump.",
    ),
    Case(
        "cache load bad.toml",
        1,
        "bad.toml, line 1 is not the header of a dump. Nothing was loaded. Get a new copy of the dump.",
    ),
    Case("cache diff demo missing.jsonl", 2, "There is no dump missing.jsonl. Check the path."),
    Case(
        "data import bad.toml",
        2,
        "bad.toml is not a folder. Name the folder of a release; for a dump use: stb cache load FILE; for a bundle: stb import FILE.",
    ),
    # The server.
    Case(
        "serve --dataset demo --mode live",
        2,
        "Mode live needs a real API, and none is configured. Name one with --upstream or --simulator.",
    ),
    Case(
        "serve --dataset demo --upstream missing.toml",
        2,
        "There is no upstream configuration missing.toml. Check --upstream.",
    ),
    Case(
        "serve --dataset demo --upstream bad.toml",
        1,
        "The upstream configuration bad.toml cannot be used: Invalid value (at end of document). Fix the file.",
    ),
    Case(
        "serve --dataset demo --simulator nope",
        2,
        "There is no simulator 'nope'. There are: auto, llm, mirrorapi, template.",
    ),
    Case(
        "serve --dataset demo --simulator llm",
        2,
        "The simulator llm needs a model. Name one with --simulator-model PROVIDER/MODEL.",
    ),
    Case("serve --dataset demo --faults nonsense", 2, "There is no fault 'nonsense'. Write NAME=SHARE …"),
    Case(
        "serve --dataset demo --redis-url nonsense",
        2,
        "This is not a valid Redis URL. Use redis://HOST:6379/0, …",
    ),
    Case("view nope", 2, "There is no run 'nope'. List the runs in the store with: stb ls."),
    Case("serve --dataset nope", 2, f"There is no dataset 'nope'. {DATASETS}"),
    Case(
        "serve --dataset demo --port {taken}",
        2,
        "Cannot listen on 127.0.0.1:{taken}: Address already in use. "
        "Choose another port with --port; 0 means any free port.",
    ),
    Case(
        "serve --dataset demo --host 0.0.0.0",
        2,
        "Other machines can reach 0.0.0.0. Set a token with --token, or listen on 127.0.0.1.",
    ),
    # Runs.
    Case("run -a scripted -d nope", 2, f"There is no dataset 'nope'. {DATASETS}"),
    Case(
        "run -a scripted -d demo:G9",
        2,
        "The dataset 'demo' has no group 'G9'. "
        "There are: G1_instruction, G1_category, G1_tool, G2_category, G2_instruction, G3_instruction.",
    ),
    Case(
        "run -a scripted -d demo --task-ids 99999",
        2,
        "There is no query 99999 among those asked for. "
        "Check --task-ids, and the groups after the dataset's name.",
    ),
    Case("run -a nope -d demo", 2, "There is no agent 'nope'. There are: …; or give your own as …"),
    Case("run -a no.py:Agent -d demo", 2, "There is no file no.py. Check the path before ':'."),
    Case("run -a no.such:Agent -d demo", 2, "There is no module 'no.such'. Check the name before ':'."),
    Case("run -a cot -d demo", 2, "The agent cot asks a model. Name one with -m PROVIDER/MODEL."),
    Case(
        "run -a cot -d demo -m gpt",
        2,
        "'gpt' does not name a model. Write PROVIDER/MODEL, such as openai/gpt-4o-mini.",
    ),
    Case(
        "run -a cot -d demo -m nobody/gpt",
        2,
        "The address of the provider 'nobody' is not known. "
        "Set NOBODY_BASE_URL to its OpenAI-compatible address, such as http://127.0.0.1:8000/v1.",
    ),
    Case(
        "run -a cot -d demo -m local/x",
        1,
        "local/x is not available: http://127.0.0.1:{free}/v1 cannot be reached "
        "(Connection refused). Check that the endpoint is running, and that LOCAL_BASE_URL is right.",
        "LOCAL_BASE_URL=http://127.0.0.1:{free}/v1",
    ),
    Case(
        "run -a scripted -d demo --server http://127.0.0.1:{free}",
        1,
        "The server at http://127.0.0.1:{free} cannot be reached (Connection refused). "
        "Start one with 'stb serve', or leave --server out.",
    ),
    Case("run -a replay:nope -d demo", 2, "There is no run 'nope'. List the runs in the store with: stb ls."),
    Case("run -a cot -m local/x -d demo -o nope=1", 2, "cot has no option 'nope'. It has: …."),
    Case("show nope", 2, "There is no run 'nope'. List the runs in the store with: stb ls."),
    Case(
        "show {run}/99999",
        2,
        "The run '{run}' has no answer to query '99999'. List its answers with: stb show {run}.",
    ),
    Case("rm nope", 2, "There is no run 'nope'. List the runs in the store with: stb ls."),
    # Scores.
    Case("score nope --judge rules", 2, "There is no run 'nope'. List the runs in the store with: stb ls."),
    Case(
        "score {run} --judge nope",
        2,
        "There is no judge 'nope'. "
        "Choose a judge: --judge PROVIDER/MODEL, or --judge rules (no model; not comparable).",
    ),
    Case(
        "score {run} --judge local/x",
        1,
        "local/x is not available: http://127.0.0.1:{free}/v1 cannot be reached "
        "(Connection refused). Check that the endpoint is running, and that LOCAL_BASE_URL is right.",
        "LOCAL_BASE_URL=http://127.0.0.1:{free}/v1",
    ),
    Case("compare {run}", 2, "A comparison needs two runs. List the runs in the store with: stb ls."),
    Case(
        "score {run} --judge rules --metric nope",
        2,
        "There is no metric 'nope'. There are: sopr, fac, pass@k, trajectory.",
    ),
    Case(
        "score {run} --judge rules --switch nope=1",
        2,
        "There is no switch 'nope'. There are: sopr.missing, ….",
    ),
    Case(
        "score {run} --judge rules --labels missing.csv",
        2,
        "There is no file missing.csv. Give a CSV or JSON file of labels.",
    ),
    Case(
        "score {run} --judge local/x --evaluator missing",
        2,
        "There is no evaluator in missing. Give a folder that holds config.yaml and a template.",
        "LOCAL_BASE_URL=http://127.0.0.1:{free}/v1",
    ),
    Case(
        "report {run} -o x.doc",
        2,
        "'x.doc' has no extension of a report format. Use .html, .md, .csv, .json, .tex, .xml.",
    ),
    Case(
        "report {run} --judge rules -o /proc/x.html",
        1,
        "/proc/x.html cannot be written: No such file or directory. Make room, or name another place with -o.",
    ),
    Case(
        "export {run} --format bundle -o /proc/x.zip",
        1,
        "/proc/x.zip cannot be written: No such file or directory. Make room, or name another place with -o.",
    ),
    Case(
        "export {run} --format bundle -o bad.toml",
        2,
        "bad.toml is there already. Name another with -o, or add --force.",
    ),
    Case("verify bad.toml", 1, "bad.toml cannot be unpacked: File is not a zip file. Export it again."),
    Case("lock nope", 2, "'nope' is neither a dataset nor a run: …"),
    Case(
        "solvable demo --judge rules",
        2,
        "'rules' does not name a model. Write PROVIDER/MODEL, such as openai/gpt-4o-mini.",
    ),
    Case(
        "experiment judge nope --judge rules",
        2,
        "There is no run 'nope'. List the runs in the store with: stb ls.",
    ),
    Case("experiment reproduce -d nope", 2, f"There is no dataset 'nope'. {DATASETS}"),
    Case(
        "experiment simulator --bench missing",
        2,
        "There is no bench at missing. Name a JSON Lines file of MirrorAPI-Bench rows, or a folder of such files.",
    ),
    # Answers of others.
    Case(
        "import missing",
        2,
        "There is no file or folder missing. Give the path of a folder of answers.",
    ),
    Case(
        "import empty",
        1,
        "empty holds no answers that can be imported. "
        "Give a folder of pass_rate_results, of converted answers or of ToolBench's answers.",
    ),
]


@pytest.fixture
def workplace(demo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the demo's store and a few files that are no good; an environment without settings."""
    shutil.copytree(demo_folder / ".stb", tmp_path / ".stb")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.toml").write_text("a = [")
    (tmp_path / "list.yaml").write_text("- x\n")
    dump = (REPOSITORY / "cache_dumps" / "demo" / "responses.jsonl").read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(dump[:3000])
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def words(demo_folder: Path) -> Generator[dict[str, object]]:
    """What stands for the words in braces."""
    document = json.loads((demo_folder / "demo.json").read_text())
    lines = (REPOSITORY / "cache_dumps/demo/responses.jsonl").read_text().splitlines()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {
            "demo": REPOSITORY / "cache_dumps/demo",
            "run": document["runs"][0],
            "responses": len(lines) - 1,
            "taken": listener.getsockname()[1],
            "free": services.free_port(),
        }


def end_of(args: list[str]) -> object:
    """The exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(args)
    return ended.value.code


def contents(folder: Path) -> tuple[list[str], list[str]]:
    """The files of a folder, and everything in its store."""
    with closing(sqlite3.connect(folder / ".stb" / "stb.db")) as connection:
        rows = list(connection.iterdump())
    ignored = {".stb/stb.db-wal", ".stb/stb.db-shm"}
    return sorted({str(path.relative_to(folder)) for path in folder.rglob("*")} - ignored), rows


def as_pattern(said: str) -> str:
    """A regular expression; ``…`` stands for anything."""
    return ".*".join(re.escape(part) for part in said.split("…"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.environment} {case.line}".strip())
def test_one_line_says_what_to_do(
    case: Case,
    workplace: Path,
    words: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The first line on stderr is the only one, the exit code is right, and nothing was changed."""
    for setting in case.environment.format(**words).split():
        monkeypatch.setenv(*setting.split("=", maxsplit=1))
    before = contents(workplace)

    code = end_of(case.line.format(**words).split())
    output = capfd.readouterr()

    assert re.fullmatch(f"stb: {as_pattern(case.said.format(**words))}\n", output.err), output.err
    assert case.code == code
    assert "" == output.out
    assert before == contents(workplace)


def broken_release(folder: Path) -> Path:
    """A release with one good tool document, a cut one, and files whose values have the wrong types."""
    demo = REPOSITORY / "cache_dumps" / "demo" / "tools" / "Weather" / "fairsky_weather.json"
    weather = folder / "release" / "tools" / "Weather"
    weather.mkdir(parents=True)
    (weather / "fairsky_weather.json").write_bytes(demo.read_bytes())
    (weather / "cut.json").write_bytes(demo.read_bytes()[:40])
    (weather / "types.json").write_text('{"tool_name": 7, "api_list": {}}')
    queries = folder / "release" / "solvable_queries" / "test_instruction"
    queries.mkdir(parents=True)
    (queries / "G1_tool.json").write_text('{"query": "no list"}')
    return folder / "release"


@pytest.mark.usefixtures("workplace")
def test_what_is_broken_in_a_release_is_named_and_the_rest_imported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Cut and mistyped files are listed with a reason, the exit code is 1, and good files are there."""
    release = broken_release(tmp_path)

    code = end_of(["data", "import", str(release), "--name", "broken", "--json"])
    output = capfd.readouterr()
    document = json.loads(output.out)

    assert 1 == code
    assert (
        "stb: 3 files or entries were skipped, the rest is imported. Fix what is listed and import again.\n"
    ) == output.err
    assert (1, 4, 0) == (document["tools"], document["apis"], document["queries"])
    assert [
        ("solvable_queries/test_instruction/G1_tool.json", "is not a list of queries"),
        ("tools/Weather/cut.json", "is not JSON: …"),
        ("tools/Weather/types.json", "is not a tool document: tool_name: Input should be a valid string"),
    ] == sorted(
        (row["file"], re.sub("(?<=JSON: ).*", "…", row["reason"])) for row in document["skipped_rows"]
    )
