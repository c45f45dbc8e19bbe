"""Runs the published evaluator on the cases of ``published_cases.py`` and writes what it found.

    python tests/make_published_figures.py CHECKOUT PYTHON DATA

CHECKOUT is a copy of github.com/THUNLP-MT/StableToolBench at aa4ed9f, PYTHON an interpreter with its evaluator's
requirements (openai, tenacity, backoff, tqdm, numpy, pandas, pyyaml, pydantic), DATA the recorded material. Nothing of
the published code is written down: only figures, verdicts, and hashes of prompts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from llm_server import LLMServer
from published_cases import (
    FIGURES,
    GROUP,
    Case,
    by_query,
    cases,
    frame_of,
    hash_of_prompt,
    is_left_to_chance,
    raw_folders,
    short_hash,
    write_converted,
    write_evaluator,
)

# What the published script imports and no figure depends on; its local model asks a server.
_STAND_INS = {
    "torch": "",
    "transformers": "pipeline = None",
    "accelerate": "Accelerator = None",
    "vllm": """
from types import SimpleNamespace
import requests
class SamplingParams:
    def __init__(self, **settings): self.settings = settings
class LLM:
    def __init__(self, model): self.url = model
    def chat(self, messages, settings, use_tqdm):
        body = {"model": "any", "messages": messages, **settings.settings}
        reply = requests.post(self.url + "/chat/completions", json=body).json()
        return [SimpleNamespace(outputs=[SimpleNamespace(text=reply["choices"][0]["message"]["content"])])]
""",
}


def main(checkout: Path, python: str, data: Path) -> None:
    """Run every case, one after the other."""
    write_evaluator(checkout / "toolbench/tooleval/evaluators/own")
    with LLMServer() as llm:
        found = {name: run_case(case, checkout, python, llm) for name, case in cases(data).items()}
        found["converted"] = convert(checkout, python, data)
        found["fac"] = run_correctness(cases(data)["pass"], checkout, python, llm)
    lines = (f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found.items())
    FIGURES.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def run_case(case: Case, checkout: Path, python: str, llm: LLMServer) -> dict[str, Any]:
    """What the published evaluator makes of one case."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_converted(case, folder / "converted")
        (folder / "ids").mkdir()
        (folder / "ids" / f"{GROUP}.json").write_text(json.dumps(dict.fromkeys(case.ids, 0)))
        (folder / "pool.json").write_text(json.dumps([{"api_key": "none", "api_base": llm.url}]))
        llm.reset()
        llm.rule = case.judge()
        found: dict[str, Any] = {"systems": {}}
        for system in case.systems:
            saved = folder / "pass_rate_results" / system
            saved.mkdir(parents=True)
            if case.earlier:
                (saved / f"{GROUP}_{system}.json").write_text(json.dumps(case.earlier))
            said = _run(checkout, python, folder, "eval_pass_rate.py", case, "--save_path", str(saved), "--reference_model", system)  # fmt: skip
            figure = re.search(r"Solve rate: ([\d.]+)% Std: ([\d.]+)%", said)
            assert figure, said
            recorded = json.loads((saved / f"{GROUP}_{system}.json").read_text())
            found["systems"][system] = {
                "sopr": float(figure[1]),
                "std": float(figure[2]),
                "verdicts": {name: one["is_solved"] for name, one in recorded.items()},
            }
        if case.compares:
            llm.requests.clear()
            llm.rule = case.judge()
            reference, candidate = case.systems
            said = _run(
                checkout, python, folder, "eval_preference.py", case,
                "--save_path", str(folder / "preferences"), "--reference_model", reference,
                "--output_model", candidate, "--pass_rate_result_path", str(folder / "pass_rate_results"),
                "--use_pass_rate", "true",
            )  # fmt: skip
            figure = re.search(r"Win rate: ([\d.]+), Tie rate: ([\d.]+)", said)
            path = folder / "preferences" / f"{GROUP}_{reference}_{candidate}.json"
            votes = json.loads(path.read_text())
            found["win"] = 100 * float(figure[1]) if figure else said.strip().splitlines()[-1]
            found["tie"] = 100 * float(figure[2]) if figure else None
            found["votes"] = {name: [one[candidate], one[reference]] for name, one in votes.items()}
        asked = Counter(map(hash_of_prompt, llm.requests))
        found["functions"] = dict(Counter(one.partition(":")[0] for one in asked.elements()))
        found["prompts"] = sorted(asked)
        frames = {body["tool_choice"]["function"]["name"]: frame_of(body) for body in llm.requests}
        found["frames"] = dict(sorted(frames.items()))
        return found


def convert(checkout: Path, python: str, data: Path) -> dict[str, str]:
    """The hashes of what the published converter makes of raw answers, by system, group and id."""
    found = {}
    with tempfile.TemporaryDirectory() as made:
        for folder, method in raw_folders(data).items():
            output = Path(made) / "converted.json"
            subprocess.run(
                [
                    python, "convert_to_answer_format.py", "--answer_dir", str(folder),
                    "--method", method, "--output", str(output),
                ],
                cwd=checkout / "toolbench/tooleval",
                capture_output=True,
                check=True,
            )  # fmt: skip
            converted = json.loads(output.read_text())
            for path in sorted(folder.glob("*.json")):
                if not is_left_to_chance(json.loads(path.read_text())):
                    answer = converted[path.stem.partition("_")[0]]["answer"]
                    found[str(path.relative_to(data / "answers"))] = short_hash(json.dumps(answer))
    return found


def run_correctness(case: Case, checkout: Path, python: str, llm: LLMServer) -> dict[str, float]:
    """The published final-answer correctness of each system; its model is replaced by ``by_query``."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_converted(case, folder / "converted")
        (folder / "ids.json").write_text(json.dumps(dict.fromkeys(case.ids, 0)))
        for name, text in _STAND_INS.items():
            (folder / f"{name}.py").write_text(text)
        llm.rule = by_query(case)
        found = {}
        for system in case.systems:
            ended = subprocess.run(
                [
                    python, "fac_eval.py", "--model_path", llm.url, "--output_path", str(folder / f"{system}.csv"),
                    "--evaluation_path", str(folder / "converted" / system / f"{GROUP}.json"),
                    "--ids", str(folder / "ids.json"),
                ],
                cwd=checkout / "toolbench/tooleval",
                env={**os.environ, "PYTHONPATH": str(folder)},
                capture_output=True,
                text=True,
                check=False,
            )  # fmt: skip
            figure = re.search(r"success rate of ([\d.]+)", ended.stdout)
            assert figure, ended.stdout + ended.stderr
            found[system] = 100 * float(figure[1])
        return found


def _run(checkout: Path, python: str, folder: Path, script: str, case: Case, *arguments: str) -> str:
    (folder / "preferences").mkdir(exist_ok=True)
    ended = subprocess.run(
        [
            python, script, "--converted_answer_path", str(folder / "converted"),
            "--test_ids", str(folder / "ids"), "--evaluator", "own", "--max_eval_threads", "1",
            "--evaluate_times", str(case.rounds), "--test_set", GROUP, *arguments,
        ],
        cwd=checkout / "toolbench/tooleval",
        env={**os.environ, "API_POOL_FILE": str(folder / "pool.json"), "EVAL_MODEL": "any"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return ended.stdout + ended.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
