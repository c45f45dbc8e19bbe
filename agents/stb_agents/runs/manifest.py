"""The plan of a run: its manifest."""

from __future__ import annotations

from stb_agents.custom.registry import Chosen
from stb_agents.environment.server_client import Served
from stb_agents.runs.runner import Conduct
from stb_agents.runs.selection import Selection
from stb_core.values.manifest import Manifest
from stb_core.values.provenance import is_frozen


def manifest_of(
    chosen: Chosen,
    model: str | None,
    selection: Selection,
    served: Served,
    conduct: Conduct,
    trials: int,
    snapshot: str = "",
) -> Manifest:
    """Everything that could change the run's score; nothing that could not.

    In replay mode that is the very set of responses that may answer, the one in force unless another
    is named. In other modes the run itself adds to them, and only a named one is part of it. A
    simulator answers in other modes alone.
    """
    is_replay = is_frozen(served.mode)
    server = {name: value for name, value in served.settings.items() if not is_replay or name != "simulator"}
    sampling, agent = conduct.sampling, chosen.agent
    given = {
        "temperature": sampling.temperature,
        "max_completion_tokens": sampling.max_completion_tokens,
        "seed": sampling.seed,
    }
    return Manifest(
        dataset=selection.dataset.name,
        dataset_hash=selection.dataset.content_hash,
        snapshot_hash=snapshot or (served.responses_hash if is_replay else ""),
        agent=agent.name,
        agent_settings={
            **agent.settings(),
            "budget": conduct.budget.settings(),
            "max_observation": conduct.max_observation,
        },
        agent_hash=chosen.code,
        model=model,
        model_settings={name: value for name, value in given.items() if value is not None} if model else {},
        mode=served.mode,
        server={**server, **({"episodes": True} if conduct.episodes else {})},
        selection=selection.asked_for,
        trials=trials,
        seed=sampling.seed or 0,
    )
