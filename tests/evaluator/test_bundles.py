"""A run goes out as one file and comes back the same, anywhere."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import Store, open_store
from stb_core.trajectories import Step, StopReason


def on_store(url: str, work: Callable[[Store], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = await open_store(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.fixture(name="judged")
def _judged(run_stb, sqlite_store_url: str) -> None:
    """A run ``r`` of two answers, one given up and one missing, judged by rules."""

    async def make(store: Store) -> None:
        made = [trajectory("1"), trajectory("2", answer="No idea."), trajectory("3", stop=StopReason.GAVE_UP)]
        await make_run(store, made, expected={"G1_tool": ["1", "2", "3", "4"]})

    on_store(sqlite_store_url, make)
    run_stb("score", "r", "--judge", "rules")


@pytest.mark.usefixtures("judged")
def test_a_bundle_scores_the_same_elsewhere(run_stb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking any judge again; importing it twice adds nothing."""
    before = run_stb("score", "r", "--judge", "rules", "--json")
    run_stb("export", "r", "-o", "r.zip")
    monkeypatch.setenv("STB_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")

    first = run_stb("import", "r.zip", "--json").document["rows"][0]
    second = run_stb("import", "r.zip", "--json").document["rows"][0]
    after = run_stb("score", "r", "--judge", "rules", "--json")

    assert (first["new_queries"], first["new_verdicts"]) == (3, 2)
    assert (second["new_queries"], second["new_verdicts"]) == (0, 0)
    assert before.document == after.document


@pytest.mark.usefixtures("judged")
def test_the_same_content_is_the_same_bytes(run_stb, tmp_path: Path) -> None:
    """Exported twice, and exported again from where it was imported."""
    run_stb("export", "r", "-o", "one.zip")
    run_stb("export", "r", "-o", "two.zip")

    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.usefixtures("judged")
def test_bundles_of_one_run_merge(run_stb, sqlite_store_url: str) -> None:
    """An older bundle brings nothing back, and takes nothing away."""
    run_stb("export", "r", "-o", "old.zip")
    on_store(sqlite_store_url, lambda s: s.runs.put_trajectories("r", [trajectory("4")]))
    run_stb("score", "r", "--judge", "rules")

    merged = run_stb("import", "old.zip", "--json").document["rows"][0]

    assert (merged["new_queries"], merged["new_verdicts"]) == (0, 0)
    assert run_stb("ls", "--json").document["rows"][0]["complete"] is True


@pytest.mark.usefixtures("judged")
def test_a_bundle_with_another_answer_is_refused(run_stb, sqlite_store_url: str) -> None:
    """Nothing is changed; under another name it can be had."""
    run_stb("export", "r", "-o", "r.zip")
    on_store(sqlite_store_url, lambda s: s.runs.put_trajectories("r", [trajectory("1", answer="Other.")]))

    refused = run_stb("import", "r.zip")
    renamed = run_stb("import", "r.zip", "--name", "copy", "--json")

    assert refused.code == 2
    assert refused.err.startswith("stb: The run 'r' has another answer to G1_tool/1 than the bundle.")
    assert renamed.document["rows"][0]["run"] == "copy"


def damage(path: Path, **changes: bytes | None) -> Path:
    """The bundle with some members replaced."""
    with zipfile.ZipFile(path) as archive:
        members: dict[str, bytes | None] = {i.filename: archive.read(i) for i in archive.infolist()}
    members |= {name.replace("_", "."): data for name, data in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)
    return path


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"verdicts_jsonl": b"{}\n"}, "is damaged: verdicts.jsonl is not what was exported."),
        ({"trajectories_jsonl": None}, "is no bundle: it lacks trajectories.jsonl."),
        ({"bundle_json": b"{}"}, "is no bundle: format: Field required."),
        ({"bundle_json": b"no json"}, "is no bundle: Invalid JSON"),
    ],
)
def test_a_damaged_bundle_is_one_line(
    run_stb, tmp_path: Path, changes: dict[str, bytes | None], line: str
) -> None:
    """Nothing of it is imported."""
    run_stb("export", "r", "-o", "r.zip")
    run_stb("rm", "r")
    damage(tmp_path / "r.zip", **changes)

    ended = run_stb("import", "r.zip")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"stb: r.zip {line}")
    assert run_stb("ls", "--json").document["rows"] == []


