"""Distributions have the values of published tables, and scipy waits until they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stb_evaluator.statistics import distributions


def test_quantiles_and_probabilities_are_those_of_tables() -> None:
    """Normal and t tables; the beta distribution with equal shapes of 1 is uniform; five coins."""
    assert 1.959964 == pytest.approx(distributions.normal_quantile(0.975), abs=1e-6)
    assert 0.975 == pytest.approx(distributions.normal_probability(1.959964), abs=1e-6)
    assert 2.228139 == pytest.approx(distributions.student_quantile(10, 0.975), abs=1e-6)
    assert 0.975 == pytest.approx(distributions.student_probability(10, 2.228139), abs=1e-6)
    assert [0.1, 0.9] == pytest.approx(list(distributions.beta_quantile(1, 1, [0.1, 0.9])))
    assert 6 / 32 == pytest.approx(distributions.binomial_probability(1, 5, 0.5))


@pytest.mark.parametrize("module", ["stb_evaluator.commands.ls", "stb_evaluator.commands.score"])
def test_a_command_starts_without_scipy(module: str) -> None:
    """Importing it would be a fifth of the time that the command takes to start."""
    program = f"import {module}, sys; print([name for name in sys.modules if name.split('.')[0] == 'scipy'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout
