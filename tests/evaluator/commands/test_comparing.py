"""``stb compare`` on the recorded verdicts of six real systems."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

SYSTEMS = ("toolllama_sft_cot", "baseline-rft_cot", "baseline-ppo_cot")
SEARCHERS = ("toolllama_sft_dfs", "baseline-rft_dfs", "baseline-ppo_dfs")


@pytest.fixture(name="imported")
def _imported(run_stb, real_data: Path) -> None:
    assert run_stb("import", real_data / "pass_rate_results", "--json").code == 0


@pytest.mark.usefixtures("imported")
def test_every_pair_of_six_systems_has_interval_and_p(run_stb) -> None:
    """Fifteen pairs; no two of the three CoT systems can be told apart, each search beats its CoT twin."""
    document = run_stb("compare", *SYSTEMS, *SEARCHERS, "--json").document

    macro = {(r["run"], r["run_b"]): r for r in document["rows"] if r["group"] == "macro"}
    assert document["headline"] == []
    assert set(macro) == set(combinations((*SYSTEMS, *SEARCHERS), 2))
    assert all(r["ci_low"] < r["value"] < r["ci_high"] for r in macro.values())
    assert all(macro[pair]["p"] > 0.05 for pair in combinations(SYSTEMS, 2))
    assert all(macro[pair]["p_holm"] < 0.01 for pair in zip(SYSTEMS, SEARCHERS, strict=True))


@pytest.mark.usefixtures("imported")
def test_the_table_says_in_words_what_it_shows(run_stb) -> None:
    """And nothing is bold."""
    ended = run_stb("compare", *SYSTEMS[:2])

    assert "toolllama_sft_cot and baseline-rft_cot: no difference shown" in ended.out
    assert (ended.code, "\x1b" in ended.out) == (0, False)


def test_one_run_is_no_comparison(run_stb, real_data: Path) -> None:
    """One line, exit code 2."""
    run_stb("import", real_data / "pass_rate_results_example", "--json")

    ended = run_stb("compare", "virtual_chatgpt_cot", "virtual_chatgpt_cot")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("stb: A comparison needs two runs.")
