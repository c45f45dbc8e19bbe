"""The simulators ``llm`` and ``mirrorapi`` against a scripted model over HTTP."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

import sim_world
from llm_server import Answer as Said
from llm_server import LLMServer, raw, status, text
from sim_world import call
from stb_core.errors import UsageError
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import Patience
from stb_core.llm.structured_output import fits
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.store.datasets import Dataset
from stb_core.usage import Usage
from stb_core.values import clock
from stb_core.values.provenance import Provenance
from stb_server.calls.answers import Answer, CallRequest, Decline
from stb_server.simulators.answer_forms import REFUSALS, asked_form
from stb_server.simulators.ask import SimulatorSampling
from stb_server.simulators.json_repair import Fault
from stb_server.simulators.llm_prompt import PROMPT, prompt_text
from stb_server.simulators.mirrorapi_prompt import Variant
from stb_server.simulators.model_simulators import ModelSimulator
from stb_server.simulators.options import SimulatorOptions, read_options
from stb_server.simulators.registry import Context, names, open_simulator
from stb_server.simulators.schemas import schema_of_template

HASTY = Patience(deadline_s=60, first_wait_s=0.001, longest_wait_s=0.01)
SHAPE = schema_of_template(sim_world.FILMS.api_list[0].template_response)
FILMS_BODY = sim_world.film("Metropolis", 1927)


def reply_of(body: str, name: str = "llm") -> str:
    """What a model writes to serve a call with this body, in the form that its simulator asks for."""
    return (
        f'{{"answer": {{"response": {body}}}}}' if name == "llm" else f'{{"error": "", "response": {body}}}'
    )


FILMS_ANSWER = reply_of(json.dumps(FILMS_BODY["response"]))
MIRRORED = json.dumps(FILMS_BODY)


@pytest.fixture
async def dataset(sqlite_store: Store) -> Dataset:
    return await sim_world.build(sqlite_store)


@asynccontextmanager
async def opened(store: Store, url: str, name: str = "llm", **options: Any) -> AsyncGenerator[ModelSimulator]:
    endpoint = Endpoint(url, None, "STUB_BASE_URL", "STUB_API_KEY")
    chosen = SimulatorOptions(name, model="stub/any", endpoints=(endpoint,), patience=HASTY, **options)
    async with open_simulator(chosen, Context(store, clock.now())) as simulator:
        assert isinstance(simulator, ModelSimulator)
        yield simulator


def outcome(answer: Answer | Decline) -> dict[str, Any]:
    assert isinstance(answer, Answer), answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def prompt_of(request: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in request["messages"])


async def test_an_answer_is_of_the_documented_shape_and_says_where_it_is_from(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """Structured output is asked for; model, prompt, hash, seed and tokens are told."""
    llm.answer(text(FILMS_ANSWER))

    async with opened(sqlite_store, llm.url, sampling=SimulatorSampling(seed=7)) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="Metropolis")))

    assert FILMS_BODY == outcome(answer)
    assert isinstance(answer, Answer)
    assert Provenance.SIMULATED is answer.provenance
    assert answer.details is not None
    assert ("llm/1", "stub/any", 7) == tuple(answer.details[n] for n in ("simulator", "model", "seed"))
    assert 64 == len(answer.details["prompt_hash"])
    assert answer.details["usage"]["model_calls"] == 1
    request = llm.requests[0]
    assert asked_form(SHAPE) == request["response_format"]["json_schema"]["schema"]
    assert (7, 0.0) == (request["seed"], request["temperature"])


@pytest.mark.parametrize("api", ["search", "genres", "posters"])
async def test_every_answer_fits_what_is_known_of_the_api(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, api: str
) -> None:
    """From the template, else from recorded answers, else any JSON."""
    arguments = {"title": "x"} if api == "search" else {}
    answers = {
        "search": FILMS_ANSWER,
        "genres": reply_of('{"genres": ["Noir"], "n": 2}'),
        "posters": reply_of('"anything"'),
    }
    llm.answer(text(answers[api]))

    async with opened(sqlite_store, llm.url) as simulator:
        answer = outcome(await simulator.answer(CallRequest(dataset, call(api, **arguments))))

    shape = sim_world.asked_shape(llm.requests[0])
    assert fits(answer["response"], shape)
    expected = {
        "search": ["array", "integer"],
        "genres": ["array", "integer"],
        "posters": [],
    }[api]
    assert expected == sorted(member["type"] for member in shape.get("properties", {}).values())


MALFORMED = {
    Fault.NO_JSON: "I am sorry, I cannot do that.",
    Fault.SEVERAL_OBJECTS: "Either {answer} or {answer}",
    Fault.UNFIT: '{"count": "one", "films": []}',
    Fault.MISSING_FIELD: '{"title": {"count": 1, "films": []}}',
    Fault.NOT_A_NUMBER: '{"count": NaN, "films": []}',
    Fault.REPEATED_KEY: '{"count": 1, "count": 1, "films": []}',
    Fault.NUL: r'{"count": 1, "films": [{"title": "\u0000", "year": 1}]}',
    Fault.SURROGATE: r'{"count": 1, "films": [{"title": "\ud800", "year": 1}]}',
    Fault.TOO_LARGE: '{"count": 1, "films": [], "x": "' + "x" * 10_000_000 + '"}',
    Fault.TRUNCATED: "{answer}",
    Fault.EMPTY: "",
}
WHOLE = {Fault.NO_JSON, Fault.SEVERAL_OBJECTS, Fault.MISSING_FIELD, Fault.TRUNCATED, Fault.EMPTY}
"""What is a whole reply above; of the others the body is bad."""


def malformed(fault: Fault, name: str) -> str:
    """A reply with a fault, in the form that a simulator asks for."""
    if fault not in WHOLE:
        return reply_of(MALFORMED[fault], name)
    good = reply_of(json.dumps(FILMS_BODY["response"]), name)
    return MALFORMED[fault].replace("{answer}", good[:-15] if fault is Fault.TRUNCATED else good)


@pytest.mark.parametrize(
    ("simulator_name", "fault"),
    [
        (name, fault)
        for name in ("llm", "mirrorapi")
        for fault in MALFORMED
        if (name, fault) != ("mirrorapi", Fault.UNFIT)  # its response is text of any shape
    ],
)
async def test_malformed_output_reaches_no_client(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, simulator_name: str, fault: Fault
) -> None:
    """Each kind is asked again twice, declined by kind, and counted by kind."""
    llm.rule = lambda _: text(malformed(fault, simulator_name))

    async with opened(sqlite_store, llm.url, simulator_name) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))

    assert isinstance(answer, Decline)
    assert "simulator_unreadable" == answer.kind
    assert {fault} == set(simulator.counts.kinds)
    assert llm.count == simulator.counts.kinds[fault] == 3
    assert llm.count == simulator.counts.usage.model_calls


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (f"```json\n{FILMS_ANSWER}\n```", "code_fence"),
        (f"Here it is: {FILMS_ANSWER} Enjoy.", "words_around"),
        (FILMS_ANSWER.replace("Metropolis", "Metro\npolis"), "raw_control_characters"),
        (str(json.loads(FILMS_ANSWER)), "python_literal"),
    ],
)
async def test_slips_are_repaired_without_another_call(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, reply: str, kind: str
) -> None:
    """One call is enough, and the repair is counted."""
    llm.rule = lambda _: text(reply)

    async with opened(sqlite_store, llm.url) as simulator:
        answer = outcome(await simulator.answer(CallRequest(dataset, call("search", title="x"))))

    assert 1927 == answer["response"]["films"][0]["year"]
    assert ({kind: 1}, 1) == (dict(simulator.counts.kinds), llm.count)


@pytest.mark.parametrize("simulator_name", ["llm", "mirrorapi"])
async def test_a_repeat_is_another_request_and_the_one_that_worked_is_told(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, simulator_name: str
) -> None:
    """After unusable replies seed and temperature move; seed and prompt hash are those of the good reply."""
    good = reply_of(json.dumps(FILMS_BODY["response"]), simulator_name)
    hashes = []

    async with opened(sqlite_store, llm.url, simulator_name, sampling=SimulatorSampling(seed=5)) as simulator:
        for replies in ([good], ["{no", "{}", good]):
            llm.answer(*map(text, replies))
            answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))
            assert isinstance(answer, Answer)
            assert answer.details is not None
            hashes.append(answer.details["prompt_hash"])

    asked = [(request["seed"], request["temperature"]) for request in llm.requests]
    assert [(5, 0.0), (5, 0.0), (1_000_005, 0.7), (2_000_005, 0.7)] == asked
    assert 2_000_005 == answer.details["seed"]
    assert hashes[0] != hashes[1]


async def test_an_answer_that_is_neither_response_nor_refusal_is_not_asked_for(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """The asked-for schema does not admit it, in any of the forms that a lazy model has for it."""
    llm.answer(text(FILMS_ANSWER))

    async with opened(sqlite_store, llm.url) as simulator:
        await simulator.answer(CallRequest(dataset, call("search", title="x")))

    form = llm.requests[0]["response_format"]["json_schema"]["schema"]
    for lazy in (
        {"error": "", "response": None},
        {"answer": {"response": None}},
        {"answer": {"error": ""}},
        {"answer": {"error": "", "response": None}},
        {"answer": {}},
        {},
    ):
        assert not fits(lazy, form)


@pytest.mark.parametrize(("words", "served"), [("No such film.", "No such film."), (" ", "not found")])
async def test_a_refusal_is_served_as_an_error(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, words: str, served: str
) -> None:
    """In the API's words, and without any in those of its kind."""
    llm.answer(text(json.dumps({"answer": {"refusal": "not found", "error": words}})))

    async with opened(sqlite_store, llm.url) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))

    assert {"error": served, "response": ""} == outcome(answer)


