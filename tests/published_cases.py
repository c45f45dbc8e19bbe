"""Answers and judges on which the published evaluator was run, for tests that compare our figures with its own.

The answers are those of the real data, changed where a case needs it. The judges are rules, and ask in words of our own,
so that both evaluators send the same prompts. ``make_published_figures.py`` runs the published code on the same
cases and writes ``published_figures.json``.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from llm_server import Answer, Json, call, text

GROUP = "G1_instruction"
BETTER, SOLVABLE = "select_better_answer", "check_task_solvable"
FIGURES = Path(__file__).with_name("published_figures.json")

CONFIG = """
evaluator_name: words of our own
registered_cls_name: ReinforceToolLearningEvaluator
prompt_template: template.txt
fn_completions: normalized_openai_completions
apis_json: nowhere.json
completions_kwargs:
  model: any
  max_tokens: 1000
  temperature: 0.2
  timeout: 10
  functions:
    - name: check_answer_status
      description: say whether the answer is right
      parameters:
        type: object
        properties: {answer_status: {type: string, enum: [Unsure, Unsolved, Solved]}}
        required: [answer_status]
    - name: parse_answer_status
      description: say whether the whole is right
      parameters:
        type: object
        properties: {answer_status: {type: string, enum: [Unsure, Unsolved, Solved]}}
        required: [answer_status]
    - name: check_task_solvable
      description: say whether it can be done
      parameters:
        type: object
        properties: {task_status: {type: string, enum: [Unsure, Unsolvable, Solvable]}}
        required: [task_status]
    - name: select_better_answer
      description: say which is better
      parameters:
        type: object
        properties: {index: {type: number, description: of the better one}}
        required: [index]
fn_completion_parser: index_parser
"""
TEMPLATE = """
<function><name>check_answer_status</name><description>
{query}
{answer}
</description></function>
<function><name>parse_answer_status</name><description>
{query}
{answer}
</description></function>
<function><name>check_task_solvable</name><description>
{task}
</description></function>
<function><name>select_better_answer</name><description>
{query}
{answer_0}
{answer_1}
</description></function>
"""

CORRECTNESS_REPLIES = (
    '{"reason": "all is there", "answer_status": "Solved"}',
    '{"reason": "nothing is there", "answer_status": "Unsolved"}',
    '{"reason": "no part was left unsolved", "answer_status": "Solved"}',
    "I cannot say.",
)

Rule = Callable[[Json], Answer]
Records = dict[str, Json]
"""Converted answers by query id."""


@dataclass(frozen=True)
class Case:
    """What an evaluator is given: answers by system, the expected ids, and the judge.

    ``systems`` of two are compared, the second is the reference. ``earlier`` is a file of verdicts from before.
    """

    systems: Mapping[str, Records]
    ids: Sequence[str]
    judge: Callable[[], Rule]
    rounds: int = 3
    compares: bool = False
    earlier: Mapping[str, Json] = field(default_factory=dict)


def write_evaluator(folder: Path) -> Path:
    """An evaluator folder in the official form, in words of our own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "template.txt").write_text(TEMPLATE)
    return folder


def prompt_of(body: Json) -> tuple[str, str]:
    """(function, prompt) of a request."""
    return body["tool_choice"]["function"]["name"], body["messages"][0]["content"]


def hash_of_prompt(body: Json) -> str:
    """What is kept of a request: its function and the beginning of the SHA-256 of its prompt.

    The order in which two answers are shown is left to chance, so it does not count.
    """
    name, prompt = prompt_of(body)
    if name == BETTER:
        *head, first, second, end = prompt.split("\n")
        prompt = "\n".join([*head, *sorted((first, second)), end])
    return f"{name}:{short_hash(prompt)}"


def short_hash(text: str) -> str:
    """The beginning of a text's SHA-256."""
    return sha256(text.encode()).hexdigest()[:16]


def frame_of(body: Json) -> Json:
    """All of a request that is alike for all answers: the functions and the settings."""
    return {name: body.get(name) for name in ("tools", "tool_choice", "max_tokens", "temperature")}


