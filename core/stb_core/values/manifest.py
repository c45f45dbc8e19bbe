"""The manifest of a run: every setting and content hash that could change its score.

Two runs with equal manifests are the same run; the name of a run is made from the hash, so the
same command again finds it and continues it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stb_core.errors import UsageError
from stb_core.values.calls import content_hash

# Of other names too little could be left to tell them apart.
_OWN_NAME = re.compile(r"[A-Za-z0-9._ -]+")

_IN_WORDS = {
    "agent_hash": "the agent's code",
    "dataset_hash": "the dataset",
    "snapshot_hash": "the responses",
}


class Manifest(BaseModel):
    """What a run is.

    ``selection`` names the groups, query ids and limit that were asked for; ``server`` says what else
    of the server could change an answer: its simulator, injected faults, episodes. ``agent_hash`` is what is known
    of the agent's code, ``agent_version`` what the user calls it; without one, the manifest has no such member.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["stabletoolbench-manifest/1"] = "stabletoolbench-manifest/1"
    dataset: str
    dataset_hash: str
    snapshot_hash: str = ""
    agent: str
    agent_settings: dict[str, Any] = {}
    agent_hash: str = ""
    model: str | None = None
    model_settings: dict[str, Any] = {}
    mode: str = "replay"
    server: dict[str, Any] = {}
    selection: dict[str, Any] = {}
    trials: int = 1
    seed: int = 0
    imported_from: str = ""
    # Older manifests do not have it; left out when empty, so that old runs keep their hashes.
    agent_version: str = Field(default="", exclude_if=lambda version: not version)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of the manifest, as hexadecimal digits."""
        return content_hash(self.model_dump(mode="json"))

    def differences(self, other: Manifest) -> list[str]:
        """The members in which another manifest differs, in words."""
        one, two = self.model_dump(mode="json"), other.model_dump(mode="json")
        names = [name for name in {**one, **two} if one.get(name, "") != two.get(name, "")]
        return [_IN_WORDS.get(name, name.replace("_", " ")) for name in names]


def run_id(manifest: Manifest, groups: Sequence[str], name: str | None = None) -> str:
    """The user's own name, or ``<agent>[-<model>]-<dataset>[-<group>]-<8 digits of the manifest's hash>``.

    Raises:
        UsageError: nothing, or not enough, of the user's name can stand in the name of a run.
    """
    if name:
        if not _OWN_NAME.fullmatch(name) or not slug(name):
            raise UsageError(
                f"A run cannot be called {name!r}.",
                hint="Choose a name of letters, digits, '.', '_' and '-'; spaces become '-'.",
            )
        return slug(name)
    model = (manifest.model or "").partition("/")[2]
    group = groups[0] if len(groups) == 1 else ""
    parts = [manifest.agent, model, manifest.dataset, group, manifest.hash[:8]]
    return "-".join(word for part in parts if (word := slug(part)))


def slug(text: str) -> str:
    """Text in a form that a run's name can hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
