"""Fidelity of simulators: released figures, floors, intervals, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from llm_server import text
from stb_core.errors import StbError
from stb_experiments.simulator_fidelity.answers import AnswerOutcome, RawAnswer, outcome_of
from stb_experiments.simulator_fidelity.bench import read_bench, read_reference, released_bleu4
from stb_experiments.simulator_fidelity.embeddings import CharacterTrigrams
from stb_experiments.simulator_fidelity.measures import _derangement, measure_split
from stb_experiments.simulator_fidelity.report import fidelity_rows, interval
from stb_experiments.simulator_fidelity.text_scores import Overlaps, bleu4, rouge

SPLITS = ("id_high", "id_low", "id_medium", "ood_failed")


def answer(response, error="") -> RawAnswer:
    """One answer as a model would write it."""
    return RawAnswer(json.dumps({"error": error, "response": response}))


@pytest.mark.parametrize("split", SPLITS)
def test_released_bleu_is_reproduced(real_data, split):
    """Character BLEU-4 of the stored predictions is within 1.5 points of the released figure."""
    folder = real_data / "mirrorapi_bench"
    cases = read_bench(folder / f"{split}.jsonl")

    scores = [
        bleu4(RawAnswer(case.prediction).released_form, RawAnswer(case.label).released_form) for case in cases
    ]

    assert released_bleu4(read_reference(folder), split) == pytest.approx(np.mean(scores), abs=1.5)


@pytest.mark.parametrize("split", SPLITS)
def test_strict_json_is_counted_as_released(real_data, split):
    """The number of raw predictions that are JSON equals the released count."""
    folder = real_data / "mirrorapi_bench"

    strict = sum(RawAnswer(case.prediction).is_strict for case in read_bench(folder / f"{split}.jsonl"))

    assert read_reference(folder)[split]["strict_json_predictions"] == strict


def test_most_real_outputs_are_usable_after_repair(real_data):
    """Of 400 real outputs 153 are JSON as they are, and 385 after repair."""
    answers = [RawAnswer(case.prediction) for case in read_bench(real_data / "mirrorapi_bench")]

    counts = sum(a.is_strict for a in answers), sum(a.fields is not None for a in answers)

    assert (153, 385) == counts


def test_quick_scores_equal_the_library():
    """The scores that the search for the best constant uses are those of the libraries."""
    rng = Random(1)
    texts = ["", "ab", "the same words", "the words", "\u00e9t\u00e9 \u4f60\u597d 12"]
    texts += ["".join(rng.choice("ab c") for _ in range(rng.randint(1, 40))) for _ in range(8)]
    quick = Overlaps(texts)

    pairs = [(a, b) for a in range(1, len(texts)) for b in range(1, len(texts))]

    assert [quick.bleu4(a, b) for a, b in pairs] == pytest.approx(
        [bleu4(texts[a], texts[b]) for a, b in pairs]
    )
    assert [quick.rouge_1(a, b) for a, b in pairs] == pytest.approx(
        [rouge(texts[a], texts[b])[0] for a, b in pairs]
    )


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"error": "", "response": "{}"}', "ERROR: \nRESPONSE: {}"),
        ('{"error": "a\nb", "response": ""}', 'ERROR: a\nb\nRESPONSE: "}'),
        ("no answer", "ERROR: None\nRESPONSE: None"),
    ],
)
def test_the_released_form_reads_what_is_no_json_by_pattern(text, form):
    """Closing marks stay in the response, and text without the pattern counts as None."""
    assert form == RawAnswer(text).released_form


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("", AnswerOutcome.OK),
        ("f() got an unexpected keyword argument 'x'", AnswerOutcome.UNEXPECTED_ARGUMENT),
        ("f() missing 1 required positional argument: 'x'", AnswerOutcome.MISSING_ARGUMENT),
        ("Tool input parse error...\n", AnswerOutcome.UNPARSED_INPUT),
        ("Message error...", AnswerOutcome.API_ERROR),
        ("Something else", AnswerOutcome.OTHER_ERROR),
    ],
)
def test_outcomes_are_told_by_the_error(error, outcome):
    """Each kind of ToolBench's error texts is its own kind of outcome."""
    assert outcome == outcome_of(error)