def test_the_prompt_names_every_kind_of_refusal() -> None:
    """An endpoint that keeps to no schema learns them there."""
    rules = prompt_text(PROMPT)

    assert ", ".join(REFUSALS) in rules


async def test_a_reply_that_is_cut_is_asked_for_once_more(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """A reply of the greatest length is the dearest; the repeat is not greedy."""
    llm.rule = lambda _: text(FILMS_ANSWER[:-15], finish_reason="length")

    async with opened(sqlite_store, llm.url) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))

    assert isinstance(answer, Decline)
    assert [0.0, 0.7] == [request["temperature"] for request in llm.requests]


async def test_what_was_paid_before_the_endpoint_failed_is_told(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """The decline carries the usage of the replies before, and the metrics count it."""
    llm.answer(text("{no", usage={"prompt_tokens": 100, "completion_tokens": 20}), status(401, "bad key"))

    async with opened(sqlite_store, llm.url) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))

    assert isinstance(answer, Decline)
    paid = Usage(model_calls=1, prompt_tokens=100, completion_tokens=20)
    assert ("simulator_unavailable", paid, paid) == (answer.kind, answer.usage, simulator.counts.usage)


@pytest.mark.parametrize("fault", ["refused_formats", "ignored_formats"])
async def test_an_endpoint_without_structured_output_is_asked_in_words(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, fault: str
) -> None:
    """What it supports is found out once; the second call costs one request."""
    setattr(llm.behaviour, fault, frozenset({"json_schema", "json_object"}))
    llm.rule = lambda _: text(FILMS_ANSWER)

    async with opened(sqlite_store, llm.url) as simulator:
        first = outcome(await simulator.answer(CallRequest(dataset, call("search", title="x"))))
        before = llm.count
        second = outcome(await simulator.answer(CallRequest(dataset, call("search", title="y"))))

    assert [FILMS_BODY] * 2 == [first, second]
    assert before + 1 == llm.count


