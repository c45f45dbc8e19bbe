"""Files of others take a bounded share of the memory, whatever they hold, and are refused in one line."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import hostile_files
from conftest import clean_environment
from hostile_files import MIB
from stb_core.values import Manifest, Recording, call_key, canonical_json
from stb_evaluator.transfer.bundles import HEADER, MEMBERS
from stb_server.datasets.dump_file import DumpHeader, response_line

MOST_MB = 300
LIFTED = " If you trust the file, STB_FILE_LIMITS=4 allows four times as much."
DUMP_HEADER = DumpHeader("d", "0" * 64, 1, "0" * 64).line
TRAJECTORY: dict[str, Any] = {
    "group": "G",
    "query_id": "1",
    "query": "q",
    "agent": "a",
    "stop": "answered",
    "final_answer": "x",
    "steps": [],
    "messages": [],
}
# One character beyond the first plane makes four bytes of each other one of its text.
WIDE = "a" * 6_000_000 + "😀"

# Each command runs in a fork of one process that has imported what they need. Not getrusage tells the peak: its one begins
# with that of the parent.
_RUN = """
import contextlib, io, os, re, sys
from pathlib import Path
import stb_evaluator.transfer, stb_evaluator.scores, stb_server.commands.cache_dumps, stb_server.commands.data
from stb_core.cli.program import main
for line in sys.stdin.read().splitlines():
    if os.fork():
        os.wait()
        continue
    said = io.StringIO()
    code = 0
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main(line.split())
    except SystemExit as ended:
        code = ended.code or 0
    peak = int(re.search("VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    print(code, peak, (said.getvalue().splitlines() or [""])[0], sep="\t", flush=True)
    os._exit(0)
"""


def bundle_header(**members: bytes) -> bytes:
    """A header of a bundle with the right hashes of these members."""
    contents = {
        **dict.fromkeys(MEMBERS, b""),
        **{name.replace("_", "."): data for name, data in members.items()},
    }
    return json.dumps(
        {
            "format": "stabletoolbench-bundle/1",
            "run": "r",
            "name": "r",
            "expected": {"G": ["1"]},
            "manifest": Manifest(dataset="d", dataset_hash="", agent="a").model_dump(mode="json"),
            "lines": {},
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        }
    ).encode()


def bundle(path: Path, **members: bytes) -> Path:
    """A bundle that is what its hashes say."""
    named = {name.replace("_", "."): data for name, data in members.items()}
    contents = {HEADER: bundle_header(**members), **dict.fromkeys(MEMBERS, b""), **named}
    return hostile_files.zip_of(path, contents)


def recorded(arguments: Any, body: bytes) -> bytes:
    """A line of a dump with the right key and checksum."""
    text = canonical_json(arguments)
    key = call_key("c", "t", "a", text)
    return response_line(Recording(key, "c", "t", "a", text, body, "recorded", None))


def lines(value: Any, times: int = 1) -> bytes:
    return (json.dumps(value, ensure_ascii=False).encode() + b"\n") * times


def write_bundles(folder: Path) -> dict[str, tuple[int, str]]:
    """Bundles that are too much, and how ``stb import`` ends with each."""
    objects = b'{"steps":[' + b"{}," * 6_000_000 + b"{}]}"
    unread = "cannot be read: a line of trajectories.jsonl"
    header = bundle_header(trajectories_jsonl=b"x")
    hostile_files.bomb(folder / "bomb.zip", b"\n" * MIB, 4095)
    hostile_files.bomb(folder / "lying.zip", b"\n" * MIB, 4095, said=1000, header=header)
    bundle(folder / "one-line.zip", trajectories_jsonl=objects)
    bundle(folder / "values.zip", trajectories_jsonl=objects[:600_000] + b"{}]}")
    bundle(folder / "wrong.zip", trajectories_jsonl=objects[:150_001] + b"{}]}")
    bundle(
        folder / "wide-wrong.zip", trajectories_jsonl=lines({"steps": [{"function": WIDE}, *[{}] * 40_000]})
    )
    bundle(
        folder / "queries.zip",
        queries_jsonl=lines({"query_id": "1", "group": "G", "text": "x", "apis": []}, 170_000),
    )
    bundle(folder / "deep.zip", trajectories_jsonl=b'{"steps":' + b"[" * 90_000 + b"]" * 90_000 + b"}")
    bundle(folder / "deep-call.zip", calls_jsonl=b"[" * 90_000 + b"]" * 90_000)
    hostile_files.many_members(folder / "members.zip", 1_000_000)
    hostile_files.zip_of(folder / "nested.zip", {"inner.zip": (folder / "bomb.zip").read_bytes()})
    return {
        "bomb.zip": (1, f"unpacks to more than [0-9.]+ MiB.{LIFTED}"),
        "lying.zip": (1, "is damaged: trajectories.jsonl cannot be unpacked|is not what was exported"),
        "one-line.zip": (1, f"{unread} is longer than 8 MiB.{LIFTED}"),
        "values.zip": (1, f"{unread} holds more than 100,000 JSON values.{LIFTED}"),
        "wrong.zip": (1, "is not a bundle: group: Field required."),
        "wide-wrong.zip": (1, "is not a bundle: group: Field required."),
        "queries.zip": (
            1,
            f"cannot be read: queries.jsonl (is larger than 8 MiB|has more than 50,000 lines).{LIFTED}",
        ),
        "deep.zip": (1, "is not a bundle: a line of trajectories.jsonl is not JSON"),
        "deep-call.zip": (1, "is not a bundle: a line of calls.jsonl is not JSON"),
        "members.zip": (1, f"has a list of members of more than 1 MiB.{LIFTED}"),
        "nested.zip": (1, "is not a bundle: bundle.json is missing."),
    }


def write_dumps(folder: Path) -> dict[str, tuple[int, str]]:
    """Dumps that are too much, and how ``stb cache load`` ends with each."""
    empty_objects = b"{}" * 25_000_000
    longer = f"is longer than 16 MiB.{LIFTED} Nothing was loaded."
    hostile_files.zstd_of(folder / "line.jsonl.zst", b"", empty_objects, 1)
    hostile_files.zstd_of(folder / "bomb.jsonl.zst", DUMP_HEADER, empty_objects, 800)
    hostile_files.zstd_of(folder / "lines.jsonl.zst", DUMP_HEADER, b"\n" * 50_000_000, 400)
    hostile_files.wide_window(folder / "window.jsonl.zst")
    hostile_files.long_line(folder / "long.jsonl", DUMP_HEADER, 2 << 30)
    (folder / "deep.jsonl").write_bytes(DUMP_HEADER + b"[" * 100_000)
    (folder / "wide.jsonl").write_bytes(DUMP_HEADER + recorded({"x": WIDE}, b"{}"))
    (folder / "objects.jsonl").write_bytes(DUMP_HEADER + recorded({}, b"[" + b"{}," * 700_000 + b"{}]"))
    return {
        "line.jsonl.zst": (1, f"line 1 {longer}"),
        "bomb.jsonl.zst": (1, f"line 2 {longer}"),
        "lines.jsonl.zst": (1, "line 2 is cut short or not a response."),
        "window.jsonl.zst": (1, f"line 1 needs more than 64 MiB of memory to be unpacked.{LIFTED}"),
        "long.jsonl": (1, f"line 2 {longer}"),
        "deep.jsonl": (1, "line 2 is cut short or not a response."),
        "wide.jsonl": (1, "line 2 is the last, and the responses do not have the hash in the header."),
        "objects.jsonl": (1, "line 2 is the last, and the responses do not have the hash in the header."),
    }


def write_answers(folder: Path) -> dict[str, tuple[int, str]]:
    """Single JSON files that are too much, for any command that reads one."""
    hostile_files.long_line(folder / "long.json", b'{"1":"', 2 << 30)
    (folder / "objects.json").write_bytes(b"[" + b"{}," * 5_000_000 + b"{}]")
    (folder / "deep.json").write_bytes(b"[" * 100_000)
    return {
        "long.json": (1, f"is larger than 32 MiB.{LIFTED[:-1]}"),
        "objects.json": (1, f"holds more than 1,500,000 JSON values.{LIFTED[:-1]}"),
        "deep.json": (1, "is not JSON"),
    }


def write_release(folder: Path) -> None:
    """A release whose files are all too much."""
    answers = folder / "release" / "tool_response_cache" / "C" / "t_for_C"
    tools = folder / "release" / "tools" / "C"
    answers.mkdir(parents=True)
    tools.mkdir(parents=True)
    for place in (answers, tools):
        for name in ("long.json", "objects.json", "deep.json"):
            (place / name).hardlink_to(folder / name)
    (tools / "many.json").write_bytes(b'{"tool_name":"t","api_list":[' + b"{}," * 400_000 + b"{}]}")


def write_backup(folder: Path, schema: str) -> None:
    """A file that says it is a back-up, with a table that is none."""
    manifest = {
        "format": "stabletoolbench-backup/1",
        "made_at": "",
        "made_by": "",
        "schema": "0007",
        "last_ids": {},
        "tables": {"tools": {"columns": ["document"], "rows": 1, "hash": ""}},
    }
    with closing(sqlite3.connect(folder / "b.db")) as file, file:
        file.execute("CREATE TABLE stb_backup (document TEXT NOT NULL)")
        file.execute("INSERT INTO stb_backup VALUES (?)", (json.dumps(manifest),))
        file.execute(schema)


def run_all(folder: Path, commands: list[str]) -> list[tuple[int, int, str]]:
    """Exit code, peak of the memory in MB, and first line on stderr of each command."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input="\n".join(commands),
        env=clean_environment(STB_DATABASE_URL=f"sqlite:///{folder / 'store.db'}"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = [line.split("\t", 2) for line in done.stdout.splitlines()]
    return [(int(code), int(peak), said) for code, peak, said in parts]


@pytest.mark.linux
@pytest.mark.slow
def test_hostile_files_take_bounded_memory(tmp_path: Path) -> None:
    """No command needs more than a constant, and each ends with one line that says what to do."""
    bundles, dumps, answers = write_bundles(tmp_path), write_dumps(tmp_path), write_answers(tmp_path)
    write_release(tmp_path)
    cases = {f"import {name}": how for name, how in {**bundles, **answers}.items()}
    cases |= {f"verify {name}": how for name, how in bundles.items()}
    cases |= {f"cache load --foreign {name}": how for name, how in dumps.items()}
    cases |= {f"verify bomb.zip --lock {name}": (1, "is not a lock file|not JSON") for name in answers}
    cases |= {f"score r --labels {name}": (2, "") for name in answers}
    cases["data import release"] = (1, "")

    ended = run_all(tmp_path, list(cases))

    for (command, (code, said)), (got, peak, line) in zip(cases.items(), ended, strict=True):
        assert code == got, (command, line)
        assert re.search(said, line), (command, line)
        assert peak < MOST_MB, (command, peak)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        (
            "CREATE VIEW tools AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT x AS document FROM n",
            "the view tools",
        ),
        (
            "CREATE TABLE tools (a, document AS (zeroblob(900000000)))",
            "the computed column document of tools",
        ),
        ("CREATE TRIGGER t AFTER INSERT ON stb_backup BEGIN DELETE FROM stb_backup; END", "the trigger t"),
    ],
)
def test_a_back_up_that_would_run_something_is_refused(
    run_stb, tmp_path: Path, schema: str, named: str
) -> None:
    """Before anything of it is read: a view can have rows without end."""
    write_backup(tmp_path, schema)

    checked, restored = run_stb("restore", "b.db", "--check"), run_stb("restore", "b.db")

    for ended in (checked, restored):
        assert (1, f"stb: b.db holds {named}, which no back-up has. Do not use it.\n") == (
            ended.code,
            ended.err,
        )


def test_names_in_a_back_up_are_names(run_stb, tmp_path: Path) -> None:
    """A name that would end its own quotation is no statement."""
    write_backup(tmp_path, "CREATE TABLE tools (document)")
    with closing(sqlite3.connect(tmp_path / "b.db")) as file, file:
        text = file.execute("SELECT document FROM stb_backup").fetchone()[0]
        file.execute(
            "UPDATE stb_backup SET document = ?", (text.replace('"document"', '"\\" UNION SELECT 1 --"'),)
        )

    ended = run_stb("restore", "b.db", "--check")

    assert ended.err.startswith("stb: b.db is not a back-up, or is damaged.")


def test_the_limits_are_lifted_by_one_variable(
    run_stb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same line is read; a factor that is none is refused."""
    many = lines({**TRAJECTORY, "available_tools": ["t"] * 150_000})
    bundle(tmp_path / "b.zip", trajectories_jsonl=many)

    refused = run_stb("import", "b.zip")
    monkeypatch.setenv("STB_FILE_LIMITS", "4")
    taken = run_stb("import", "b.zip")
    monkeypatch.setenv("STB_FILE_LIMITS", "many")
    wrong = run_stb("import", "b.zip")

    assert (1, 0, 2) == (refused.code, taken.code, wrong.code), taken.err
    assert (
        wrong.err
        == "stb: STB_FILE_LIMITS is 'many'. Write a number of at least 1: 4 for four times as much.\n"
    )


def test_members_lead_nowhere(run_stb, tmp_path: Path) -> None:
    """Nothing is unpacked to disk: absolute paths, ``..`` and links in an archive are names, and ``verify`` tells them."""
    bundle(tmp_path / "b.zip")
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
        archive.writestr("../evil", b"x")
        archive.writestr(str(tmp_path / "absolute"), b"x")
        archive.writestr(link, "/etc/passwd")
    before = {path.name for path in tmp_path.parent.iterdir()} | {path.name for path in tmp_path.iterdir()}

    imported, verified = run_stb("import", "b.zip"), run_stb("verify", "b.zip")

    after = {path.name for path in tmp_path.parent.iterdir()} | {path.name for path in tmp_path.iterdir()}
    assert after - before <= {"store.db", "store.db-wal", "store.db-shm"}
    assert (0, 1) == (imported.code, verified.code)
    assert "is in the archive but is not part of a bundle" in verified.out


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.jsonl.gz"])
def test_other_archives_are_refused(run_stb, tmp_path: Path, name: str) -> None:
    """Tar and gzip files are read by no command; each says so in a line."""
    (tmp_path / "inside").write_bytes(b"\0" * MIB)
    with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
        archive.add(tmp_path / "inside", "../../evil")

    for command in (("import",), ("data", "import"), ("cache", "load"), ("restore",), ("verify",)):
        ended = run_stb(*command, name)
        assert ended.code in {1, 2}
        assert len(ended.err.splitlines()) == 1, ended.err
