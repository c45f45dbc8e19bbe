"""The text protocol: what models write is read tolerantly, and the loop goes on by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_world import QUERIES, environment_of
from llm_server import LLMServer, text
from stb_agents.builtin.react import NO_ACTION, React, with_functions
from stb_agents.builtin.react_format import STOP, ReactTurn, cut_observation, parse_turn
from stb_agents.environment.agent import Outcome, Task
from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import UsageError
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint, Reply
from stb_core.llm.scripted import ScriptedModel
from stb_core.values.trajectories import StopReason

TASK = Task(QUERIES[0])
CALL = ReactTurn("I look.", "search", '{"city": "Oslo"}')
ACT = 'Thought: I look.\nAction: current_for_sky_watch\nAction Input: {"city": "Velmora"}'
ANSWER = 'Thought: Done.\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "10"}'


@pytest.mark.parametrize(
    "written",
    [
        'Thought: I look.\nAction: search\nAction Input: {"city": "Oslo"}',
        '  thought : I look.\n  action : search\n  action input : {"city": "Oslo"}\n',
        '**Thought:** I look.\n**Action:** `search`\n**Action Input:** {"city": "Oslo"}',
        '### Thought: I look.\n### Action: "search"\n### Action_Input: {"city": "Oslo"}',
        'Thought: I look.\nAction: search\nAction Input:\n```json\n{"city": "Oslo"}\n```\nThat should do.',
        'I look.\nAction: search\nAction Input: {"city": "Oslo"} and then we see.',
        'Thought: I look.\nAction: search({"city": "Oslo"})',
        'Thought: I look.\nAction: search()\nAction Input: {"city": "Oslo"}\nObservation: {"made": "up"}\nAction: x',
        'Thought: I look.\nAction: [search]\nAction Input: {"city": "Oslo"}\nThought: More.\nAction: other',
    ],
)
def test_a_call_is_read_however_it_is_decorated(written: str) -> None:
    """The first action, its arguments, and the thought before it."""
    assert parse_turn(written) == CALL


@pytest.mark.parametrize(
    ("written", "is_read"),
    [
        ("Let me think about it.", ReactTurn("Let me think about it.")),
        ("", ReactTurn("")),
        ("Thought: Hm.\nObservation: nothing\nAction: x", ReactTurn("Hm.")),
        ("Action: search", ReactTurn("", "search", "")),
        ('Action: search\nAction Input: {"city": ', ReactTurn("", "search", '{"city":')),
        ("Action: search\nAction Input: Oslo", ReactTurn("", "search", "Oslo")),
        ("Action:\nAction Input: {}", ReactTurn("", "", "{}")),
        (
            "Thought: Done.\nFinal Answer: It is 10.\nReally.",
            ReactTurn(
                "Done.",
                "Finish",
                json.dumps({"return_type": "give_answer", "final_answer": "It is 10.\nReally."}),
            ),
        ),
    ],
)
def test_what_is_no_proper_call_is_read_as_what_it_is(written: str, is_read: ReactTurn) -> None:
    """Words, a call without arguments or with torn ones, an answer in ReAct's own form."""
    assert parse_turn(written) == is_read


FILMS = "Films by genre:\n- Action: Mad Max\n- Comedy: Airplane\nThought: none.\nAction Input: {}"


@pytest.mark.parametrize("behind", ["", '\nObservation: {"made": "up"}\nThought: More.'])
def test_a_final_answer_is_all_that_follows(behind: str) -> None:
    """Lines of it may look like labels; only an observation that the model made up ends it."""
    answer = json.dumps({"return_type": "give_answer", "final_answer": FILMS})

    written = f"Thought: Done.\nFinal Answer: {FILMS}{behind}"

    assert parse_turn(written) == parse_turn(cut_observation(written)) == ReactTurn("Done.", "Finish", answer)


@pytest.mark.parametrize(
    "form",
    [
        "Action Input: {}\nThat should do.",
        "**Action Input:** `{}`",
        "Action Input:\n```json\n{}\n```\nObservation: made up",
        "Action Input: ```json\n{}\n```",
        "__Action Input:__{}\nAction: other\nAction Input: {{}}",
    ],
)
def test_arguments_may_hold_raw_line_breaks(form: str) -> None:
    """And so lines that look like labels, or a fence; they are handed on as the JSON that was meant."""
    raw = '{\n "note": "one\nAction: x\n* Observation: y\n```\nfour",\n "n": 1.0}'

    written = parse_turn(cut_observation(f"Action: search\n{form.format(raw)}"))

    assert written.arguments == '{\n "note": "one\\nAction: x\\n* Observation: y\\n```\\nfour",\n "n": 1.0}'
    assert written.action == "search"