@pytest.mark.parametrize("simulator_name", ["llm", "mirrorapi"])
async def test_refused_arguments_ask_no_model(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, simulator_name: str
) -> None:
    """Unknown and missing arguments get the API's own refusal, marked, at no cost."""
    async with opened(sqlite_store, llm.url, simulator_name) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", director="x")))

    assert {"error": "search() got an unexpected keyword argument 'director'", "response": ""} == outcome(
        answer
    )
    assert isinstance(answer, Answer)
    assert ("wrong_arguments", Provenance.SIMULATED, 0) == (answer.error, answer.provenance, llm.count)
    assert answer.details is not None
    assert {"unknown": ["director"], "missing": ["title"]} == answer.details["argument_problems"]


async def test_a_wrong_type_is_told_to_the_model_and_marked(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """The model is to answer as the API would; an error it writes is served and marked."""
    llm.answer(text('{"answer": {"refusal": "bad request", "error": "year must be a number"}}'))

    async with opened(sqlite_store, llm.url) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="x", year="soon")))

    assert {"error": "year must be a number", "response": ""} == outcome(answer)
    assert isinstance(answer, Answer)
    assert "wrong_arguments" == answer.error
    assert '"arguments_of_the_wrong_type":["year"]' in prompt_of(llm.requests[0])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (status(401, "bad key"), "simulator_unavailable"),
        # It has accepted nothing so far, so it is not this call that it refuses.
        (status(400, "too long"), "simulator_unavailable"),
    ],
)
async def test_a_model_that_does_not_answer_is_a_decline(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, said: Said, kind: str
) -> None:
    """Why there is no answer is told by kind."""
    llm.rule = lambda _: said

    async with opened(sqlite_store, llm.url) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))

    assert isinstance(answer, Decline)
    assert kind == answer.kind


