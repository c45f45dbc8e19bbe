"""A verdict says what brought it; those of others count in a run of one's own only where they are asked for."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, on_store, trajectory
from stb_core.store import Store
from stb_core.values import Status, Trajectory, Verdict
from stb_evaluator.transfer.bundles import FORMAT, FORMAT_WITH_SCHEME
from stb_evaluator.transfer.proofs import bundle_of

ANSWERS = [trajectory("1", answer="No idea."), trajectory("2"), trajectory("3")]
SOLVED, UNSOLVED = Status.SOLVED, Status.UNSOLVED


def given(answer: Trajectory, status: Status, run: str = "mine", **more: Any) -> Verdict:
    place = {
        "run": run,
        "group": answer.group,
        "query_id": answer.query_id,
        "answer_hash": answer.answer_hash,
    }
    return Verdict.model_validate(
        {**place, "judge": "their/model", "rubric": "x", "round": 0, "status": status} | more
    )


@pytest.fixture(name="mine")
def _mine(sqlite_store_url: str) -> str:
    """A run of this store, whose answers the rules judge in part; no judge was asked."""
    on_store(sqlite_store_url, lambda store: make_run(store, ANSWERS, run="mine"))
    return sqlite_store_url


def forge(tmp_path: Path, verdicts: list[Verdict], *, run: str = "mine", name: str = "forged.zip") -> None:
    """A bundle of a run of that name and those settings without answers, with verdicts alone."""

    async def make(store: Store) -> bytes:
        made = await make_run(store, [], run=run, expected={"G1_tool": ["1", "2", "3"]})
        await store.verdicts.append(verdicts)
        return await bundle_of(store, made)

    data = on_store(f"sqlite:///{tmp_path / (name + '.db')}", make)
    (tmp_path / name).write_bytes(data)


def score(run_stb: Any, judge: str, run: str = "mine") -> Any:
    return run_stb("score", run, "--judge", judge, "--json")


def micro(ended: Any) -> dict[str, Any]:
    rows: list[dict[str, Any]] = ended.document["rows"]
    return next(row for row in rows if (row["block"], row["group"]) == ("faithful", "micro"))


def test_forged_verdicts_by_rules_leave_the_score_as_it_is(run_stb, mine: str, tmp_path: Path) -> None:
    """A bundle with the run's name and manifest, no answers, and all of them solved by rules."""
    forge(tmp_path, [given(one, SOLVED, judge="rules", rubric="rules-1") for one in ANSWERS])
    run_stb("export", "mine", "-o", "before.zip")

    imported = run_stb("import", "forged.zip")
    verified = run_stb("verify", "forged.zip", "--json")
    after = micro(score(run_stb, "rules"))

    assert imported.code == 1
    assert "3 verdicts of the bundle were not imported" in imported.err
    assert after["value"] == pytest.approx(200 / 3)
    assert (after["complete"], after["brought_verdicts"]) == (True, {})
    assert verified.code == 1
    assert verified.document["foreign"] == [
        "FOREIGN: 3 verdicts of rules do not belong to mine: the bundle does not hold the answers that they are on."
    ]
    assert run_stb("verify", "mine").code == 0


def test_verdicts_of_others_count_only_where_they_are_asked_for(run_stb, mine: str, tmp_path: Path) -> None:
    """By the name of their bundle, with a headline; by their judge's name nothing was judged."""
    forge(tmp_path, [given(one, SOLVED) for one in ANSWERS])

    imported = run_stb("import", "forged.zip")
    unasked = run_stb("score", "mine", "--json")
    asked = score(run_stb, "imported:forged.zip")
    reported = run_stb("report", "mine", "--judge", "imported:forged", "-o", "r.json", "--json")

    assert imported.code == 0
    assert imported.err.endswith("To count them: stb score mine --judge imported:forged.zip\n")
    assert (unasked.code, "has no verdicts yet" in unasked.err) == (2, True)
    line = "FOREIGN: 3 verdicts on mine came with forged.zip; nobody asked for them in this store."
    assert (asked.code, micro(asked)["value"]) == (0, 100.0)
    assert micro(asked)["judge"] == "imported:forged.zip"
    assert line in asked.document["headline"]
    assert line in reported.document["headline"]


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_pairs_cannot_be_compared_by_them(run_stb, mine: str, flags: tuple[str, ...]) -> None:
    """That is said before anything is read, or foretold."""
    on_store(mine, lambda store: make_run(store, ANSWERS, run="other"))

    ended = run_stb("compare", "mine", "other", "--metric", "sowr", "--judge", "imported:forged.zip", *flags)

    assert (2, True) == (ended.code, "Imported verdicts on pairs cannot be chosen." in ended.err)


def test_a_comparison_by_them_says_so(run_stb, mine: str) -> None:
    """A line for each run."""

    async def judge_both(store: Store) -> None:
        await make_run(store, ANSWERS, run="other")
        foreign = {"source": "forged.zip", "is_foreign": True}
        verdicts = [given(one, SOLVED, run, **foreign) for one in ANSWERS for run in ("mine", "other")]
        await store.verdicts.append(verdicts)

    on_store(mine, judge_both)

    ended = run_stb("compare", "mine", "other", "--judge", "imported:forged.zip", "--json")

    assert ended.code == 0
    assert [line[:35] for line in ended.document["headline"]] == [
        f"FOREIGN: 3 verdicts on {run} came with"[:35] for run in ("mine", "other")
    ]