def test_torn_arguments_end_at_the_next_label() -> None:
    """They are no object, so the lines that follow are read."""
    written = 'Action: search\nAction Input: {"city": "Oslo\nObservation: {"made": "up"}'

    assert (
        parse_turn(written)
        == parse_turn(cut_observation(written))
        == ReactTurn("", "search", '{"city": "Oslo')
    )


@pytest.mark.parametrize("name", ["_vip_for_x", "__init__", "vip_", "vip_for_x"])
@pytest.mark.parametrize(
    "form",
    [
        "Action: {}\nAction Input: {{}}",
        "Action:{}\nAction Input: {{}}",
        "**Action:** `{}()`\nAction Input: {{}}",
        "__Action:__ **{}**\nAction Input: {{}}",
        "__Action:__\n{}\nAction Input: {{}}",
        "Action: {}({{}})",
    ],
)
def test_underscores_of_a_name_are_kept(name: str, form: str) -> None:
    """Names are the ends of longer ones, and may begin with an underscore."""
    written = form.format(name)

    assert parse_turn(written) == parse_turn(written, {name, name.strip("_")}) == ReactTurn("", name, "{}")


@pytest.mark.parametrize("bold", ["_search_", "__search__", "__search__({})", "_**search**_"])
def test_a_known_name_in_bold_underscores_is_read_without_them(bold: str) -> None:
    """Unless the name with them is known as well."""
    written = f"Action: {bold}" if "(" in bold else f"Action: {bold}\nAction Input: {{}}"

    assert parse_turn(written, {"search", "Finish"}) == ReactTurn("", "search", "{}")


@pytest.mark.parametrize(
    "written",
    [
        "<think>\nAction: x\nAction Input: {{}}\nObservation: y\n</think>\n{}",
        "\n<think>Final Answer: 9\n</think>{}",
        "<think>\nThought: Hm.\n</think>\n\n<think>\nAction: x\n</think>\n{}",
    ],
)
def test_thinking_is_not_read(written: str) -> None:
    """What looks like a label in it is none; what is cut from the reply stands behind it."""
    written = written.format('Thought: I look.\nAction: search\nAction Input: {"city": "Oslo"}')

    assert cut_observation(f"{written}\nObservation: y") == written
    assert parse_turn(written) == CALL


@pytest.mark.parametrize("name", ["finish", "FINISH", "**finish**"])
def test_finish_is_read_in_any_case(name: str) -> None:
    """Unless a function of the query has that name."""
    written = f'Action: {name}\nAction Input: {{"return_type": "give_up_and_restart"}}'

    assert "Finish" == parse_turn(written, {"search", "Finish"}).action
    assert "finish" == parse_turn("Action: finish\nAction Input: {}", {"finish", "Finish"}).action


def test_thinking_is_not_read_wherever_it_stands() -> None:
    """Between the sections as well."""
    thinking = "<think>\nAction: x\nObservation: y\n</think>"
    written = f'Thought: I look.\n{thinking}\nAction: search\n{thinking}\nAction Input: {{"city": "Oslo"}}\n{thinking}'

    assert cut_observation(written) == written
    assert parse_turn(written) == CALL


def test_torn_thinking_is_no_action() -> None:
    """It began the reply and has no end: nothing was said behind it."""
    written = "<think>\nAction: x\nAction Input: {}\nObservation: y\nFinal Answer: 9"

    assert parse_turn(cut_observation(written)) == ReactTurn(written)


@given(st.text())
def test_reading_never_fails(written: str) -> None:
    """Whatever a model writes."""
    assert isinstance(parse_turn(cut_observation(written)), ReactTurn)


JSON = st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text()))
WORDS = st.from_regex(r"[a-z][a-z .,]*[a-z.]", fullmatch=True)


@given(WORDS, st.from_regex(r"_{0,2}[a-z][a-z_]{0,20}", fullmatch=True), JSON)
def test_what_keeps_to_the_form_is_read_exactly(thought: str, action: str, arguments: dict[str, Any]) -> None:
    """Thought, action and arguments come back as they were."""
    given_text = json.dumps(arguments)

    written = parse_turn(f"Thought: {thought}\nAction: {action}\nAction Input: {given_text}")

    assert (written.thought, written.action, written.arguments) == (thought, action, given_text)