async def test_an_api_of_which_nothing_is_known_is_declined(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """Without document and recordings there is nothing to go by."""
    async with opened(sqlite_store, llm.url) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("nothing", tool="nowhere")))

    assert isinstance(answer, Decline)
    assert ("undocumented", 0) == (answer.kind, llm.count)


async def test_the_prompt_holds_the_document_and_the_most_similar_recordings(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """Parameters with types and defaults, the shape, three recorded answers, the call last, no credential."""
    llm.answer(text(FILMS_ANSWER))
    asked = call("search", title="Alien 3", toolbench_key="very-secret")
    assert "very-secret" not in str(CallRequest(dataset, call("search"), "very-secret"))

    async with opened(sqlite_store, llm.url) as simulator:
        await simulator.answer(CallRequest(dataset, asked, "another-secret"))

    prompt = prompt_of(llm.requests[0])
    assert '{"name":"year","type":"NUMBER","description":"Of release","default":"2020"}' in prompt
    assert '"films":{"type":"array"' in prompt
    lines = [line for line in prompt.split("\n") if line.startswith('{"arguments":{')]
    assert ["Alien", "Aliens"] == [json.loads(line)["arguments"]["title"] for line in lines[1:]]
    assert 3 == len(lines)
    assert prompt.endswith('Call\n{"api":"search","arguments":{"title":"Alien 3"}}')
    assert "secret" not in json.dumps(llm.requests)


async def test_only_recordings_of_the_real_api_are_shown(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """Simulated, later and own recordings of the same API never get into a prompt."""
    llm.rule = lambda _: text(FILMS_ANSWER)
    asked = call("search", title="Brazil")
    simulated = sim_world.recording(
        call("search", title="Brazi"), sim_world.film("Fake", 1), Provenance.SIMULATED
    )
    await sqlite_store.responses.keep(dataset.id, [simulated])

    async with opened(sqlite_store, llm.url) as simulator:
        late = sim_world.recording(call("search", title="Brazill"), sim_world.film("Late", 2))
        await sqlite_store.responses.keep(dataset.id, [late])
        await simulator.answer(CallRequest(dataset, asked))

    prompt = prompt_of(llm.requests[0])
    assert [False] * 3 == [title in prompt for title in ("Fake", "Late", "1985")]


async def test_the_order_of_calls_does_not_matter(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """200 calls in 5 random orders, concurrently and kept as they come: identical prompts and answers."""
    rng = random.Random(11)
    titles = [f"{rng.choice(['Alien', 'Brazil', 'The'])} {number}" for number in range(198)]
    calls = [call("search", title=title) for title in titles]
    calls += [call("genres", lang="fr"), call("posters")]
    prompts: dict[str, set[str]] = defaultdict(set)
    answers: dict[str, set[bytes]] = defaultdict(set)
    kept: set[str] = set()
    llm.rule = lambda body: (
        text(reply_of(json.dumps(sim_world.film(str(hash_of(body)), 2000)["response"])))
        if "films" in json.dumps(body["response_format"])
        else text(reply_of('{"genres": ["x"], "n": 3}'))
    )

    async with opened(sqlite_store, llm.url) as simulator:
        for _ in range(5):
            rng.shuffle(calls)
            turns = asyncio.Semaphore(rng.choice([1, 4, 16]))

            async def one(asked: Any, turns: asyncio.Semaphore = turns) -> None:
                async with turns:
                    answer = await simulator.answer(CallRequest(dataset, asked))
                assert isinstance(answer, Answer)
                assert answer.details is not None
                prompts[asked.key].add(answer.details["prompt_hash"])
                answers[asked.key].add(answer.body)
                if len(kept) < 200:
                    kept.add(asked.key)
                    made = sim_world.recording(asked, {}, Provenance.SIMULATED)
                    await sqlite_store.responses.keep(dataset.id, [replace(made, body=answer.body)])

            await asyncio.gather(*map(one, calls))

    assert 1000 == llm.count
    assert (200, {1}) == (len(prompts), {len(found) for found in prompts.values()})
    assert (200, {1}) == (len(answers), {len(found) for found in answers.values()})
    assert 200 == len({json.dumps(request["messages"]) for request in llm.requests})


def hash_of(body: dict[str, Any]) -> int:
    return sum(ord(character) for character in prompt_of(body))


async def test_the_same_prompt_has_the_same_bytes_on_every_run(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset
) -> None:
    """Two servers ask the same for the same call; another seed is another prompt hash."""
    llm.rule = lambda _: text(FILMS_ANSWER)
    hashes = []
    for seed in (1, 1, 2):
        async with opened(sqlite_store, llm.url, sampling=SimulatorSampling(seed=seed)) as simulator:
            answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))
            assert isinstance(answer, Answer)
            assert answer.details is not None
            hashes.append(answer.details["prompt_hash"])

    assert llm.requests[0] == llm.requests[1]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("variant", list(Variant))
async def test_mirrorapi_is_asked_in_the_form_of_its_training(
    llm: LLMServer, sqlite_store: Store, dataset: Dataset, variant: Variant
) -> None:
    """Document and request stand in Python's notation; the system prompt may be the user's own."""
    llm.answer(text('{"mechanism_of_the_api": "m", "error": "", "response": "{\'id\': 1}"}'))

    async with opened(
        sqlite_store, llm.url, "mirrorapi", variant=variant, system_prompt="The official one."
    ) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="Alien's", page=2)))

    system, user = (message["content"] for message in llm.requests[0]["messages"])
    assert "The official one." == system
    assert (
        "API doc:\n{'api_name': 'search', 'api_description': 'Films by title', 'required_parameters': "
        "[{'name': 'title', 'type': 'STRING', 'description': 'Part of the title', 'default': ''}], "
    ) == user[:182]
    assert (
        "\n\nRequest:\n{'category': 'Movies', 'tool_name': 'Film Finder', 'api_name': 'search', "
        "'tool_input': '{\"page\":2,\"title\":\"Alien\\'s\"}', 'strip': 'filter'}"
    ) == user[user.index("\n\nRequest") :]
    assert "response_format" not in llm.requests[0]
    assert {"error": "", "response": "{'id': 1}"} == outcome(answer)
    assert isinstance(answer, Answer)
    assert answer.details is not None
    assert f"mirrorapi-{variant}@user" == answer.details["prompt"]