async def test_a_perfect_simulator_scores_full_marks():
    """Predictions equal to the real answers score 100 in all that is compared."""
    labels = [answer(str({"id": n, "name": f"n{n}"})) for n in range(5)] + [
        answer("", error="Message error...")
    ]

    measured = await measure_split(labels, labels, CharacterTrigrams(), seed=0)

    compared = (
        "bleu4",
        "bleu4_served",
        "rouge_1",
        "rouge_2",
        "rouge_l",
        "cosine",
        "error_kind",
        "schema_valid",
    )
    assert [pytest.approx(100.0)] * 8 == [measured.predictions[name].mean() for name in compared]


async def test_the_best_constant_is_the_label_that_scores_highest():
    """With one real answer given often, that answer is the constant, and its floor is high."""
    labels = [answer("{'movies': []}")] * 6 + [answer(f"{{'city': 'number {n}'}}") for n in range(3)]

    measured = await measure_split(labels, labels, CharacterTrigrams(), seed=0)

    assert {labels[0].text} == set(measured.constants.values())
    assert measured.constant["bleu4"].mean() > 66
    assert measured.shuffled["bleu4"].mean() < 100


async def test_an_answer_of_another_shape_is_not_valid():
    """A missing member, another type, a success in the place of an error: each is invalid."""
    label, error = answer("{'id': 1, 'name': 'x'}"), answer("", error="Message error...")
    predictions = [
        answer("{'id': 2, 'name': 'y', 'z': 0}"),
        answer("{'id': 2}"),
        answer("{'id': 'a', 'name': 'x'}"),
    ]

    measured = await measure_split(
        [*predictions, answer("{'id': 1}")], [label, label, label, error], CharacterTrigrams(), seed=0
    )

    assert [100, 0, 0, 0] == measured.predictions["schema_valid"].tolist()


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_shuffle_leaves_nothing_in_its_place(count):
    """Every call gets the answer of another call."""
    order = _derangement(count, Random(count))

    assert sorted(order) == list(range(count))
    assert not any(order == np.arange(count))


def test_an_interval_is_the_same_for_the_same_seed_and_holds_the_mean():
    """Bootstrap intervals are reproducible; cases that cannot be measured do not count."""
    values = np.array([0.0, 50.0, 100.0, np.nan])

    mean, low, high = interval(values, seed=3)

    assert (mean, low, high) == interval(values, seed=3)
    assert mean == 50
    assert low < mean < high
    assert interval(np.array([np.nan]), seed=0) == (None, None, None)


async def test_splits_are_pooled_case_by_case():
    """The last block counts every case of every split once."""
    small = await measure_split(
        [answer("a"), answer("b")], [answer("a"), answer("c")], CharacterTrigrams(), seed=0
    )

    rows = fidelity_rows({"one": small, "two": small}, seed=0)

    assert [4, 4] == [
        row[n] for row in rows if (row["split"], row["metric"]) == ("all", "bleu4") for n in ("n", "n_total")
    ]


