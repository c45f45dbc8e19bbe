"""An evaluator folder in the official form judges as it says, in its own words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import Answer, Json, LLMServer, call, sample, status, text
from stb_core.errors import FormatError, NotFoundError
from stb_core.llm.protocol import Reply, Request
from stb_core.llm.scripted import ScriptedModel
from stb_core.store import open_store
from stb_core.values.trajectories import FunctionCall
from stb_core.values.verdicts import Status
from stb_evaluator.judges.judge import Case
from stb_evaluator.judges.official_form import OfficialJudge, OfficialPairJudge, load_evaluator
from stb_evaluator.judges.pairs import Pair

CONFIG = """
evaluator_name: ours
prompt_template: template.txt
apis_json: nowhere.json
completions_kwargs:
  model: any
  temperature: 0.2
  max_tokens: 50
  functions:
    - name: check_answer_status
      description: say it
      parameters: &answer
        type: object
        properties: {answer_status: {type: string, enum: [Unsure, Unsolved, Solved]}}
        required: [answer_status]
    - name: parse_answer_status
      parameters: *answer
    - name: select_better_answer
      parameters: {type: object, properties: {index: {type: number}}, required: [index]}
"""
TEMPLATE = """
<function><name>check_answer_status</name><description>Q {query} A {answer} {not_a_place}</description></function>
<function><name>parse_answer_status</name><description>ALL {query} {answer}</description></function>
<function><name>select_better_answer</name><description>{query} 0: {answer_0} 1: {answer_1}</description></function>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evaluator folder with words of our own."""
    made = tmp_path / "evaluator"
    made.mkdir()
    (made / "config.yaml").write_text(CONFIG)
    (made / "template.txt").write_text(TEMPLATE)
    return made


def says(**arguments: object) -> Reply:
    return Reply(tool_calls=(FunctionCall(id="1", name="f", arguments=json.dumps(arguments)),))


async def test_an_answer_is_judged_by_the_folder_s_words(folder: Path) -> None:
    """The function is forced, the places are filled once, braces in an answer are left alone."""
    model = ScriptedModel([says(answer_status="Solved")])
    answer = 'See {query} and {"a": 1}.'

    found = await OfficialJudge(model, load_evaluator(folder)).judge(Case(trajectory(answer=answer)), 0)

    (request,) = model.requests
    assert found.status is Status.SOLVED
    assert (request.tool_choice, request.temperature, request.max_tokens) == ("check_answer_status", 0.2, 50)
    assert "See {query}" in str(request.messages[0].content)
    assert str(request.messages[0].content).endswith("{not_a_place}")


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([says(answer_status="Unsure"), says(answer_status="Unsolved")], Status.UNSOLVED),
        ([says(answer_status="solved")], Status.SOLVED),
        ([says(answer_status=" UNSOLVED ")], Status.UNSOLVED),
        ([says(answer_status="solved?"), says(answer_status="Solved")], Status.SOLVED),
        ([says(answer_status=["Solved"]), says(status="Solved"), says()], Status.ERROR),
        ([Reply(content="Solved"), Reply(), Reply()], Status.ERROR),
    ],
)
async def test_unsure_asks_again_and_odd_replies_are_errors(
    folder: Path, replies: list[Reply], expected: Status
) -> None:
    """The second question shows the whole answer; nothing is guessed."""
    model = ScriptedModel(replies)

    found = await OfficialJudge(model, load_evaluator(folder)).judge(Case(trajectory()), 0)

    assert found.status is expected
    assert len(found.raw) == len(replies)


@pytest.mark.parametrize(
    ("index", "expected"), [(0, Status.SOLVED), (1, Status.UNSOLVED), (2, Status.ERROR), (True, Status.ERROR)]
)
async def test_pairs_are_compared_by_index(folder: Path, index: object, expected: Status) -> None:
    """Out of range is an error, not a coin."""
    model = ScriptedModel(lambda _: says(index=index))
    pair = Pair(trajectory(answer="one"), None, "What?")

    assert (await OfficialPairJudge(model, load_evaluator(folder)).prefer(pair, 0)).status is expected


def test_the_hash_covers_both_files(folder: Path) -> None:
    """A change of a word is another rubric."""
    before = load_evaluator(folder).hash
    (folder / "template.txt").write_text(TEMPLATE.replace("ALL", "EVERYTHING"))

    assert load_evaluator(folder).hash != before


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (None, NotFoundError),
        ("a: [", FormatError),
        ("prompt_template: template.txt", FormatError),
        ("prompt_template: gone.txt\ncompletions_kwargs: {functions: []}", FormatError),
        (
            "prompt_template: template.txt\ncompletions_kwargs: {functions: [{name: 'a b', parameters: {}}]}",
            FormatError,
        ),
        ("[1]", FormatError),
    ],
)
def test_a_folder_that_is_none_says_so(folder: Path, config: str | None, error: type[Exception]) -> None:
    """In one line."""
    if config is None:
        (folder / "config.yaml").unlink()
    else:
        (folder / "config.yaml").write_text(config)

    with pytest.raises(error) as found:
        load_evaluator(folder)

    assert len(str(found.value).splitlines()) == 1


async def test_a_function_that_is_lacking_is_named(folder: Path) -> None:
    """When it is needed."""
    (folder / "template.txt").write_text("")

    with pytest.raises(FormatError, match="has no function check_answer_status"):
        await OfficialJudge(ScriptedModel([]), load_evaluator(folder)).judge(Case(trajectory()), 0)


def test_score_takes_a_folder(
    run_stb, folder: Path, sqlite_store_url: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its verdicts are kept apart from those by our rubric, and asked in the current form of tools."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory("1")])
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda body: call(body["tool_choice"]["function"]["name"], answer_status="Solved")

    rows = run_stb("score", "--judge", "stub/any", "--rounds", "1", "--evaluator", folder, "--json").document[
        "rows"
    ]

    assert rows[0]["value"] == 100.0
    assert rows[0]["rubric"] == OfficialJudge(ScriptedModel([]), load_evaluator(folder)).rubric
    assert llm.requests[0]["tools"][0]["type"] == "function"


SYSTEM = "gpt-secret_dfs"


def converted(answer: str, method: str | None) -> dict[str, object]:
    """An answer that says how it was found, or does not."""
    finish = json.dumps({"return_type": "give_answer", "final_answer": answer})
    last = {"role": "tool", "message": {"name": "Finish", "arguments": finish, "response": ""}, "next": []}
    named = {} if method is None else {"method": method}
    whole = {**named, "total_steps": 1, "final_answer": finish, "answer_details": [last]}
    return {"query": "What?", "available_tools": [], "answer": whole}


def judged(answer: str) -> dict[str, object]:
    """A record of ``pass_rate_results``, which says nothing of a method."""
    finish = json.dumps({"return_type": "give_answer", "final_answer": answer})
    step = {"name": "Finish", "arguments": finish, "response": ""}
    return {
        "query": "What?",
        "tool_names": [],
        "answer_steps": f"Step 1: {step}",
        "final_step": f"Final step: {step}",
        "is_solved": {"0": "AnswerStatus.Solved"},
    }


def unsure(body: Json) -> Answer:
    """Makes every judge look at all that it may see."""
    if "tool_choice" in body:
        name = body["tool_choice"]["function"]["name"]
        return call(name, index=0) if name == "select_better_answer" else call(name, answer_status="Unsure")
    asked = body["response_format"]["json_schema"]["name"]
    if asked == "correctness":
        return text(json.dumps(sample(body["response_format"]["json_schema"]["schema"], "")))
    said = {"better": "neither"} if asked == "preference" else {"answer_status": "unsure"}
    return text(json.dumps({"reason": "", **said}))


@pytest.fixture(name="systems")
def _systems(run_stb, tmp_path: Path, llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Imported runs of three systems whose names no judge is to see, and a judge that is never sure."""
    records = {"a": converted("One.", "DFS_woFilter_w2"), "b": converted("Two.", None), "c": judged("Three.")}
    for ending, record in records.items():
        path = tmp_path / "theirs" / ending / f"{SYSTEM}_{ending}" / "G1_tool.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"7": record}))
        run_stb("import", path.parent, "--json")
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = unsure
    return [f"{SYSTEM}_{ending}" for ending in records]


