"""Which run a command continues, where ``--fresh`` has made several with the same settings."""

from __future__ import annotations

from itertools import count

from stb_core.store import Store
from stb_core.values import Manifest


async def choose_run(store: Store, name: str, manifest: Manifest, *, fresh: bool) -> str:
    """The newest run of that name, or made from it by ``--fresh``, with these settings; a free name for a fresh one.

    Args:
        store: where runs are.
        name: of the first run.
        manifest: what the run is to be.
        fresh: whether a run that exists is left alone; then the name gets a number.
    """
    runs = await store.runs.all()
    family = [run for run in runs if name in {run.run, run.repeats}]
    if not fresh:
        same = [run.run for run in family if run.manifest.hash == manifest.hash]
        return same[-1] if same else name
    taken = {run.run for run in runs}
    return name if name not in taken else next(one for n in count(2) if (one := f"{name}-{n}") not in taken)