def test_the_command_reports_every_figure_beside_both_floors(stb, tmp_path):
    """JSON rows carry value, interval and floors; the folder holds the report and the cases."""
    rows = [
        {"api_doc": {}, "request": {}, "prediction": answer(p).text, "label": answer(real).text}
        for p, real in [("{'a': 1}", "{'a': 2}"), ("{'b': 'x'}", "{'c': 'y'}"), ("[1, 2, 3]", "[1, 2, 4]")]
    ]
    bench = tmp_path / "mine.jsonl"
    bench.write_text("".join(json.dumps(row) + "\n" for row in rows))

    done = stb("experiment", "simulator", "--bench", bench, "-o", tmp_path / "out", "--json")

    assert (0, "") == (done.returncode, done.stderr)
    document = json.loads(done.stdout)
    row = next(row for row in document["rows"] if row["metric"] == "bleu4")
    assert {"ci_low", "ci_high", "floor_constant", "floor_shuffled", "n"} <= row.keys()
    assert {"mine": {"strict": 3}} == document["outputs"]
    assert document == json.loads((tmp_path / "out" / "fidelity.json").read_text())
    assert 3 == len((tmp_path / "out" / "cases.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no bench at mine.jsonl."),
        ("", "mine.jsonl holds no rows."),
        ("{}", "Line 1 of mine.jsonl is not a bench row."),
        ('{"api_doc": {}, "request": {}, "label": "x"', "Line 1 of mine.jsonl is not a bench row."),
        ('{"api_doc": {}, "request": {}, "label": 5}', "Line 1 of mine.jsonl is not a bench row."),
    ],
)
def test_bad_benches_are_named(tmp_path, monkeypatch, content, message):
    """A missing file, an empty one, and lines that are no rows are named with what to do."""
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "mine.jsonl").write_text(content)

    with pytest.raises(StbError) as raised:
        read_bench(Path("mine.jsonl"))

    assert message == raised.value.message
    assert raised.value.hint


def test_a_row_without_prediction_is_named_in_one_line(stb, tmp_path):
    """The command says which row it is and what to do, and writes nothing."""
    (tmp_path / "mine.jsonl").write_text('{"api_doc": {}, "request": {}, "label": "x"}')

    done = stb("experiment", "simulator", "--bench", "mine.jsonl")

    assert (2, "stb: Row 1 of split mine has no prediction.") == (done.returncode, done.stderr[:43])


CALLED = {
    "api_doc": {
        "api_name": "Films",
        "api_description": "Films by title",
        "required_parameters": [{"name": "title", "type": "STRING", "description": "", "default": ""}],
        "optional_parameters": [],
        "tool_description": "Finds films",
        "tool_name": "Film Finder",
        "tool_category": "Movies",
    },
    "label": answer("{'count': 1}").text,
}
REQUESTS = ({"tool_input": '{"title": "Alien"}'}, {"tool_input": '{"actor": "x"}'}, {"tool_input": "{} {}"})


@pytest.mark.parametrize(
    ("simulator", "reply"),
    [
        ("llm", '{"answer": {"response": {"count": 2}}}'),
        ("mirrorapi", '{"error": "", "response": {"count": 2}}'),
    ],
)
def test_a_simulator_is_asked_and_scored(llm, stb, tmp_path, simulator, reply):
    """Answers, refusals by rule and unusable input are what a client of the server would get."""
    bench = tmp_path / "mine.jsonl"
    bench.write_text("".join(json.dumps({**CALLED, "request": request}) + "\n" for request in REQUESTS))
    llm.rule = lambda body: (
        text('{"reason": "fine", "adheres": true}')
        if "adheres" in json.dumps(body)
        else text(f"Sure: {reply}")
    )

    done = stb(
        *("experiment", "simulator", "--bench", bench, "--simulator", simulator, "--json"),
        *("--simulator-model", "stub/any", "--judge", "stub/judge", "--embedding", "stub/vectors"),
        *("-o", tmp_path / "out"),
        env={"STUB_BASE_URL": llm.url},
    )

    assert (0, "") == (done.returncode, done.stderr)
    document = json.loads(done.stdout)
    rows = {row["metric"]: row for row in document["rows"]}
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    first, second, third = (json.loads(json.loads(line)["prediction"]) for line in lines)
    assert {"error": "", "response": {"count": 2}} == first
    assert "films() got an unexpected keyword argument 'actor'" == second["error"]
    assert third["error"].startswith("tool_input is not one JSON object")
    assert ({"words_around": 1}, 1) == (
        document["simulator"]["replies"],
        document["simulator"]["usage"]["model_calls"],
    )
    assert (3, 3) == (document["simulator"]["calls"], document["simulator"]["answered"])
    assert document["simulator"]["seconds_per_call"] >= 0
    assert (100, 100, "stub/vectors") == (
        rows["adherence"]["value"],
        rows["adherence"]["real"],
        document["embedding"],
    )
    assert pytest.approx(100 / 3) == rows["schema_valid"]["value"]
