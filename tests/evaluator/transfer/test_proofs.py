"""A bundle's numbers are derived again from nothing else; a changed byte is found and named."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluator_makers import make_run, trajectory
from stb_core.errors import ConflictError, FormatError
from stb_core.store import Store, open_store
from stb_core.store.database import sqlite_url
from stb_core.values.lockfile import LockFile, check, read_lock
from stb_core.values.verdicts import Status, Verdict
from stb_evaluator.transfer.bundles import HEADER, MEMBERS, read_bundle
from stb_evaluator.transfer.proofs import bundle_of, lock_run, prove


async def judged_run(store: Store) -> tuple[bytes, LockFile]:
    """A run of three judged answers: its bundle and its lock."""
    answers = [trajectory(str(number)) for number in range(3)]
    run = await make_run(store, answers)
    await store.verdicts.append(
        [
            Verdict(
                run=run.run,
                group=answer.group,
                query_id=answer.query_id,
                judge="stub/any",
                rubric="r",
                round=0,
                status=Status.SOLVED if answer.query_id == "0" else Status.UNSOLVED,
                answer_hash=answer.answer_hash,
            )
            for answer in answers
        ]
    )
    return await bundle_of(store, run), await lock_run(store, run)


def repacked(bundle: bytes, *, level: int | None = None, **changed: bytes) -> bytes:
    """A bundle with other members, and with hashes in its header that agree with them."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, old in members.items():
            new = changed.get(info.filename.split(".")[0], old)
            if info.filename == "bundle.json" and changed:
                header = json.loads(old)
                hashes = {f"{name}.jsonl": hashlib.sha256(data).hexdigest() for name, data in changed.items()}
                new = json.dumps({**header, "sha256": {**header["sha256"], **hashes}}, indent=2).encode()
            archive.writestr(info, new, compresslevel=level)
    return buffer.getvalue()


async def test_a_bundle_proves_its_lock(store: Store) -> None:
    """Every check is identical on both databases, and there are numbers to check."""
    bundle, lock = await judged_run(store)

    findings = await prove(read_bundle(bundle), lock=lock)

    assert [""] * 5 == [finding.first_difference for finding in findings]
    assert findings[-1].n > 100


async def test_a_forged_call_is_found(sqlite_store: Store) -> None:
    """The list of calls is that of the trajectories, whatever its hash says."""
    bundle, lock = await judged_run(sqlite_store)
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        calls = archive.read("calls.jsonl").replace(b"4217", b"4218", 1)

    findings = await prove(read_bundle(repacked(bundle, calls=calls)), lock=lock)

    differences = {finding.check: finding.first_difference for finding in findings}
    assert differences["list of calls"] == "calls.jsonl, G1_tool/0/0: not what the trajectory says"


async def test_an_archive_packed_by_another_library_is_as_good(sqlite_store: Store) -> None:
    """zlib-ng and the like pack the same content in other bytes."""
    bundle, lock = await judged_run(sqlite_store)

    findings = await prove(read_bundle(repacked(bundle, level=1)), lock=lock)

    assert [""] * 5 == [finding.first_difference for finding in findings]


async def test_a_forged_verdict_is_found(sqlite_store: Store) -> None:
    """Though all hashes in the bundle agree with it: the lock's do not, nor do the numbers."""
    bundle, lock = await judged_run(sqlite_store)
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        verdicts = archive.read("verdicts.jsonl").replace(b'"unsolved"', b'"solved"')

    findings = await prove(read_bundle(repacked(bundle, verdicts=verdicts)), lock=lock)

    differences = {finding.check: finding.first_difference for finding in findings}
    assert "is not what was locked" in differences["parts of the locked run"]
    assert "value is 100.0 and was 33.3" in differences["numbers"]


async def test_a_verdict_by_rules_that_the_rules_do_not_give_is_found(sqlite_store: Store) -> None:
    """Without a lock, since the rules can be asked again."""
    run = await make_run(sqlite_store, [trajectory("1", answer="No idea.")])
    (answer,) = [answer async for answer in sqlite_store.runs.trajectories("r")]
    place = {"run": "r", "group": "G1_tool", "query_id": "1", "round": 0, "answer_hash": answer.answer_hash}
    forged = {"judge": "rules", "rubric": "rules-1", "status": Status.SOLVED}
    await sqlite_store.verdicts.append([Verdict.model_validate({**place, **forged})])

    findings = await prove(read_bundle(await bundle_of(sqlite_store, run)))

    assert [finding.first_difference for finding in findings if finding.first_difference] == [
        "G1_tool/1, round 0: a verdict of rules does not belong to this bundle: the rules decide otherwise"
    ]


async def test_the_last_digit_may_be_another_and_no_other(sqlite_store: Store) -> None:
    """As with another version of NumPy; the tenth digit already counts."""
    bundle, lock = await judged_run(sqlite_store)

    def with_scores(factor: float) -> LockFile:
        scores = [
            {name: value * factor if name == "ci_low" and value else value for name, value in row.items()}
            for row in lock.scores
        ]
        return lock.model_copy(update={"scores": tuple(scores)})

    assert not (await prove(read_bundle(bundle), lock=with_scores(1 + 2e-16)))[-1].first_difference
    assert "ci_low is" in (await prove(read_bundle(bundle), lock=with_scores(1 + 2e-9)))[-1].first_difference