def digest(text: str) -> int:
    """A number that only the text decides."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _reply(name: str, status: str, index: int) -> Answer:
    if name == BETTER:
        return call(name, index=index, reason="r")
    if name == SOLVABLE:
        return call(name, task_status="Solvable", reason="r")
    return call(name, answer_status=status, reason="r")


def _answers(prompt: str) -> list[str]:
    """The final answers that a prompt compares."""
    return [json.loads(line)["final_answer"] for line in prompt.strip().split("\n")[-2:]]


def _better(prompt: str) -> int:
    first, second = map(digest, _answers(prompt))
    return 0 if first >= second else 1


def by_prompt() -> Rule:
    """One of three verdicts by every byte of the prompt; of two answers one, in whichever order."""

    def rule(body: Json) -> Answer:
        name, prompt = prompt_of(body)
        index = _better(prompt) if name == BETTER else 0
        return _reply(name, ("Unsure", "Unsolved", "Solved")[digest(prompt) % 3], index)

    return rule


def by_round() -> Rule:
    """As ``by_prompt``, with another verdict when it is asked the same again."""
    asked: Counter[str] = Counter()

    def rule(body: Json) -> Answer:
        name, prompt = prompt_of(body)
        asked[name + prompt] += 1
        number = digest(f"{prompt}{asked[name + prompt]}")
        return _reply(name, ("Unsure", "Unsolved", "Solved")[number % 3], 0)

    return rule


def approving() -> Rule:
    """Everything is solved, and the first answer is better."""
    return lambda body: _reply(prompt_of(body)[0], "Solved", 0)


def alternating() -> Rule:
    """Everything is solved; of two answers now the one is better, now the other."""
    asked: Counter[frozenset[str]] = Counter()

    def rule(body: Json) -> Answer:
        name, prompt = prompt_of(body)
        if name != BETTER:
            return _reply(name, "Solved", 0)
        pair = frozenset(_answers(prompt))
        asked[pair] += 1
        better = _better(prompt)
        return _reply(name, "Solved", better if asked[pair] % 2 else 1 - better)

    return rule


def by_query(case: Case) -> Rule:
    """A judge of correctness, who says something else about each query: four kinds of reply in turn."""
    systems = next(iter(case.systems.values()))
    replies = {record["query"]: number for number, record in enumerate(systems.values())}

    def rule(body: Json) -> Answer:
        prompt = body["messages"][-1]["content"]
        number = next(number for query, number in replies.items() if query in prompt)
        return text(CORRECTNESS_REPLIES[number % len(CORRECTNESS_REPLIES)])

    return rule


def write_converted(case: Case, folder: Path) -> None:
    """The answers of a case as ``<system>/<group>.json``."""
    for system, records in case.systems.items():
        (folder / system).mkdir(parents=True, exist_ok=True)
        (folder / system / f"{GROUP}.json").write_text(json.dumps(records))


@cache
def _read(path: Path) -> str:
    return path.read_text()


def _system(data: Path, name: str) -> Records:
    found: Records = json.loads(_read(data / "sowr_reference" / name / f"{GROUP}.json"))
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def cases(data: Path) -> dict[str, Case]:
    """All cases by name."""
    cot, dfs, scripted = (_system(data, name) for name in ("ourcot", "refdfs", "ourscripted"))
    ids = list(cot)
    example = {
        name: json.loads(_read(data / "model_predictions_converted" / name / f"{GROUP}.json"))
        for name in ("virtual_chatgpt_cot", "virtual_chatgpt_dfs")
    }
    three = {"ourcot": cot, "refdfs": dfs, "ourscripted": scripted}
    pair = {"ourcot": cot, "refdfs": dfs}
    cut = json.loads(_read(data / "trajectories" / "gpt-3.5-turbo_CoT" / f"{GROUP}.json"))
    return {
        "pass": Case(three, ids, by_prompt),
        "pass, published examples": Case(example, list(example["virtual_chatgpt_cot"]), by_prompt),
        "pass, cut messages": Case({"chatgpt": cut}, list(cut), by_prompt, rounds=1),
        "rounds": Case(three, ids, by_round, rounds=4),
        "missing": Case({"ourcot": _without(cot, ids[:3])}, ids, by_prompt),
        "ids": Case({"ourcot": cot}, ids[2:9], by_prompt),
        "gaps": Case({"refdfs": dfs}, ids, by_prompt, earlier=_interrupted(dfs, ids[:5])),
        "gate": Case({"odd": _odd(cot)}, ids, approving),
        "win": Case(pair, ids, by_prompt, compares=True),
        "win, missing": Case(
            {"ourcot": _without(cot, ids[1:4]), "refdfs": _without(dfs, ids[3:5])},
            ids,
            by_prompt,
            compares=True,
        ),
        "win, ties": Case(pair, ids, alternating, rounds=2, compares=True),
        "win, majority": Case(pair, ids, alternating, rounds=3, compares=True),
        "win, order": Case(pair, ids, approving, rounds=8, compares=True),
        "win, identical": Case({"ourcot": cot, "same": cot}, ids, approving, rounds=8, compares=True),
        "win, examples": Case(example, list(example["virtual_chatgpt_cot"]), by_prompt, compares=True),
    }


def _without(records: Records, ids: Sequence[str]) -> Records:
    return {name: record for name, record in records.items() if name not in ids}


def _interrupted(records: Records, ids: Sequence[str]) -> dict[str, Json]:
    """A file of verdicts that was written until the evaluator was stopped in the middle of the last one."""
    found = {}
    for number, name in enumerate(ids):
        rounds = 1 if number == len(ids) - 1 else 3
        verdicts = {str(one): f"AnswerStatus.{'Solved' if number % 2 else 'Unsure'}" for one in range(rounds)}
        found[name] = verdict_record(records[name], verdicts)
    return found


def verdict_record(record: Json, verdicts: Json) -> Json:
    """A record of ``pass_rate_results`` that shows the last call alone."""
    last = str(_last(record)["message"])
    return {
        "query": record["query"],
        "tool_names": [],
        "answer_steps": f"Step 1: {last}",
        "final_step": f"Final step: {last}",
        "is_solved": verdicts,
    }


def _last(record: Json) -> Json:
    node: Json = record["answer"]["answer_details"][0]
    while node["next"]:
        node = node["next"][0]
    return node


def _odd(records: Records) -> Records:
    """Answers whose text and structure say different things."""
    found = copy.deepcopy(records)
    names = list(found)

    def finish(name: str, **arguments: str) -> None:
        text = json.dumps(arguments)
        found[name]["answer"]["final_answer"] = text
        _last(found[name])["message"]["arguments"] = text

    finish(names[0], return_type="give_answer", final_answer="Type give_up_and_restart to begin again.")
    finish(names[1], return_type="give_answer", final_answer="")
    finish(names[2], return_type="give_up_and_restart")
    found[names[2]]["answer"]["final_answer"] = ""
    quoting = _last(found[names[3]])["message"]
    quoting |= {"name": "quote_for_tool", "arguments": "{}", "response": "{'name': 'Finish'}"}
    found[names[4]]["answer"]["final_answer"] = ""
    _last(found[names[5]])["message"] |= {"name": "search_for_tool", "arguments": "{}", "response": "found"}
    return found


def raw_folders(data: Path) -> dict[Path, str]:
    """Folders of raw answers, and the method that their converter is told."""
    found = sorted(path for path in (data / "answers").glob("*/*") if path.is_dir())
    return {path: "CoT@1" if path.parent.name.endswith("cot") else "DFS_woFilter_w2" for path in found}


def is_left_to_chance(raw: Json) -> bool:
    """Whether the published converter takes a path of a search by chance."""
    return "tree" in raw and not raw["answer_generation"]["valid_data"]


def figures() -> dict[str, Any]:
    """What the published code made of the cases, by name."""
    return dict(json.loads(FIGURES.read_text()))
