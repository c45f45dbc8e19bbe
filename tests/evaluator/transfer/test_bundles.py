"""A run goes out as one file and comes back the same, anywhere."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from evaluator_makers import make_run, on_store, trajectory
from llm_server import LLMServer, text
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_core.values.trajectories import Step, StopReason
from stb_core.values.verdicts import Status, Verdict
from stb_evaluator.commands.export import file_name, file_names
from stb_evaluator.judges.rubrics import load_rubric
from stb_evaluator.transfer.bundles import read_bundle, write_bundle
from stb_evaluator.transfer.proofs import bundle_of


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


async def put_dataset(store: Store, *queries: Query) -> None:
    """The dataset ``d``, with these queries."""
    dataset = await store.datasets.create("d")
    async with store.writing() as connection:
        await store.datasets.put_queries(connection, dataset.id, queries)
        await store.datasets.set_content_hash(connection, dataset.id, "d" * 64)


def needing(query_id: str, *tools: str, text: str = "") -> Query:
    """A query that needs one API of each of these tools."""
    apis = tuple(ApiRef("C", tool, "f") for tool in tools)
    text = text or f"What is number {query_id}?"
    return Query(query_id=query_id, group="G1_tool", text=text, apis=apis, relevant_apis=apis)


@pytest.fixture(name="of_dataset")
def _of_dataset(run_stb, sqlite_store_url: str, tmp_path: Path) -> None:
    """A run ``r`` of two answers, of which one lacks an API that its query needs; ``r.zip`` and a lock of it."""

    async def make(store: Store) -> None:
        await put_dataset(store, needing("1", "t"), needing("2", "t", "other"), needing("3", "t"))
        await make_run(store, [trajectory("1"), trajectory("2")])

    on_store(sqlite_store_url, make)
    run_stb("export", "r", "-o", "r.zip")
    run_stb("lock", "r", "-o", "r.lock.json")


@pytest.mark.usefixtures("of_dataset")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_bundle_is_the_same_where_its_dataset_is_not(
    run_stb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, database: str
) -> None:
    """Exported again, held against its lock and judged by rules, imported once or twice."""
    before = run_stb("score", "r", "--judge", "rules", "--json").document["rows"][0]
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else url
    monkeypatch.setenv("STB_DATABASE_URL", url)
    run_stb("import", "r.zip")
    run_stb("import", "r.zip")

    run_stb("export", "r", "-o", "again.zip")
    verified = run_stb("verify", "r", "--lock", "r.lock.json")
    after = run_stb("score", "r", "--judge", "rules", "--json").document["rows"][0]

    assert (tmp_path / "r.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()
    assert (0, 75.0) == (verified.code, after["value"]), verified.out
    assert {**before, "subset": False, "n_dataset": 2} == after


@pytest.mark.usefixtures("of_dataset")
def test_queries_of_another_dataset_of_the_name_are_not_taken(
    run_stb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for those of the bundle, nor where the bundle has none."""
    foreign = needing("1", "x", text="Who?"), needing("2", "x", text="Where?")
    here, elsewhere = (f"sqlite:///{tmp_path / name}" for name in ("here.db", "elsewhere.db"))

    async def make_without(store: Store) -> None:
        run = await make_run(store, [trajectory("1"), trajectory("2")], dataset="d")
        manifest = run.manifest.model_copy(update={"dataset_hash": "e" * 64})
        await store.runs.create("bare", manifest, run.expected)
        await store.runs.put_trajectories("bare", [trajectory("1"), trajectory("2")])

    monkeypatch.setenv("STB_DATABASE_URL", here)
    on_store(here, make_without)
    run_stb("export", "bare", "-o", "bare.zip")
    monkeypatch.setenv("STB_DATABASE_URL", elsewhere)
    on_store(elsewhere, lambda store: put_dataset(store, *foreign))
    for name in ("r", "bare"):
        run_stb("import", f"{name}.zip")

        run_stb("export", name, "-o", f"{name}-again.zip")

        assert (tmp_path / f"{name}.zip").read_bytes() == (tmp_path / f"{name}-again.zip").read_bytes()