def test_a_zip_that_is_cut_is_one_line(run_stb, tmp_path: Path) -> None:
    """It says that it cannot be unpacked."""
    (tmp_path / "r.zip").write_bytes(b"PK\x03\x04 and no more")

    ended = run_stb("import", "r.zip")

    assert ended.code == 1
    assert ended.err.startswith("stb: r.zip cannot be unpacked:")


@pytest.mark.usefixtures("judged")
def test_what_toolbench_gets_can_be_imported_again(run_stb, tmp_path: Path) -> None:
    """Raw and converted answers and verdicts: the same steps, stops and scores."""
    ours = run_stb("score", "r", "--judge", "rules", "--json").document["rows"]
    run_stb("export", "r", "--format", "toolbench", "-o", "out")
    for kind in ("answer", "pass_rate_results", "model_predictions_converted"):
        run_stb("import", f"out/{kind}", "--name", kind)

    theirs = run_stb("score", "pass_rate_results", "--json").document["rows"]
    stops = {
        name: [(t["query_id"], t["stop"], t["final_answer"]) for t in _shown(run_stb, name)]
        for name in ("r", "answer", "pass_rate_results", "model_predictions_converted")
    }
    assert stops["answer"] == stops["pass_rate_results"] == stops["model_predictions_converted"] == stops["r"]
    pick = {(r["block"], r["group"]): r["value"] for r in theirs}
    assert pick["reference", "macro"] == next(
        r["value"] for r in ours if (r["block"], r["group"]) == ("reference", "macro")
    )


def _shown(run_stb, name: str) -> list[dict[str, Any]]:
    return [run_stb("show", f"{name}/{q}", "--json").document["rows"][0] for q in "123"]


@pytest.mark.usefixtures("judged")
def test_openai_messages_are_one_conversation_a_line(run_stb, tmp_path: Path) -> None:
    """Every call is answered by a message with its id."""
    run_stb("export", "r", "--format", "openai-messages", "-o", "r.jsonl")

    lines = [orjson.loads(line) for line in (tmp_path / "r.jsonl").read_bytes().splitlines()]

    assert [line["metadata"]["query_id"] for line in lines] == ["1", "2", "3"]
    for line in lines:
        asked = [c["id"] for m in line["messages"] for c in m.get("tool_calls", [])]
        answered = [m["tool_call_id"] for m in line["messages"] if m["role"] == "tool"]
        assert asked == answered
    assert json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])["messages"][0]["role"] == "user"


@pytest.mark.usefixtures("judged")
def test_a_file_that_is_there_is_not_overwritten(run_stb, tmp_path: Path) -> None:
    """Unless told to; the same content may be written again."""
    (tmp_path / "r.zip").write_text("precious")

    refused = run_stb("export", "r", "-o", "r.zip")
    forced = run_stb("export", "r", "-o", "r.zip", "--force")
    again = run_stb("export", "r", "-o", "r.zip")

    assert (refused.code, forced.code, again.code) == (2, 0, 0)
    assert refused.err.startswith("stb: r.zip is there already.")


@pytest.mark.usefixtures("judged")
def test_a_folder_that_cannot_be_written_is_one_line(run_stb) -> None:
    """And nothing half-written is left."""
    ended = run_stb("export", "r", "-o", "/proc/nowhere/r.zip")

    assert ended.code == 1
    assert ended.err.startswith("stb: /proc/nowhere/r.zip cannot be written")


def test_a_group_with_a_path_in_its_name_stays_in_the_folder(
    run_stb, sqlite_store_url: str, tmp_path: Path
) -> None:
    """Names from outside lead nowhere else."""
    on_store(sqlite_store_url, lambda s: make_run(s, [trajectory("1", group="../../evil")]))

    run_stb("export", "r", "--format", "toolbench", "-o", "out/deep")

    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.json"))
    assert files == [
        "out/deep/answer/r/_.._evil/1_CoT.json",
        "out/deep/model_predictions_converted/r/_.._evil.json",
    ]


@pytest.mark.parametrize(("n_calls", "code"), [(150, 0), (30_000, 2)])
def test_answers_with_very_many_calls(run_stb, sqlite_store_url: str, n_calls: int, code: int) -> None:
    """They are written as deep as they are, or refused in one line."""
    steps = tuple(Step(function="f", arguments="{}") for _ in range(n_calls))
    long = trajectory("1").model_copy(update={"steps": steps, "tree": None})
    on_store(sqlite_store_url, lambda store: make_run(store, [long]))

    ended = run_stb("export", "r", "--format", "toolbench", "-o", "out")

    assert ended.code == code
    assert ended.err.startswith("stb: An answer has too many calls") == (code == 2)
