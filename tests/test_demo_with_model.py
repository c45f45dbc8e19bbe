"""``stb demo --model``: the demo with a model of the user's, checked before it is asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_server import Answer, LLMServer, llm, llm_server, obliging, text
from stb_core.cli.demo_with_model import TASKS

__all__ = ["llm", "llm_server"]

Stb = Callable[..., subprocess.CompletedProcess[str]]


def judging(body: dict[str, Any]) -> Answer:
    """Finishes at once, by function or in words, and finds every answer good."""
    if body.get("response_format"):
        return obliging(body)
    if body.get("stop"):
        answer = {"return_type": "give_answer", "final_answer": "Here it is."}
        return text(f"Thought: known.\nAction: Finish\nAction Input: {json.dumps(answer)}")
    return text("read_weather(city='Bonn')")


def test_a_model_that_calls_functions_is_given_cot(llm: LLMServer, stb: Stb, tmp_path: Path) -> None:
    """Doctor first, then six tasks, and a score by the model itself, with tokens, cost and time."""
    llm.rule = obliging
    done = stb("demo", "--model", "local/any", "--json", env={"LOCAL_BASE_URL": llm.url})

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert "cot" == document["agent"]
    assert ["data", "doctor", "serve", "run", "score"] == [c.split()[1] for c in document["commands"]]
    run = document["rows"][0]
    assert len(TASKS) == run["n_total"] == run["n_done"]
    assert run["prompt_tokens"] > 0
    assert {"local/any"} == {row["judge"] for row in document["rows"][1:] if row.get("judge")}


def test_a_model_that_calls_no_functions_is_given_react(llm: LLMServer, stb: Stb) -> None:
    """The output says why, and what the score is not."""
    llm.rule = judging
    done = stb("demo", "--model", "local/any", env={"LOCAL_BASE_URL": llm.url})

    assert done.returncode == 0, done.stderr
    assert "it writes calls as text" in done.stdout
    assert "react with local/any, 6 tasks: answered 6; 0 calls." in done.stdout
    assert "NOT COMPARABLE" in done.stdout
    assert "cost unknown without [prices]" in done.stdout


def test_a_model_that_is_not_there_is_named_at_once(llm: LLMServer, stb: Stb) -> None:
    """With what to do; no task is begun."""
    done = stb("demo", "--model", "local/any")

    assert done.returncode == 1
    assert "local/any cannot be used" in done.stderr
    assert "LOCAL_BASE_URL" in done.stderr
    assert "stb run" not in done.stderr