@pytest.mark.parametrize("order", [("early", "late"), ("late", "early"), ("early", "other", "late")])
def test_an_answer_takes_the_place_of_a_spoiled_trial(
    run_stb, sqlite_store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    """In whatever order the bundles come, and the run is then that of the answers."""
    spoiled = trajectory("2", stop=StopReason.INFRASTRUCTURE)
    lost = spoiled.model_copy(update={"steps": spoiled.steps[:0]})
    for name, second in {"early": spoiled, "other": lost, "late": trajectory("2")}.items():
        made = [trajectory("1"), second]
        monkeypatch.setenv("STB_DATABASE_URL", f"sqlite:///{tmp_path / name}.db")
        on_store(f"sqlite:///{tmp_path / name}.db", lambda store, made=made: make_run(store, made))
        run_stb("export", "r", "-o", f"{name}.zip")
    monkeypatch.setenv("STB_DATABASE_URL", sqlite_store_url)

    ended = [run_stb("import", f"{name}.zip") for name in order]
    again = run_stb("import", "early.zip", "--json").document["rows"][0]
    run_stb("export", "r", "-o", "merged.zip")

    assert [0] * len(order) == [one.code for one in ended], ended[-1].err
    assert 0 == again["new_queries"]
    assert (tmp_path / "late.zip").read_bytes() == (tmp_path / "merged.zip").read_bytes()


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


def forged(run: str, *, with_answers: bool, store: str, judge: str = "rules") -> None:
    """``forged.zip`` of another store: a run of the same name and settings, all of whose answers are solved."""
    rubric = "rules-1" if judge == "rules" else "r"

    async def make(other: Store) -> bytes:
        answers = [trajectory("1", answer="No idea."), trajectory("2")]
        made = await make_run(
            other, answers if with_answers else [], run=run, expected={"G1_tool": ["1", "2"]}
        )
        solved = [
            Verdict(
                run=run,
                group="G1_tool",
                query_id=answer.query_id,
                judge=judge,
                rubric=rubric,
                round=0,
                status=Status.SOLVED,
                answer_hash=answer.answer_hash,
            )
            for answer in answers
        ]
        await other.verdicts.append(solved)
        return await bundle_of(other, made)

    Path("forged.zip").write_bytes(on_store(store, make))


@pytest.fixture(name="elsewhere")
def _elsewhere(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'elsewhere.db'}"


async def make_mine(store: Store) -> None:
    """The run ``mine`` of this store: of two answers the rules solve one."""
    await make_run(store, [trajectory("1", answer="No idea."), trajectory("2")], run="mine")


@pytest.mark.parametrize("with_answers", [False, True])
def test_verdicts_of_a_bundle_do_not_count_in_a_run_that_was_made_here(
    run_stb, sqlite_store_url: str, elsewhere: str, *, with_answers: bool
) -> None:
    """Not even where the bundle has the same answers; the import says so, and the score is the run's own."""
    on_store(sqlite_store_url, make_mine)
    forged("mine", with_answers=with_answers, store=elsewhere)

    imported = run_stb("import", "forged.zip")
    row = run_stb("score", "mine", "--judge", "rules", "--json").document["rows"][0]

    assert (imported.code, row["value"]) == (1, 50.0)
    assert (
        "mine: 2 verdicts of the bundle were not imported: verdicts by rules are computed in this store."
        in imported.err
    )


def test_a_bundle_adds_nothing_to_a_run_that_was_made_here(
    run_stb, sqlite_store_url: str, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a query nor an answer, not even in the place of a spoiled trial; the denominator stays."""
    spoiled = trajectory("2", stop=StopReason.INFRASTRUCTURE)
    on_store(sqlite_store_url, lambda s: make_run(s, [trajectory("1"), spoiled], run="mine"))
    for other, made in (("more", ["1", "2", "3"]), ("mended", ["1", "2"])):
        monkeypatch.setenv("STB_DATABASE_URL", f"{elsewhere}-{other}")
        on_store(f"{elsewhere}-{other}", lambda s, m=made: make_run(s, map(trajectory, m), run="mine"))
        run_stb("export", "mine", "-o", f"{other}.zip")
    monkeypatch.setenv("STB_DATABASE_URL", sqlite_store_url)

    more, mended = (run_stb("import", f"{name}.zip") for name in ("more", "mended"))
    named = run_stb("import", "more.zip", "--name", "theirs")
    rows = {row["name"]: row["expected"] for row in run_stb("ls", "--json").document["rows"]}

    assert (more.code, mended.code, named.code) == (2, 2, 0)
    assert more.err.startswith(
        "stb: The run 'mine' was made in this store, and the bundle has 2 answers and 1 queries that it lacks."
    )
    assert "the bundle has 1 answers that it lacks" in mended.err
    assert rows == {"mine": 2, "theirs": 3}


def test_verdicts_on_answers_that_a_bundle_lacks_are_not_taken(run_stb, elsewhere: str) -> None:
    """Though the run is the bundle's own; and to verify the bundle names them."""
    forged("theirs", with_answers=False, store=elsewhere)

    imported = run_stb("import", "forged.zip", "--json")
    verified = run_stb("verify", "forged.zip")

    row = imported.document["rows"][0]
    assert (imported.code, row["new_verdicts"], row["refused"]) == (1, 0, 2)
    assert "the bundle does not hold the answers that they are on" in imported.err
    assert verified.code == 1
    assert verified.out.splitlines()[-1] == (
        "different: G1_tool/1, round 0: a verdict of rules does not belong to this bundle:"
        " the bundle does not hold the answers that they are on"
    )


def test_verdicts_by_rules_are_found_out_again(run_stb, elsewhere: str) -> None:
    """A bundle that says otherwise is not believed."""
    forged("theirs", with_answers=True, store=elsewhere)

    imported = run_stb("import", "forged.zip", "--json")
    row = run_stb("score", "theirs", "--judge", "rules", "--json").document["rows"][0]

    assert (imported.code, row["value"]) == (1, 50.0)
    assert "theirs: 1 verdicts of the bundle were not imported: the rules decide otherwise." in imported.err


def test_verdicts_of_a_bundle_are_not_reused_for_the_same_answers_of_another_run(
    run_stb, sqlite_store_url: str, elsewhere: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a bundle says that a model said counts in its own run; of one's own run the model is asked."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda _: text('{"reason": "", "answer_status": "unsolved"}')
    on_store(sqlite_store_url, make_mine)
    forged("theirs", with_answers=True, store=elsewhere, judge="stub/any")
    rubric = load_rubric("sopr-1").hash
    raw = Path("forged.zip").read_bytes()
    bundle = read_bundle(raw)
    verdicts = [verdict.model_copy(update={"rubric": rubric}) for verdict in bundle.verdicts]
    run = Run("theirs", "theirs", "d", "theirs", None, bundle.manifest, bundle.expected, 1, "")
    Path("forged.zip").write_bytes(write_bundle(run, bundle.queries, bundle.trajectories, verdicts))
    imported = run_stb("import", "forged.zip")

    values = {
        name: run_stb("score", name, "--judge", "stub/any", "--rounds", "1", "--json").document["rows"][0]
        for name in ("theirs", "mine")
    }

    assert (imported.code, llm.count) == (0, 2)
    assert {name: row["value"] for name, row in values.items()} == {"theirs": 100.0, "mine": 0.0}


def test_an_export_of_ones_own_comes_back_without_a_word(run_stb, sqlite_store_url: str) -> None:
    """All its verdicts are there already."""
    on_store(sqlite_store_url, make_mine)
    run_stb("score", "mine", "--judge", "rules")
    run_stb("export", "mine", "-o", "mine.zip")

    ended = run_stb("import", "mine.zip")

    assert (ended.code, ended.err) == (0, "")


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
        ({"trajectories_jsonl": None}, "is not a bundle: trajectories.jsonl is missing."),
        ({"bundle_json": b"{}"}, "is not a bundle: format: Field required."),
        ({"bundle_json": b"no json"}, "is not a bundle: Invalid JSON"),
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


@pytest.mark.usefixtures("judged")
def test_a_bundle_with_keys_of_another_scheme_is_refused(run_stb, tmp_path: Path) -> None:
    """The error says which version reads it."""
    run_stb("export", "r", "-o", "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        header = json.loads(archive.read("bundle.json"))
    header |= {"format": "stabletoolbench-bundle/2", "key_scheme": 7}
    damage(tmp_path / "r.zip", bundle_json=json.dumps(header).encode())

    ended = run_stb("import", "r.zip")

    assert ended.code == 1
    assert ended.err == (
        "stb: r.zip has keys of scheme 7, and this version makes keys of scheme 2."
        " Read it with a newer version of stabletoolbench.\n"
    )


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


@pytest.mark.linux
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
        "out/deep/answer/r/_.._evil~0fbfd372a4/1_CoT@1.json",
        "out/deep/model_predictions_converted/r/_.._evil~0fbfd372a4.json",
    ]


ALIKE = ("a b", "a/b", "a_b", "a_c", "A_B", "a-b", "A-b", "..", "", "_", "ä", "Ä", "x~1", "1")


@pytest.mark.parametrize("run", ["r", "my run", "R_1"])
def test_names_that_are_alike_become_files_of_their_own(
    run_stb, sqlite_store_url: str, tmp_path: Path, run: str
) -> None:
    """Of queries and of groups, where case is ignored too; as many answers come back as went out."""
    groups = (*ALIKE, f"a_{run}", f"a_{run}_{run}", "a")
    made = [trajectory(one) for one in ALIKE] + [trajectory("1", group=group) for group in groups]
    on_store(sqlite_store_url, lambda store: make_run(store, made, run=run))
    run_stb("score", run, "--judge", "rules")
    run_stb("export", run, "--format", "toolbench", "-o", "out")

    files = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.json")]
    counts = {
        kind: run_stb("import", f"out/{kind}", "--name", kind, "--json").document["rows"][0]["queries"]
        for kind in ("answer", "model_predictions_converted", "pass_rate_results")
    }

    assert len(made) + 2 * (len(groups) + 1) == len({name.casefold() for name in files})
    assert {len(made)} == set(counts.values()), counts
    assert all(name.startswith("out/") for name in files)


def test_two_runs_that_differ_in_case_are_two_folders(run_stb, sqlite_store_url: str, tmp_path: Path) -> None:
    """Exported into one place, neither takes the other's."""
    for run in ("a", "A"):
        on_store(sqlite_store_url, lambda store, run=run: make_run(store, [trajectory(run)], run=run))
        run_stb("export", run, "--format", "openai-messages")
    for run in ("a", "A"):
        run_stb("export", run, "--format", "toolbench", "-o", "out")

    folders = {path.name.casefold() for path in (tmp_path / "out" / "answer").iterdir()}
    assert 2 == len(folders)


@pytest.mark.parametrize("name", ["G1_instruction", "17", "run-1.2@b+c", "中文"])
def test_a_name_that_can_be_a_file_stays(name: str) -> None:
    """As it is, beside others too."""
    assert name == file_name(name) == file_names([name, "other", "a b"])[name]


@pytest.mark.parametrize(("n_calls", "code"), [(150, 0), (30_000, 2)])
def test_answers_with_very_many_calls(run_stb, sqlite_store_url: str, n_calls: int, code: int) -> None:
    """They are written as deep as they are, or refused in one line."""
    steps = tuple(Step(function="f", arguments="{}") for _ in range(n_calls))
    long = trajectory("1").model_copy(update={"steps": steps, "tree": None})
    on_store(sqlite_store_url, lambda store: make_run(store, [long]))

    ended = run_stb("export", "r", "--format", "toolbench", "-o", "out")

    assert ended.code == code
    assert ended.err.startswith("stb: An answer has too many calls") == (code == 2)
