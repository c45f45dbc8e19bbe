"""Rubrics: instructions for judges. Each is one versioned file, identified by the hash of its bytes."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from stb_core.errors import NotFoundError

# Characters that the published code shows of an answer to its judge of pairs.
CUT = 1000

FOLDER = resources.files(__package__)
"""Where the rubrics are."""

_PLACE = re.compile(r"\{\{(\w+)\}\}")


class Rubric(BaseModel):
    """Instructions for a judge, and the settings of its model; limits are in characters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    metric: str
    temperature: float | None
    max_tokens: int
    answer_limit: int
    observation_limit: int
    trajectory_limit: int
    system: str
    stages: dict[str, str]
    hash: str


def load_rubric(name: str) -> Rubric:
    """One of our own rubrics by its name, such as ``sopr-1``.

    Raises:
        NotFoundError: there is no such rubric.
    """
    known = sorted(f.name.removesuffix(".yaml") for f in FOLDER.iterdir() if f.name.endswith(".yaml"))
    if name not in known:
        raise NotFoundError(f"There is no rubric {name!r}.", hint=f"There are: {', '.join(known)}.")
    data = (FOLDER / f"{name}.yaml").read_bytes()
    fields: dict[str, Any] = yaml.safe_load(data)
    return Rubric.model_validate({**fields, "hash": hashlib.sha256(data).hexdigest()})


def fill(template: str, **values: str) -> str:
    """The template with each ``{{name}}`` replaced, in one pass, so values are never expanded."""
    return _PLACE.sub(lambda found: values[found[1]], template)


def cut_rubric(rubric: Rubric) -> Rubric:
    """The rubric with the published code's limit on the text of answers; another hash."""
    digest = hashlib.sha256(f"{rubric.hash}:cut {CUT}".encode()).hexdigest()
    limits = {"answer_limit": CUT, "observation_limit": CUT, "trajectory_limit": CUT}
    return rubric.model_copy(update={**limits, "hash": digest})
