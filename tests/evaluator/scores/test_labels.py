"""Human labels correct a score and tell how good the judge is."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import numpy as np
import pytest

from evaluator_makers import log, make_run, trajectory
from stb_core.errors import NotFoundError, UsageError
from stb_core.store import open_store
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores.labels import LabelSet, corrected_rows, read_labels
from stb_evaluator.scores.verdict_table import build_verdict_table

STRAY = [("", "", "3"), ("", "H", "2"), ("t", "", "1"), ("s", "G", "1")]
CSV = "group,query,label,run\nG1_tool,1,solved,\n,2,0,\nG1_tool,3,Unsure,other\n"


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    """Columns may be missing, and labels may be words or numbers."""
    (tmp_path / "l.csv").write_text(CSV)
    rows = [
        {"group": "G1_tool", "query": "1", "label": 1},
        {"query": 2, "label": "unsolved"},
        {"group": "G1_tool", "query": "3", "label": 0.5, "run": "other"},
    ]
    (tmp_path / "l.json").write_text(json.dumps(rows))

    assert read_labels(tmp_path / "l.csv") == read_labels(tmp_path / "l.json")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffQuery;Label;Group\r\n1;Solved;G1_tool\r\n2;0,5;\r\n",
        '\ufeff"query";"label";"group"\n"1";"1";"G1_tool"\n"2";"unsure";""\n',
        "sep=;\nquery;label;group\n1;solved;G1_tool\n2;0.5;\n",
        "group\tlabel\tquery\nG1_tool\tsolved\t1\n\tunsure\t2\n",
        "query , label, group\n 1 , solved , G1_tool\n2,unsure,\n",
    ],
)
def test_csv_is_read_as_spreadsheets_save_it(tmp_path: Path, text: str) -> None:
    """With a byte order mark, with semicolons or tabs between columns, with decimal commas."""
    (tmp_path / "l.csv").write_text(text, encoding="utf-8", newline="")

    assert read_labels(tmp_path / "l.csv").points == {("", "G1_tool", "1"): 1.0, ("", "", "2"): 0.5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("query,label\n1,solved\n2,0\n1,0\n", "about query 1: see line 2 and line 4."),
        ("query;label\n1;1\n1;0,5\n", "about query 1: see line 2 and line 3."),
        (
            "group,query,label,run\nG,1,solved,r\nG,1,unsure,r\n",
            "about query 1 of G in the run r: see line 2 and line 3.",
        ),
        (
            '[{"query": 1, "label": 1}, {"query": "1", "label": "unsolved"}]',
            "about query 1: see object 1 and object 2.",
        ),
    ],
)
def test_contradictory_labels_are_an_error(tmp_path: Path, text: str, words: str) -> None:
    """It names the query and both places."""
    path = tmp_path / ("l.json" if text.startswith("[") else "l.csv")
    path.write_text(text)

    with pytest.raises(UsageError, match=re.escape(f"{path.name} contradicts itself {words}")):
        read_labels(path)


def test_the_same_label_twice_is_no_contradiction(tmp_path: Path) -> None:
    """Nor is a label of one group beside a label of any group."""
    path = tmp_path / "l.csv"
    path.write_text("query,label,group\n1,solved,\n1,1,\n1,0,G\n")

    assert read_labels(path).points == {("", "", "1"): 1.0, ("", "G", "1"): 0.0}


def test_the_most_specific_label_counts() -> None:
    """Of run and group, of run, of group, of any."""
    labels = LabelSet({("", "", "1"): 0.0, ("", "G", "1"): 0.5, ("r", "G", "1"): 1.0})

    assert [labels.of("r", "G", "1"), labels.of("s", "G", "1"), labels.of("s", "H", "1")] == [1.0, 0.5, 0.0]
    assert np.isnan(labels.of("r", "G", "2"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("query,label\n1,maybe\n", "l.csv, line 2, has the label 'maybe'."),
        ("query,label\n1,solved\n\n2,\n", "l.csv, line 4, has the label ''."),
        ("query,label\n1,solved\n2\n", "l.csv, line 3, has the label 'None'."),
        ("query,label\n1,solved\n,solved\n", "l.csv, line 3, names no query."),
        ("a,b\n1,2\n", "l.csv, line 2, names no query."),
        ("query,label\n", "l.csv holds no label."),
        ("1,solved\n", "l.csv holds no label."),
        ("", "l.csv holds no label."),
        ("[]", "l.json holds no label."),
        ("{}", "l.json, object 1, names no query."),
        ('[{"query": "1", "label": 1}, {"query": "2", "label": 2}]', "l.json, object 2, has the label '2'."),
        ("[", "l.json is not JSON: Expecting value at line 1, column 2."),
    ],
)
def test_a_file_that_is_none_says_so(tmp_path: Path, text: str, words: str) -> None:
    """With the line, as bad usage."""
    path = tmp_path / ("l.json" if text.startswith(("[", "{")) else "l.csv")
    path.write_text(text)

    with pytest.raises(UsageError, match=re.escape(words)):
        read_labels(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """It was named."""
    with pytest.raises(NotFoundError):
        read_labels(tmp_path / "l.csv")


def test_labels_on_what_no_run_has_are_counted() -> None:
    """Another query, another group or another run; a label for any run or group is none of them."""
    places = [("", "", "1"), ("r", "", "1"), ("", "G", "2"), ("r", "G", "2"), *STRAY]
    labels = LabelSet(dict.fromkeys(places, 1.0))

    assert labels.n_unknown({"r": {"G": ["1", "2"]}, "s": {"H": ["1"]}}) == len(STRAY)


def biased(n: int, seed: int) -> tuple[dict[str, str], dict[str, float]]:
    """Verdicts of a judge that passes 4 of 10 bad answers, and the truth."""
    rng = np.random.default_rng(seed)
    truth = {str(i): float(rng.random() < 0.5) for i in range(n)}
    said = {i: "s" if good or rng.random() < 0.4 else "n" for i, good in truth.items()}
    return said, truth


def test_a_biased_judge_is_corrected() -> None:
    """Over 100 benchmarks the corrected interval holds the truth about 95 times; the judge's score is off."""
    covered, corrected, plain = 0, [], []
    for seed in range(100):
        said, truth = biased(200, seed)
        done, marks = log(said)
        table = build_verdict_table({"G1_tool": list(said)}, 1, done, marks)
        labels = LabelSet({("", "", i): truth[i] for i in list(truth)[:80]})
        row = corrected_rows("r", table, labels, panel_of_one("j", "x"))[0]
        covered += row["ci_low"] <= 50 <= row["ci_high"]
        corrected.append(row["value"])
        plain.append(100 * np.mean([word == "s" for word in said.values()]))

    assert covered >= 89
    assert np.mean(corrected) == pytest.approx(50, abs=1.5)
    assert np.mean(plain) == pytest.approx(70, abs=1.5)