async def test_broken_completions_are_borne(llm: LLMServer, sqlite_store: Store, dataset: Dataset) -> None:
    """Rate limits, server errors and torn bodies are repeated, and the call is answered."""
    llm.answer(status(429, retry_after=0), status(500), raw(b'{"choices": [{"mess'), text(MIRRORED))

    async with opened(sqlite_store, llm.url, "mirrorapi") as simulator:
        answer = outcome(await simulator.answer(CallRequest(dataset, call("search", title="x"))))

    assert FILMS_BODY == answer


def test_simulators_are_found_by_name() -> None:
    """The three of ours are entry points."""
    assert {"llm", "mirrorapi", "template"} <= set(names())


async def test_the_template_simulator_is_one_of_them(sqlite_store: Store, dataset: Dataset) -> None:
    """It is opened like the others and needs no model."""
    async with open_simulator(SimulatorOptions("template"), Context(sqlite_store, clock.now())) as simulator:
        answer = await simulator.answer(CallRequest(dataset, call("search", title="x")))

    assert isinstance(answer, Answer)
    assert Provenance.TEMPLATE is answer.provenance


@pytest.mark.parametrize(
    ("name", "model", "urls", "message"),
    [
        ("psychic", "", (), "There is no simulator 'psychic'."),
        ("llm", "", (), "The simulator llm needs a model."),
        ("llm", "stub", (), "'stub' does not name a model."),
        ("llm", "stub", ("http://127.0.0.1:1/v1",), "'stub' does not name a model."),
        ("llm", "stub/any", (), "The address of the provider 'stub' is not known."),
        ("llm", "stub/any", ("127.0.0.1:1",), "'127.0.0.1:1' is not a valid URL."),
    ],
)
async def test_bad_choices_are_refused_in_one_line(
    sqlite_store: Store, name: str, model: str, urls: tuple[str, ...], message: str
) -> None:
    """An unknown simulator, a missing or unknown model, an address that is none."""
    settings = Settings("sqlite:///x", {}, {})

    with pytest.raises(UsageError) as raised:
        async with open_simulator(
            read_options(name, settings, model=model, urls=urls), Context(sqlite_store, clock.now())
        ):
            pass

    assert message == raised.value.message
