"""One text judged whole: what ``sentinel check`` prints, and the only way a configuration comes into force."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.config import compile as compiling
from gateway.config import reading
from gateway.config.document import Document
from gateway.config.findings import Finding
from gateway.config.rules import access, actions, objectives, operations, routes, service, sources, telling, upstreams
from gateway.config.rules.context import Context
from gateway.domain.limits import ConcurrencyLimit, Limit, LimitMode, Quota
from gateway.domain.routing import SplitShare
from gateway.domain.snapshot import Snapshot
from gateway.errors import ConfigError
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.routing import Route

_WINDOW_UNITS = {1: "s", 60: "min", 3600: "h", 86400: "day"}


class Configuration(msgspec.Struct, frozen=True):
    """A configuration without errors: its text, its document, and the public keys that the document names files of.

    ``compiled`` is its snapshot without anything that is not in the file, made where there is time for it.
    """

    document: Document
    text: str
    compiled: Snapshot
    key_files: dict[str, str] = {}
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``configuration`` and ``snapshot`` are None exactly when there are errors. ``str`` of a finding is its line."""

    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    configuration: Configuration | None = None
    snapshot: Snapshot | None = None


class EffectiveRoute(NamedTuple):
    """One route as it works, in words for a table."""

    name: str
    methods: str
    host: str
    path: str
    auth: str
    limits: str
    upstream: str
    targets: str


def check(path: Path, environ: Mapping[str, str]) -> CheckResult:
    """Judge the file at ``path`` under that environment."""
    settings = Settings.from_environ(environ)
    text, finding = read_file(path)
    if finding is not None:
        return CheckResult(errors=(finding,), warnings=())
    return check_text(text, str(path), settings)


def check_text(text: str, source: str, settings: Settings, *, folder: Path | None = None) -> CheckResult:
    """Judge a text. ``source`` is the name that stands in findings; relative paths begin at ``folder`` (here: cwd)."""
    read = reading.read(text, source, settings.overrides)
    context = Context(read, settings, folder or Path.cwd(), time.time())
    key_files: dict[str, str] = {}
    if read.is_toml:
        upstreams.judge(context)
        routes.judge(context)
        service.judge(context)
        key_files = access.judge(context)
        objectives.judge(context)
        operations.judge(context)
        actions.judge(context)
        sources.judge(context)
        telling.judge(context)
    findings = sorted(read.report.findings, key=lambda finding: (finding.line == 0, finding.line, finding.column))
    errors = tuple(finding for finding in findings if not finding.warning)
    warnings = tuple(finding for finding in findings if finding.warning)
    if errors:
        return CheckResult(errors=errors, warnings=warnings)
    compiled = compiling.snapshot(read.document, revision=0, created_at=0.0, key_files=key_files)
    return CheckResult(
        errors=(),
        warnings=warnings,
        configuration=Configuration(read.document, text, compiled, key_files, warnings),
        snapshot=compiled,
    )


def load(text: str, source: str, settings: Settings, *, folder: Path | None = None) -> Configuration:
    """The configuration of a text that must be good.

    Raises:
        ConfigError: with every error in ``problems``.
    """
    result = check_text(text, source, settings, folder=folder)
    if result.configuration is None:
        raise refused(source, result.errors)
    return result.configuration


def load_file(path: Path, settings: Settings) -> Configuration:
    """The configuration of a file that must be good.

    Raises:
        ConfigError: the file cannot be read, or holds errors.
    """
    text, finding = read_file(path)
    if finding is not None:
        raise refused(str(path), (finding,))
    return load(text, str(path), settings)


def refused(source: str, errors: tuple[Finding, ...]) -> ConfigError:
    """The exception that carries these errors."""
    count = f"{len(errors)} errors" if len(errors) > 1 else "an error"
    return ConfigError(
        f"{source} has {count}",
        problems=tuple(str(error) for error in errors),
        remedy=f"sentinel check --config {source}",
    )


def read_file(path: Path) -> tuple[str, Finding | None]:
    """The text of a file, or the finding that says why there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(reading.LARGEST_TEXT + 1)
        return content.decode(), None
    except FileNotFoundError:
        remedy = "sentinel init writes one, or sentinel serve --upstream http://HOST:PORT needs none"
        return "", Finding(str(path), 0, 0, "there is no such file", remedy)
    except OSError as error:
        return "", Finding(str(path), 0, 0, f"cannot be read: {error.strerror}", f"ls -l {path}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        return "", Finding(str(path), line, column, "this is not UTF-8", "save the file as UTF-8")


def effective_routes(snapshot: Snapshot) -> list[EffectiveRoute]:
    """One row per route, in the order of the file."""
    return [_row(route, snapshot) for route in snapshot.routes]


def _row(route: Route, snapshot: Snapshot) -> EffectiveRoute:
    scopes = f" ({' '.join(sorted(route.scopes))})" if route.scopes else ""
    limits: tuple[Limit | Quota | ConcurrencyLimit, ...] = (*route.limits, *route.concurrency, *route.quotas)
    shares = route.split.shares if route.split else (SplitShare(route.upstream, 1),)
    found = [snapshot.upstream(share.upstream) for share in shares]
    return EffectiveRoute(
        name=route.name,
        methods=" ".join(sorted(route.methods)) or "any",
        host=route.host or "any",
        path=route.path,
        auth=route.auth.value + scopes,
        limits=", ".join(limit_text(limit) for limit in limits) or "none",
        upstream=_destination(route),
        targets=" ".join(target.name for upstream in found if upstream for target in upstream.targets),
    )


def _destination(route: Route) -> str:
    """Where a route's requests go, in a few words."""
    if route.redirect is not None:
        return f"{route.redirect.status} → {route.redirect.to}"
    if route.split is None:
        return route.upstream
    total = sum(share.weight for share in route.split.shares)
    return ", ".join(f"{share.upstream} {100 * share.weight / total:.3g} %" for share in route.split.shares)


def limit_text(limit: Limit | Quota | ConcurrencyLimit) -> str:
    """A limit as the operator writes it."""
    match limit:
        case Limit():
            count = round(limit.rate * limit.window_s)
            text = f"{count}/{_WINDOW_UNITS[limit.window_s]} burst {limit.burst} per {limit.scope}"
        case Quota():
            text = f"quota {limit.count} per {limit.period} per {limit.scope}"
        case ConcurrencyLimit():
            text = f"{limit.at_once} at once per {limit.scope}"
    return text if limit.mode is LimitMode.ENFORCE else f"{text} (shadow)"