async def difference(bundle: bytes, lock: LockFile) -> str:
    """What is said of a damaged bundle."""
    try:
        findings = await prove(read_bundle(bundle), lock=lock)
    except FormatError as problem:
        return problem.message
    return next((finding.first_difference for finding in findings if finding.first_difference), "")


def contents(bundle: bytes) -> dict[str, bytes]:
    """What every member unpacks to."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    member=st.sampled_from([HEADER, *MEMBERS]),
    place=st.floats(0, 1, exclude_max=True),
    change=st.integers(1, 255),
)
def test_a_changed_byte_of_a_packed_member_is_named_or_changes_no_content(
    judged_bundle: tuple[bytes, LockFile], member: str, place: float, change: int
) -> None:
    """The first difference says which member it is; a few bits at the end of a packed member mean nothing."""
    bundle, lock = judged_bundle
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        info = archive.getinfo(member)
    start = info.header_offset + 30 + len(info.filename)
    damaged = bytearray(bundle)
    damaged[start + int(place * info.compress_size)] ^= change

    said = asyncio.run(difference(bytes(damaged), lock))

    assert member in said or contents(bytes(damaged)) == contents(bundle)


@pytest.fixture(name="judged_bundle", scope="module")
def _judged_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, LockFile]:
    async def made() -> tuple[bytes, LockFile]:
        store = await open_store(sqlite_url(tmp_path_factory.mktemp("bundle") / "store.db"))
        try:
            return await judged_run(store)
        finally:
            await store.close()

    return asyncio.run(made())


async def test_verdicts_on_other_texts_do_not_spoil_a_proof(sqlite_store: Store) -> None:
    """Those on pairs, and those by which a judge was tried, are on other texts than the run's answers."""
    await judged_run(sqlite_store)
    run = await sqlite_store.runs.get("r")
    await sqlite_store.verdicts.append(
        [
            Verdict(
                run="r",
                group="G1_tool",
                query_id="0",
                metric=metric,
                judge="j",
                rubric="r",
                round=0,
                status=Status.SOLVED,
                answer_hash="of another text",
            )
            for metric in ("sowr", "probe")
        ]
    )

    lock = await lock_run(sqlite_store, run)
    findings = await prove(read_bundle(await bundle_of(sqlite_store, run)), lock=lock)

    assert [""] * 5 == [finding.first_difference for finding in findings]
    assert {row["metric"] for row in lock.scores if row["block"] == "faithful"} == {"sopr"}


async def test_a_changed_byte_is_found_or_changes_no_content(sqlite_store: Store) -> None:
    """Wherever it is: in a member, in the header or in the archive around them, such as a member's date."""
    bundle, lock = await judged_run(sqlite_store)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(bundle) - 1), st.integers(1, 255))
    def each(place: int, change: int) -> None:
        damaged = bytearray(bundle)
        damaged[place] ^= change
        found.append(bytes(damaged))

    found: list[bytes] = []
    each()
    for damaged in found:
        assert await difference(damaged, lock) or contents(damaged) == contents(bundle)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("notes.txt", "notes.txt is in the archive but is not part of a bundle"),
        ("calls.jsonl", "calls.jsonl is in the archive twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
async def test_a_member_that_is_not_listed_is_found(sqlite_store: Store, name: str, said: str) -> None:
    """Nothing travels in a bundle beside its own members; without a lock too."""
    bundle, _ = await judged_run(sqlite_store)
    buffer = io.BytesIO(bundle)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, contents(bundle).get(name, b"hello"))

    findings = await prove(read_bundle(buffer.getvalue()))

    assert [finding.first_difference for finding in findings if finding.first_difference] == [said]


async def test_a_lock_refuses_another_run(sqlite_store: Store, tmp_path: Path) -> None:
    """A lock file reads back as it was; a run with another setting is named by it."""
    _, lock = await judged_run(sqlite_store)
    (tmp_path / "lock").write_bytes(lock.as_json())
    manifest = read_lock(tmp_path / "lock").manifest
    assert manifest

    check(lock, manifest)
    with pytest.raises(ConflictError, match="seed is 7 and was 0"):
        check(lock, manifest.model_copy(update={"seed": 7}))


async def test_lock_export_and_verify_by_command(
    run_stb: Callable[..., Any], sqlite_store_url: str, tmp_path: Path
) -> None:
    """The commands agree with one another; a damaged bundle ends with exit code 1 and its name."""
    store = await open_store(sqlite_store_url)
    await judged_run(store)
    await store.close()

    def commands() -> list[Any]:
        done = [run_stb("lock", "r", "-o", "r.lock"), run_stb("export", "r", "-o", "r.zip")]
        done += [run_stb("verify", "r"), run_stb("verify", "r.zip", "--lock", "r.lock", "--json")]
        (tmp_path / "bad.zip").write_bytes((tmp_path / "r.zip").read_bytes()[:-30])
        return [*done, run_stb("verify", "bad.zip", "--lock", "r.lock")]

    *good, bad = await asyncio.to_thread(commands)

    assert [0] * 4 == [ended.code for ended in good], [ended.err for ended in good]
    assert good[2].out.endswith("identical\n")
    assert good[3].document["identical"]
    assert (1, True) == (bad.code, bad.err.startswith("stb: bad.zip "))