def test_a_mix_of_own_and_foreign_verdicts_is_never_counted(run_stb, mine: str, tmp_path: Path) -> None:
    """The same judge and rubric, one verdict given here: the other answers have none."""
    forge(tmp_path, [given(one, SOLVED) for one in ANSWERS])
    on_store(mine, lambda store: store.verdicts.append([given(ANSWERS[0], UNSOLVED)]))
    run_stb("import", "forged.zip")

    row = run_stb("report", "mine", "--judge", "their/model", "-o", "r.json", "--json").document["rows"][0]
    asked = micro(score(run_stb, "imported:forged.zip"))

    assert (row["counts"]["unjudged"], row["counts"]["unsolved"], row["complete"]) == (2, 1, False)
    assert asked["value"] == 100.0


def test_show_and_verify_name_them(run_stb, mine: str, tmp_path: Path) -> None:
    """With what they are and how they would count; the numbers of the run are those of its bundle."""
    forge(tmp_path, [given(one, SOLVED) for one in ANSWERS])
    run_stb("import", "forged.zip")

    shown, trial = run_stb("show", "mine").out, run_stb("show", "mine/1").out
    verified = run_stb("verify", "mine")

    assert "their/model (sopr) from forged.zip: 3, not counted without --judge imported:forged.zip" in shown
    assert "Verdict of their/model, round 0, from forged.zip (foreign: not counted)" in trial
    assert verified.code == 0
    assert "FOREIGN: 3 sopr verdicts of their/model do not belong to mine" in verified.out
    assert verified.out.splitlines()[-1] == "identical"


def test_foreign_verdicts_stay_foreign_in_a_bundle(
    run_stb, mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a format of its own, and elsewhere the run is scored without them; there and back adds nothing."""
    forge(tmp_path, [given(one, SOLVED) for one in ANSWERS])
    run_stb("export", "mine", "-o", "plain.zip")
    run_stb("import", "forged.zip")
    run_stb("export", "mine", "-o", "mine.zip")
    again = run_stb("import", "mine.zip", "--json").document["rows"][0]

    monkeypatch.setenv("STB_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    verified = run_stb("verify", "mine.zip", "--json")
    run_stb("import", "mine.zip")
    unasked = run_stb("score", "mine", "--json")
    asked = score(run_stb, "imported:mine.zip:forged.zip")

    plain, with_foreign = (header(tmp_path / name)["format"] for name in ("plain.zip", "mine.zip"))
    assert plain in {FORMAT, FORMAT_WITH_SCHEME}
    assert with_foreign == "stabletoolbench-bundle/3"
    assert (again["new_verdicts"], again["foreign"]) == (0, 0)
    assert verified.document["foreign"] == [
        "FOREIGN: 3 verdicts of their/model do not belong to mine: they came with forged.zip."
    ]
    assert "has no verdicts yet" in unasked.err
    assert micro(asked)["value"] == 100.0


def header(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("bundle.json"))
        return found


def test_a_run_that_came_with_its_verdicts_is_the_same_bytes_again(
    run_stb, mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They belong to it and count, with a headline that says where they came from."""
    on_store(mine, lambda store: store.verdicts.append([given(one, SOLVED) for one in ANSWERS]))
    run_stb("export", "mine", "-o", "mine.zip")
    monkeypatch.setenv("STB_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")

    imported = run_stb("import", "mine.zip")
    reported = run_stb("report", "mine", "--judge", "their/model", "-o", "r.json", "--json")
    run_stb("export", "mine", "-o", "again.zip")

    line = "FOREIGN: 3 verdicts on mine came with mine.zip; nobody asked for them in this store."
    assert (imported.code, imported.err) == (0, "")
    assert line in reported.document["headline"]
    assert reported.document["rows"][0]["value"] == 100.0
    assert (tmp_path / "mine.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()


@pytest.mark.parametrize("judge", ["recorded", "rules"])
def test_verdicts_that_cannot_be_foreign_are_left_out(run_stb, mine: str, tmp_path: Path, judge: str) -> None:
    """Rules are computed here, and recorded verdicts are those of the run's own files."""
    forge(tmp_path, [given(ANSWERS[0], SOLVED, judge=judge, rubric=judge)])

    imported = run_stb("import", "forged.zip", "--json")

    row = imported.document["rows"][0]
    assert (imported.code, row["refused"], row["new_verdicts"]) == (1, 1, 0)


def test_rules_without_their_query_are_not_believed(
    run_stb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can compute them again where a bundle leaves its queries out."""

    async def make(store: Store) -> bytes:
        await store.datasets.create("d")
        made = await make_run(store, ANSWERS, run="theirs")
        verdicts = [given(one, SOLVED, run="theirs", judge="rules", rubric="rules-1") for one in ANSWERS]
        await store.verdicts.append(verdicts)
        return await bundle_of(store, made)

    (tmp_path / "theirs.zip").write_bytes(on_store(f"sqlite:///{tmp_path / 'a.db'}", make))

    imported = run_stb("import", "theirs.zip", "--json")
    scored = run_stb("score", "theirs", "--json")

    assert (imported.code, imported.document["rows"][0]["foreign"]) == (0, 3)
    assert scored.code == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("none.zip", "There are: imported:forged.zip/their/model, imported:forged.zip/other/model."),
        ("forged.zip", "Choose one of: imported:forged.zip/their/model, imported:forged.zip/other/model."),
    ],
)
def test_a_name_that_means_nothing_or_several_judges_is_refused(
    run_stb, mine: str, tmp_path: Path, name: str, hint: str
) -> None:
    """The hint lists what there is."""
    forge(
        tmp_path,
        [given(ANSWERS[0], SOLVED), given(ANSWERS[0], UNSOLVED, judge="other/model", rubric="y")],
    )
    run_stb("import", "forged.zip")

    ended = score(run_stb, f"imported:{name}")

    assert (ended.code, hint in ended.err) == (2, True), ended.err
    assert micro(score(run_stb, "imported:forged.zip/other/model"))["value"] == 0.0