@pytest.mark.parametrize("own_rubric", [True, False])
@pytest.mark.parametrize(
    "command",
    [
        ("score", "--metric", "sopr"),
        ("score", "--metric", "fac"),
        ("compare", "--metric", "sowr"),
        ("compare", "--metric", "sowr", "--block", "reference"),
        ("experiment", "judge"),
    ],
    ids=["sopr", "fac", "sowr", "sowr-reference", "tried"],
)
def test_no_judge_is_shown_the_name_of_an_imported_system(
    run_stb, folder: Path, llm: LLMServer, systems: list[str], command: tuple[str, ...], *, own_rubric: bool
) -> None:
    """Neither by our rubrics nor by an evaluator folder, however sure it is."""
    head, *options = command
    words = [head, options.pop(0)] if head == "experiment" else [head]
    by = ["--judge", "stub/any"] + ([] if own_rubric else ["--evaluator", str(folder)])

    run_stb(*words, *systems, *options, *by)

    assert llm.count > 0
    assert [body for body in llm.requests if SYSTEM in json.dumps(body)] == []


def test_a_judge_is_told_the_method_that_an_imported_answer_names(
    run_stb, folder: Path, llm: LLMServer, systems: list[str]
) -> None:
    """When it sees the whole answer alone, as in the published code; of others it is told none."""
    run_stb("score", *systems, "--judge", "stub/any", "--rounds", "1", "--evaluator", folder)

    whole = [text for body in llm.requests if "ALL" in (text := body["messages"][0]["content"])]
    methods = [json.loads(text[text.index("{") :]).get("method", "") for text in whole]
    assert methods == ["DFS_woFilter_w2", "", ""]


