"""Lock files: hashes of what a run depends on and found, so that another run can be compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from stb_core.errors import ConflictError, FormatError, NotFoundError
from stb_core.files import read_document
from stb_core.values.manifest import Manifest

FORMAT = "stabletoolbench-lock/1"


class LockFile(BaseModel):
    """A dataset as it was, and a run on it where one is locked.

    ``members`` holds the SHA-256 of each part of the run's bundle, ``judges`` who judged by which rubric,
    and ``scores`` every number that was derived.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["stabletoolbench-lock/1"] = "stabletoolbench-lock/1"
    version: str
    dataset: str
    dataset_hash: str
    snapshot_hash: str
    run: str = ""
    manifest: Manifest | None = None
    members: dict[str, str] = {}
    judges: tuple[dict[str, Any], ...] = ()
    scores: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> bytes:
        """The file: the same lock is the same bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n"


def read_lock(path: Path) -> LockFile:
    """Read a lock file.

    Raises:
        NotFoundError: it does not exist.
        FormatError: it is not a lock file.
    """
    try:
        if not path.exists():
            raise NotFoundError(f"There is no lock file {path}.", hint="Make one: stb lock RUN -o FILE.")
        return LockFile.model_validate_json(read_document(path, validated=True))
    except (FormatError, ValidationError) as problem:
        reason = (
            problem.errors(include_input=False, include_url=False)[0]["msg"]
            if isinstance(problem, ValidationError)
            else problem.message
        )
        raise FormatError(
            f"{path} is not a lock file: {reason}.", hint="Make one: stb lock RUN -o FILE."
        ) from None


def check(lock: LockFile, manifest: Manifest) -> None:
    """Check that a run that is about to begin is the one that was locked, or is on the dataset that was.

    Raises:
        ConflictError: it is another; the message names the first setting that differs.
    """
    locked: dict[str, Any]
    if lock.manifest is not None:
        locked = lock.manifest.model_dump(mode="json")
    else:
        locked = {"dataset_hash": lock.dataset_hash, "snapshot_hash": lock.snapshot_hash}
    found = manifest.model_dump(mode="json")
    names = locked if lock.manifest is None else {**locked, **found}
    for name in names:
        wanted, is_now = locked.get(name, ""), found.get(name, "")
        if is_now != wanted:
            raise ConflictError(
                f"This is not the run that was locked: {name} is {is_now!r} and was {wanted!r}.",
                hint="Run it as it was locked, or without --locked.",
            )
