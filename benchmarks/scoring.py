"""How long scoring takes, compared with the least that it could take, in the same run.

    python benchmarks/scoring.py                  765 queries, 3 rounds, 6 systems; then a judge that takes 500 ms
    python benchmarks/scoring.py --queries 100    a short form

Prints two measurements as one JSON object. *Rescoring*: scores of all systems from stored verdicts, compared
with writing a result file again after every verdict, as evaluators do that keep their state in one JSON file.
*Judging*: the makespan with a model that takes 500 ms, compared with the ideal (calls / connections · latency),
and the CPU time of the evaluator per verdict. Only the ratios mean something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stb_core.cli import event_loop
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint
from stb_core.store import Store, open_store
from stb_core.store.runs import Run
from stb_core.values.manifest import Manifest
from stb_core.values.trajectories import Step, StopReason, Trajectory
from stb_core.values.verdicts import Status, Verdict
from stb_evaluator.judges.judge import ModelJudge
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.judges.rubrics import load_rubric
from stb_evaluator.scores.pass_verdicts import fill_verdicts
from stb_evaluator.scores.rows import score_rows
from stb_evaluator.scores.run_reader import RunReader

SIZES = {
    "G1_instruction": 163,
    "G1_category": 153,
    "G1_tool": 158,
    "G2_category": 124,
    "G2_instruction": 106,
    "G3_instruction": 61,
}
ROUNDS = 3
AGREEMENT = 0.915  # of a single round with the usual verdict
VERDICT = '{"reason": "every part is there", "answer_status": "solved"}'
WORDS = [f"word{n}" for n in range(500)]


def make_trajectory(rng: random.Random, system: str, group: str, number: int) -> Trajectory:
    """An answer of about 4 KB, like real ones."""
    steps = [
        Step(
            function=f"f{n}_for_tool",
            arguments=json.dumps({"q": rng.choice(WORDS)}),
            observation=" ".join(rng.choices(WORDS, k=150)),
        )
        for n in range(3)
    ]
    answer = " ".join(rng.choices(WORDS, k=60))
    return Trajectory(
        group=group,
        query_id=str(number),
        query=" ".join(rng.choices(WORDS, k=30)),
        agent=system,
        steps=(*steps, Step(function="Finish", arguments=json.dumps({"final_answer": answer}))),
        stop=StopReason.ANSWERED,
        final_answer=answer,
    )


def make_verdicts(rng: random.Random, one: Trajectory) -> list[Verdict]:
    """One verdict per round; three of them agree on 84 of a hundred answers, as real ones do."""
    usual = rng.choice([Status.SOLVED, Status.UNSOLVED])
    return [
        Verdict(
            run=one.agent,
            group=one.group,
            query_id=one.query_id,
            judge="recorded",
            rubric="recorded",
            round=number,
            status=usual if rng.random() < AGREEMENT else rng.choice(list(Status)[:3]),
            answer_hash=one.answer_hash,
        )
        for number in range(ROUNDS)
    ]


async def make_run(
    store: Store, system: str, share: float, *, verdicts: bool
) -> tuple[Run, list[Trajectory]]:
    """A run on a share of the queries of each group, with recorded verdicts or without."""
    rng = random.Random(system)
    made = [
        make_trajectory(rng, system, group, number)
        for group, size in SIZES.items()
        for number in range(max(2, round(size * share)))
    ]
    expected: dict[str, list[str]] = {}
    for one in made:
        expected.setdefault(one.group, []).append(one.query_id)
    run = await store.runs.create(system, Manifest(dataset="d", dataset_hash="", agent=system), expected)
    await store.runs.put_trajectories(system, made)
    if verdicts:
        await store.verdicts.append([verdict for one in made for verdict in make_verdicts(rng, one)])
    return run, made


def rewrite_files(folder: Path, made: list[Trajectory]) -> float:
    """CPU seconds to write the group's file again after each verdict."""
    started = time.process_time()
    for group in SIZES:
        records: dict[str, dict[str, object]] = {}
        for one in (t for t in made if t.group == group):
            steps = "\n".join(str(step.model_dump()) for step in one.steps)
            records[one.query_id] = {"query": one.query, "answer_steps": steps, "is_solved": {}}
            for number in range(ROUNDS):
                records[one.query_id]["is_solved"][str(number)] = "AnswerStatus.Solved"  # type: ignore[index]
                (folder / f"{group}.json").write_text(json.dumps(records, indent=4))
    return time.process_time() - started


async def rescoring(folder: Path, share: float, systems: int) -> dict[str, float]:
    """CPU seconds of both, for all systems; the rewriting is measured on one and multiplied."""
    store = await open_store(f"sqlite:///{folder / 'rescoring.db'}")
    made = [await make_run(store, f"system{n}", share, verdicts=True) for n in range(systems)]
    started = time.process_time()
    for run, _ in made:
        await score_rows(RunReader(store, run), panel_of_one("recorded", "recorded"), rounds=None)
    ours = time.process_time() - started
    await store.close()
    theirs = rewrite_files(folder, made[0][1]) * systems
    return {"rescoring_s": ours, "rewriting_s": theirs, "ratio": ours / theirs}


async def judging(folder: Path, share: float, latency_ms: int, connections: int) -> dict[str, float]:
    """The makespan over the ideal, and the evaluator's CPU time per verdict."""
    store = await open_store(f"sqlite:///{folder / 'judging.db'}")
    run, made = await make_run(store, "judged", share, verdicts=False)
    command = [sys.executable, str(Path(__file__).parent / "stub_model.py"), str(latency_ms), VERDICT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stub:  # noqa: ASYNC220 - at once
        assert stub.stdout
        url = json.loads(stub.stdout.readline())["url"]
        endpoint = Endpoint(url, None, "STUB_BASE_URL", "STUB_API_KEY")
        model = OpenAIModel("stub/judge", endpoint, concurrency=asyncio.Semaphore(connections))
        started, cpu = time.perf_counter(), time.process_time()
        tally = await fill_verdicts(
            RunReader(store, run),
            ModelJudge(model, load_rubric("sopr-1")),
            rounds=ROUNDS,
            connections=connections,
        )
        makespan, cpu = time.perf_counter() - started, time.process_time() - cpu
        await model.close()
        stub.terminate()
    await store.close()
    calls = len(made) * ROUNDS
    assert tally.judged == calls, tally
    ideal = math.ceil(calls / connections) * latency_ms / 1000
    return {
        "verdicts": calls,
        "makespan_s": makespan,
        "ideal_s": ideal,
        "makespan_ratio": makespan / ideal,
        "cpu_ms_per_verdict": cpu / calls * 1000,
    }


async def main() -> None:
    """Both measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=765)
    parser.add_argument("--systems", type=int, default=6)
    parser.add_argument("--latency-ms", type=int, default=500)
    parser.add_argument("--connections", type=int, default=64)
    args = parser.parse_args()
    share = args.queries / sum(SIZES.values())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            json.dumps(
                {
                    "rescoring": await rescoring(folder, share, args.systems),
                    "judging": await judging(folder, share, args.latency_ms, args.connections),
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    event_loop.run(main())