async def solve(client: VirtualClient, *said: str, **settings: Any) -> tuple[Outcome, ScriptedModel]:
    model = ScriptedModel([Reply(content=line) for line in said])
    return await React(**settings).solve(TASK, environment_of(client, model=model)), model


async def test_actions_until_finish(client: VirtualClient) -> None:
    """The observation is the user's next message; the reply ends before one that the model would make up."""
    outcome, model = await solve(client, ACT + '\nObservation: {"degrees": 99}', ANSWER)

    assert (outcome.stop, outcome.final_answer) == (StopReason.ANSWERED, "10")
    first, second = model.requests
    assert [m.role for m in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[2].content == ACT
    assert (second.messages[3].content or "").startswith('Observation: {"error"')
    assert (first.functions, first.stop) == ((), STOP)


async def test_the_functions_stand_in_the_prompt(client: VirtualClient) -> None:
    """All of them and Finish, where the prompt says so, or at its end."""
    _, model = await solve(client, ANSWER)

    words = model.requests[0].messages[0].content or ""
    names = ["current_for_sky_watch", "forecast_for_sky_watch", "search_for_inns", "Finish"]
    assert all(f'"name": "{name}"' in words for name in names)
    assert with_functions("Use {functions} now.", []) == "Use  now."
    assert with_functions("Use:", []) == "Use:\n"


async def test_words_without_an_action_are_answered(client: VirtualClient) -> None:
    """Three of them in a row end it."""
    outcome, model = await solve(client, "Hm.", ACT, "Hm.", "Hm.", "Hm.")

    assert outcome.stop is StopReason.NO_FINISH
    assert model.requests[1].messages[-1].content == f"Observation: {NO_ACTION}"


async def test_invented_functions_and_torn_arguments_are_observations(client: VirtualClient) -> None:
    """The model is told, as in function calling."""
    outcome, model = await solve(
        client, "Action: teleport\nAction Input: {}", 'Action: search_for_inns\nAction Input: {"c', ANSWER
    )

    assert outcome.stop is StopReason.ANSWERED
    told = [request.messages[-1].content or "" for request in model.requests[1:]]
    assert "There is no function 'teleport'" in told[0]
    assert "The argument text of search_for_inns is not one JSON object" in told[1]


async def test_answers_with_raw_line_breaks_are_handed_in_whole(client: VirtualClient) -> None:
    """Whether they stand in the arguments of Finish or behind Final Answer; Finish may be in bold."""
    raw = ANSWER.replace("Finish", "__Finish__").replace("10", "Films:\n- Action: Mad Max")

    in_arguments, _ = await solve(client, raw)
    behind_the_label, _ = await solve(client, "Final Answer: Films:\n- Action: Mad Max")

    assert in_arguments.final_answer == behind_the_label.final_answer == "Films:\n- Action: Mad Max"


async def test_turns_are_limited(client: VirtualClient) -> None:
    """With the reason that budgets have too."""
    outcome, _ = await solve(client, ACT, ACT, turns=2)

    assert outcome.stop is StopReason.MAX_STEPS


async def test_completion_models_go_on_with_one_text(client: VirtualClient, llm: LLMServer) -> None:
    """In the form in which ToolLLaMA was trained, sent to /completions."""
    model = OpenAIModel("stub/any", Endpoint(llm.url, None, "", ""))
    llm.answer(text(ACT), text(ANSWER))

    outcome = await React(template="toolllama").solve(TASK, environment_of(client, model=model))
    await model.close()

    assert outcome.stop is StopReason.ANSWERED
    prompt = llm.requests[1]["prompt"]
    assert prompt.startswith("System: You carry out tasks")
    assert f"\nUser: {TASK.text}\nAssistant: {ACT}\nFunction: {{" in prompt
    assert prompt.endswith("}}\nAssistant:\n")


def test_a_template_that_is_not_there_is_named() -> None:
    """With those that are."""
    with pytest.raises(UsageError, match="There are: chat, toolllama"):
        React(template="vicuna").settings()


def test_the_words_can_be_the_users_own(tmp_path: Path) -> None:
    """From a file."""
    (tmp_path / "p.txt").write_text("Go.")

    assert React(system_prompt=tmp_path / "p.txt").settings()["system_prompt"] == "Go."
