"""The identity of a run: its manifest, the name that is made from it, and what to know of its server."""

from __future__ import annotations

from stb_agents.environment import ServedDataset
from stb_agents.runs.preparation import PreparedRun
from stb_agents.runs.request import AUTO
from stb_core.values import Manifest, Provenance, lockfile
from stb_core.values.manifest import run_id
from stb_core.values.provenance import MODES, Source, is_frozen


def identify_run(prepared: PreparedRun, served: ServedDataset) -> tuple[str, Manifest]:
    """The run's id, and its manifest.

    Args:
        prepared: the agent, the queries and the settings of the run.
        served: the dataset as the server serves it.

    Raises:
        UsageError: the run is not what the lock file says, where one was named.
    """
    manifest = manifest_of(prepared, served)
    if prepared.lock:
        lockfile.check(prepared.lock, manifest)
    return run_id(manifest, prepared.selection.groups, prepared.request.name), manifest


def manifest_of(prepared: PreparedRun, served: ServedDataset) -> Manifest:
    """Everything that could change the run's score; nothing that could not.

    In replay mode the recorded responses are part of it: the snapshot that was named, else those in force.
    In other modes the run itself adds to the responses, so only a named snapshot is part of it; and
    only there is the simulator, which answers in no other mode.
    """
    request, selection, trial_settings = prepared.request, prepared.selection, prepared.trial_settings
    is_replay = is_frozen(served.mode)
    server = {name: value for name, value in served.settings.items() if not is_replay or name != "simulator"}
    sampling, agent = trial_settings.sampling, prepared.agent.agent
    found = f"{AUTO}: {'on' if sampling.text_calls else 'off'}"
    model_settings = {
        "temperature": sampling.temperature,
        "max_completion_tokens": sampling.max_completion_tokens,
        "seed": sampling.seed,
        "text_calls": found if request.text_calls == AUTO else sampling.text_calls or None,
    }
    return Manifest(
        dataset=selection.dataset.name,
        dataset_hash=selection.dataset.content_hash,
        snapshot_hash=request.snapshot or (served.responses_hash if is_replay else ""),
        agent=agent.name,
        agent_settings={
            **agent.settings(),
            "budget": trial_settings.budget.settings(),
            **trial_settings.observations.settings(),
        },
        agent_hash=prepared.agent.code.identity,
        agent_version=request.agent_version,
        model=request.model,
        model_settings={name: value for name, value in model_settings.items() if value is not None}
        if request.model
        else {},
        mode=served.mode,
        server={**server, **({"episodes": True} if trial_settings.episodes else {})},
        selection=selection.asked_for,
        trials=request.trials,
        seed=sampling.seed or 0,
    )


def simulator_note(served: ServedDataset) -> str:
    """What to know of the simulator before a run in the server's mode; "" where a model answers or none is asked."""
    rules = next((rules for mode, rules in MODES.items() if mode == served.mode), None)
    if rules is None or Source.SIMULATOR not in rules.sources:
        return ""
    simulator = served.settings.get("simulator", "")
    if simulator == Provenance.TEMPLATE:
        return "NOTE: no simulator model: calls without a recording get template answers (see stb serve --simulator)."
    if not simulator:
        return "NOTE: no simulator: calls that no recording or real API answers are misses (see stb serve --simulator)."
    return ""