def test_the_judge_s_errors_are_counted() -> None:
    """It misses no good answer, and finds six of ten bad ones."""
    said, truth = biased(400, 1)
    done, marks = log(said)
    table = build_verdict_table({"G1_tool": list(said)}, 1, done, marks)

    rows = corrected_rows(
        "r", table, LabelSet({("", "", i): t for i, t in truth.items()}), panel_of_one("j", "x")
    )

    found = {row["metric"]: row["value"] for row in rows if row["block"] == "judge"}
    assert found["sensitivity"] == 100.0
    assert found["specificity"] == pytest.approx(60, abs=7)


def test_a_group_without_labels_is_not_corrected() -> None:
    """And then neither is the average."""
    done, marks = log({"1": "s", "2": "n", "3": "s"})
    more, others = log({"1": "s", "2": "s"}, group="G2_category")
    expected = {"G1_tool": ["1", "2", "3"], "G2_category": ["1", "2"]}
    table = build_verdict_table(expected, 1, [*done, *more], [*marks, *others])
    labels = LabelSet({("", "G1_tool", i): 1.0 for i in "123"})

    rows = corrected_rows("r", table, labels, panel_of_one("j", "x"))

    assert [row["group"] for row in rows if row["block"] == "corrected"] == ["G1_tool"]


def test_score_takes_labels(run_stb, sqlite_store_url: str, tmp_path: Path) -> None:
    """Corrected rows stand beside the others, in a table of their own."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory(str(n)) for n in range(6)])
        await store.close()

    asyncio.run(fill())
    (tmp_path / "l.csv").write_text("query,label\n0,solved\n1,unsolved\n2,solved\n")

    rows = run_stb("score", "--judge", "rules", "--labels", "l.csv", "--json").document["rows"]
    shown = run_stb("score", "--judge", "rules", "--labels", "l.csv")

    corrected = next(r for r in rows if (r["block"], r["group"]) == ("corrected", "macro"))
    assert (corrected["n"], corrected["n_labelled"]) == (6, 3)
    assert "specificity" in shown.out
    assert shown.code == 0


def test_labels_that_change_nothing_are_said(run_stb, sqlite_store_url: str, tmp_path: Path) -> None:
    """In a note beneath the first line, not as an error; a file without any label is one."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory(str(n)) for n in range(6)])
        await store.close()

    asyncio.run(fill())
    (tmp_path / "l.csv").write_text("query,label\n0,solved\n1,solved\n77,solved\n78,solved\n")
    (tmp_path / "none.csv").write_text("query,label\n")
    note = "NOTE: 2 of 4 labels are for queries or runs that are not scored here (left out)."

    found = run_stb("score", "--judge", "rules", "--labels", "l.csv", "--json")
    shown = run_stb("score", "--judge", "rules", "--labels", "l.csv")
    refused = run_stb("score", "--judge", "rules", "--labels", "none.csv")

    assert (found.code, found.document["headline"][-1]) == (0, note)
    assert note in shown.out.splitlines()
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("stb: none.csv holds no label.")


def test_a_corrected_score_of_an_incomplete_run_is_incomplete() -> None:
    """So are the rows on the judge."""
    done, marks = log({"1": "s", "2": "n", "3": "s", "4": "e"})
    table = build_verdict_table({"G1_tool": list("1234")}, 1, done, marks)
    labels = LabelSet({("", "", query): 1.0 for query in "123"})

    assert {row["complete"] for row in corrected_rows("r", table, labels, panel_of_one("j", "r"))} == {False}