async def test_a_pair_is_shown_without_methods(folder: Path) -> None:
    """A judge of two answers does not learn by which agents they were found; its verdicts stand apart."""
    model = ScriptedModel(lambda _: says(index=0))
    evaluator = load_evaluator(folder)
    judge = OfficialPairJudge(model, evaluator)
    pair = Pair(trajectory(answer="one"), trajectory(answer="two"), "What?")

    await judge.prefer(pair, 0)
    await judge.prefer(pair.swapped, 0)

    assert ['"method"' in str(request.messages[0].content) for request in model.requests] == [False, False]
    assert judge.rubric != evaluator.hash


def test_requests_are_hashable(folder: Path) -> None:
    """The same question is the same request."""
    evaluator = load_evaluator(folder)

    one, other = (
        evaluator.request("check_answer_status", 0, with_reason=True, query="q", answer="a") for _ in range(2)
    )

    assert isinstance(one, Request)
    assert one.hash == other.hash


async def test_a_judge_is_asked_why_where_the_published_code_asks(folder: Path) -> None:
    """Of a single answer and of two, but not when an answer is judged again within a pair."""
    model = ScriptedModel(lambda request: says(index=0, answer_status="Solved"))
    evaluator = load_evaluator(folder)
    answer, pairs = trajectory(), OfficialPairJudge(model, evaluator)

    await OfficialJudge(model, evaluator).judge(Case(answer), 0)
    await pairs.judge(Case(answer), 0)
    await pairs.prefer(Pair(answer, trajectory(answer="two"), "What?"), 0)

    required = [request.functions[0].parameters["required"] for request in model.requests]
    assert required == [["answer_status", "reason"], ["answer_status"], ["index", "reason"]]
    assert "reason" not in str(evaluator.functions["check_answer_status"].parameters)


def test_the_limit_has_the_name_that_the_folder_uses(
    run_stb, folder: Path, sqlite_store_url: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the newer name once an endpoint has refused the older."""
    refusal = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory("1"), trajectory("2")])
        await store.close()

    def strict(body: Json) -> Answer:
        name = body["tool_choice"]["function"]["name"]
        return status(400, refusal) if "max_tokens" in body else call(name, answer_status="Solved")

    asyncio.run(fill())
    monkeypatch.setenv("OPENAI_BASE_URL", llm.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    llm.rule = strict
    by = "--judge", "openai/any-2024-01-01", "--evaluator", folder, "--max-connections", "1"

    found = run_stb("score", *by, "--rounds", "1", "--no-anchors", "--json")

    asked = [[name for name in body if name.startswith("max_")] for body in llm.requests]
    assert found.document["rows"][0]["value"] == 100.0
    assert asked == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]
