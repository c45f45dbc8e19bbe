"""Checks what others could reach: the listening address, tokens, private addresses, readable secrets."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stb_core.errors import StbError, UsageError
from stb_server.commands.doctor_checks.check_result import CheckResult, failure, warning
from stb_server.commands.serve import is_loopback
from stb_server.upstream.configuration import read_upstream_config
from stb_server.worker import hash_of_token, read_tokens_file

_LEAST_TOKEN = 16
_SECRETS = ("KEY", "TOKEN", "PASSWORD", "SECRET")


@dataclass(frozen=True)
class Exposure:
    """The settings that decide who can reach a server, and what it can reach."""

    host: str
    port: int
    token: str
    write_token: str
    upstream: Path | None
    environment: Mapping[str, str]
    server: str = ""
    """URL of the server in use; empty for one that this machine would start."""
    tokens_file: Path | None = None
    """The file with a token for each client."""


def check_exposure(exposed: Exposure, env_file: Path) -> list[CheckResult]:
    """Check the settings, without opening connections."""
    return [
        _address(exposed),
        *_tokens_file(exposed),
        _writing(exposed),
        *_upstream(exposed),
        *_env_file(env_file),
    ]


def _address(exposed: Exposure) -> CheckResult:
    if exposed.server and not is_loopback(urlsplit(exposed.server).hostname or ""):
        return CheckResult(
            "address", f"the server is {exposed.server}; who can reach it is checked where it runs"
        )
    place = f"{exposed.host}:{exposed.port}"
    if is_loopback(exposed.host):
        guard = (
            "with a token"
            if exposed.token or exposed.tokens_file
            else "without a token: open to everybody on this machine"
        )
        return CheckResult("address", f"stb serve would listen on {place}, for this machine only, {guard}")
    if not exposed.token and not exposed.tokens_file:
        return failure(
            "address",
            "exposed-without-token",
            f"stb serve would listen on {place}, which other machines can reach, without a token",
            "Set STB_TOKEN (openssl rand -hex 16), or listen on 127.0.0.1.",
        )
    if exposed.token and len(exposed.token) < _LEAST_TOKEN:
        return warning(
            "address",
            "token-short",
            f"stb serve would listen on {place}, which other machines can reach, and its token has only {len(exposed.token)} characters",
            f"Set a token of at least {_LEAST_TOKEN} characters: openssl rand -hex 16.",
        )
    return CheckResult("address", f"stb serve would listen on {place}, with a token")


def _tokens_file(exposed: Exposure) -> list[CheckResult]:
    path = exposed.tokens_file
    if path is None:
        return []
    try:
        entries = read_tokens_file(path)
        mode = path.stat().st_mode
    except StbError as problem:
        return [failure("tokens", "tokens-unusable", problem.message.rstrip("."), problem.hint)]
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        found = f"other users can write {path}, so they can give themselves any right"
        return [failure("tokens", "tokens-writable", found, f"chmod go-w {path}")]
    shared = [name for name, entry in entries.items() if entry.sha256 == hash_of_token(exposed.token)]
    if shared:
        found = f"the token of {shared[0]} in {path} is also STB_TOKEN, which may do everything"
        return [
            warning("tokens", "tokens-shared", found, "Give STB_TOKEN another value: openssl rand -hex 16.")
        ]
    if not entries:
        found = f"{path} names nobody: without STB_TOKEN no request is answered"
        return [warning("tokens", "tokens-empty", found, "Add somebody to the file.")]
    writers = sum(entry.rights == "write" for entry in entries.values())
    return [CheckResult("tokens", f"{path} has {len(entries)} names, {writers} of which may write")]


def _writing(exposed: Exposure) -> CheckResult:
    if not exposed.write_token:
        return CheckResult("writing", "the inspector is read-only: there is no write token")
    if exposed.write_token == exposed.token:
        return warning(
            "writing",
            "write-token-shared",
            "the write token equals the token: everybody who can read can delete recordings",
            "Set STB_WRITE_TOKEN to a different value: openssl rand -hex 16.",
        )
    return CheckResult("writing", "with the write token one can pin, annotate and delete recordings")


def _upstream(exposed: Exposure) -> list[CheckResult]:
    if exposed.upstream is None:
        return [CheckResult("real APIs", "none: the server calls no real API")]
    try:
        config = read_upstream_config(exposed.upstream)
    except StbError as problem:
        return [failure("real APIs", "upstream-invalid", problem.message.rstrip("."), problem.hint)]
    networks = ", ".join(map(str, config.limits.allowed_networks))
    results = [
        CheckResult("real APIs", f"{len(config.tools)} tools, proxy {'set' if config.proxy else 'not set'}")
    ]
    try:
        config.secrets(exposed.environment)
    except UsageError as problem:
        remedy = f"Set the variables that {exposed.upstream} names, in the environment or in .env."
        results = [failure("real APIs", "upstream-key-missing", problem.message.rstrip("."), remedy)]
    if networks:
        results.append(
            warning(
                "private addresses",
                "private-addresses-allowed",
                f"calls may reach {networks}",
                f"Remove allowed_networks from {exposed.upstream}, or limit it to what the tools need.",
            )
        )
    return results


def _env_file(path: Path) -> list[CheckResult]:
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError):
        return []
    names = [line.partition("=")[0].strip() for line in text.splitlines() if line.partition("=")[2].strip()]
    holds = any(name.upper().endswith(_SECRETS) for name in names if not name.startswith("#"))
    if holds and mode & (stat.S_IRGRP | stat.S_IROTH):
        return [
            warning(
                "secrets",
                "env-readable",
                f"{path} holds secrets and other users can read it",
                f"chmod 600 {path}",
            )
        ]
    return []
