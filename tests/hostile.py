"""Content that tries to be more than text: names, arguments, bodies and queries that hold markup."""

from __future__ import annotations

import orjson

from stb_core.store import Store
from stb_core.store.misses import Miss
from stb_core.usage import Usage
from stb_core.values.manifest import Manifest
from stb_core.values.provenance import Provenance
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_core.values.trajectories import FINISH, Message, Node, Step, StopReason, Trajectory
from stb_core.values.verdicts import Status, Verdict
from virtual_server import put_weather, recorded

PROBE = '<script>window.hit=1</script><img src=x onerror="window.hit=1">\'"{{7*7}}'
LITERALS = [
    *(
        "{[1]: 2}",
        "{{}}",
        "{{1}: 2}",
        "[{[]}]",
        "{'a': {[1]: 2}}",
        "{[1]: 2, 'message': 'Too many requests'}",
    ),
    *(
        "{'a': " + "[" * 50_000,
        "[" * 150 + "]" * 150,
        "{'a':" * 99 + "1" + "}" * 99,
        "[" + "-" * 50_000 + "1]",
    ),
    *("[" + "(" * 5_000 + ")" * 5_000 + "]", "[" + "1+" * 5_000 + "1j]", "[" + "not " * 5_000 + "1]"),
    *(
        "[" + "9" * 4_290 + "]",
        "[" + "9" * 5_000 + "]",
        "[0x" + "f" * 4_000 + "]",
        "{0x" + "f" * 3_900 + ": 1}",
    ),
    *("{'a': '\x00'}", "{'a': '\\x00'}", "[\x00]", "{'a': '\ud800'}", "{'a': '\\ud800'}", "['\\N{nothing}']"),
    *(
        "{'message': '\\ud800 is not subscribed', 'status': 500}",
        "{b'message': b'x'}",
        "{None: None, (1, 2): 3}",
    ),
    *("[1e999, -1e999, 1j]", "{1: 2, 1.0: 3, True: 4}", "{'a': 1}" + " " * 1_000_001, "[f'{1}']", "['\\x']"),
]
"""Texts that look like values in Python's notation, and are none, or values that little else can carry."""
BODY = orjson.dumps({"error": PROBE, "response": {PROBE: [PROBE, "</pre></script>"]}})
RUN = "run-of-probes"
WRITE_TOKEN = "a token that nobody guesses"
KEY = recorded({"city": "Bonn"}).key
PROBED_KEY = recorded({"city": PROBE}).key
PAGES = [
    "/",
    "/cache/weather",
    "/cache/weather?category=Weather&tool=sky_watch&api=current",
    "/cache/weather?text=sky",
    f"/cache/weather/{KEY}",
    f"/cache/weather/{PROBED_KEY}",
    f"/cache/weather/{KEY}?version=1",
    f"/cache/weather/{KEY}/diff?a=1&b=2",
    "/cache/weather/try?category=Weather&tool=sky_watch&api=current&arguments=%7B%22city%22%3A%22Oslo%22%7D",
    "/cache/weather/record",
    "/edit",
    "/misses/weather",
    "/runs",
    f"/compare?run={RUN}",
    f"/runs/{RUN}",
    f"/runs/{RUN}/G1_tool/1",
]


async def put_hostile(store: Store) -> None:
    """A dataset with probes in every text, a run with a search tree, and misses."""
    first = recorded({"city": PROBE}, BODY)
    second = recorded({"city": "Bonn"}, orjson.dumps({"error": "", "response": "<b>fine</b>"}))
    dataset = await put_weather(store, first, second)
    newer = recorded(
        {"city": "Bonn"}, orjson.dumps({"error": "", "response": {"sky": "grey", "wind": [1, 2]}})
    )
    await store.responses.keep(dataset.id, [newer], supersede=True)
    await store.curation.note(dataset.id, first.key, PROBE)
    await store.curation.pin(dataset.id, first.key, pinned=True)
    gone = recorded({"city": f"{PROBE} again"})
    await store.responses.keep(dataset.id, [gone])
    await store.curation.delete(dataset.id, gone.key, PROBE, erase=True)
    await store.misses.record(
        dataset.id,
        [
            Miss(
                "f" * 64,
                "Weather",
                "sky_watch",
                "current",
                orjson.dumps({"city": PROBE, "days": 3}),
                second.key,
                second.arguments,
                0.4,
                count=7,
            ),
        ],
    )
    ref = ApiRef("Weather", "sky_watch", "current")
    query = Query(query_id="1", group="G1_tool", text=PROBE, apis=(ref,))
    async with store.writing() as connection:
        await store.datasets.put_queries(connection, dataset.id, [query])
    manifest = Manifest(dataset="weather", dataset_hash="0" * 64, agent=PROBE, model=PROBE)
    await store.runs.create(RUN, manifest, {"G1_tool": ["1", "2"]}, name=f"run {PROBE}")
    await store.runs.put_trajectories(RUN, [search_trajectory()])
    await store.verdicts.append(
        [
            Verdict(
                run=RUN,
                group="G1_tool",
                query_id="1",
                judge=PROBE,
                rubric="strict",
                round=number,
                status=Status.SOLVED if number else Status.UNSURE,
                reason=PROBE,
                answer_hash=search_trajectory().answer_hash,
            )
            for number in range(3)
        ]
    )


def call(city: str, *, error: str = "", key: str | None = None) -> Step:
    """A step of the weather tool."""
    return Step(
        function="current_for_sky_watch",
        arguments=orjson.dumps({"city": city}).decode(),
        observation=orjson.dumps({"error": error, "response": PROBE}).decode(),
        category="Weather",
        tool="sky_watch",
        api="current",
        key=key,
        provenance=Provenance.RECORDED.value,
        error=error,
    )


def search_trajectory() -> Trajectory:
    """A search that gave up once, and then found an answer on the other branch."""
    found = call("Bonn", key=recorded({"city": "Bonn"}).key)
    finish = Step(
        function=FINISH,
        arguments=orjson.dumps({"return_type": "give_answer", "final_answer": PROBE}).decode(),
    )
    gave_up = Step(function=FINISH, arguments='{"return_type":"give_up_and_restart"}')
    nodes = (
        Node(parent=None, message=Message(role="user", content=PROBE)),
        Node(parent=0, step=call("Rome", error=PROBE)),
        Node(parent=1, step=gave_up, pruned=f"gave up {PROBE}"),
        Node(parent=0, step=found),
        Node(parent=3, step=finish, final=True),
    )
    return Trajectory(
        group="G1_tool",
        query_id="1",
        query=PROBE,
        agent="dfsdt",
        available_tools=(PROBE,),
        messages=(Message(role="user", content=PROBE),),
        steps=(found, finish),
        tree=nodes,
        stop=StopReason.ANSWERED,
        final_answer=PROBE,
        usage=Usage(model_calls=3, prompt_tokens=1200, completion_tokens=34, cost_usd=0.0125),
    )
