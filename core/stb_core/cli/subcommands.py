"""Runs the commands of a longer job, each as a separate ``stb`` process.

Packages beside each other do not import each other, so a job that needs several of them is made of the
commands that a person would type.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from stb_core.cli import console
from stb_core.errors import StbError, StoreError
from stb_core.settings import PREFIX

SERVER_LOG = "server.log"
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 10


class CommandRunner:
    """Runs ``stb`` commands in a folder, with default settings whatever the environment says.

    ``variables`` are set for these commands alone; ``typed`` holds the commands so far.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        variables: Mapping[str, str] | None = None,
        echo: bool = False,
    ) -> None:
        self.folder = folder
        self.typed: list[str] = []
        self._echo = echo
        own = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
        self._environment = {**own, **(variables or {})}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreError(
                f"The folder {folder} cannot be made ({problem.strerror}).",
                hint="Name one that can be written.",
            ) from None

    async def run(self, *args: str, may_fail: bool = False) -> list[dict[str, Any]]:
        """Run ``stb ARGS --json`` to its end and return the rows that it printed.

        It is ended when the caller is cancelled. With ``may_fail`` exit code 1 is no failure if it printed rows.

        Raises:
            StbError: it failed; the message ends with the last thing that it said.
        """
        self._note(args)
        process = await self._start(args, asyncio.subprocess.PIPE)
        try:
            out, err = await process.communicate()
        finally:
            await _stop(process)
        if process.returncode and not (may_fail and process.returncode == 1 and out):
            raise _failed(args, process.returncode, err)
        rows: list[dict[str, Any]] = orjson.loads(out)["rows"]
        return rows

    @asynccontextmanager
    async def serving(self, *args: str) -> AsyncGenerator[str]:
        """Keep ``stb serve ARGS`` running for the length of the block; gives its address."""
        self._note(("serve", *args))
        log = self.folder / SERVER_LOG
        with log.open("wb") as stderr:
            process = await self._start(("serve", *args), stderr)
        try:
            assert process.stdout
            async with asyncio.timeout(_START_TIMEOUT_S):
                announced = await process.stdout.readline()
            if not announced:
                raise _failed(("serve", *args), await process.wait(), log.read_bytes())
            yield orjson.loads(announced)["url"]
        finally:
            await _stop(process)

    def _note(self, args: Sequence[str]) -> None:
        self.typed.append(shlex.join(("stb", *args)))
        if self._echo:
            console.print_note(f"$ {self.typed[-1]}")

    async def _start(self, args: Sequence[str], stderr: int | IO[bytes]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stb_core.cli", *args, "--json"),
            cwd=self.folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )


def _failed(args: Sequence[str], code: int, stderr: bytes) -> StbError:
    said = stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    reason = said[-1].removeprefix("stb: ")
    return StbError(f"'{shlex.join(('stb', *args))}' ended with exit code {code}: {reason}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
