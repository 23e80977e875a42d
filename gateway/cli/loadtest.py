"""``sentinel loadtest``: scenarios against this program's own gateway or another one, and one page about it."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from gateway import __version__
from gateway.cli import terminal
from gateway.config.limit_notation import LimitRule, limit
from gateway.config.notation import NotationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.loadtest.figures import Outcome
    from gateway.loadtest.running import Scenario
    from gateway.loadtest.settings import ScenarioSettings
    from gateway.loadtest.show import Show

INSTALL = 'pip install "sentinelstack[loadtest]"'
TOKEN_VARIABLE = "SENTINEL_LOADTEST_TOKEN"  # noqa: S105 - a name
MAX_USERS = 500
MAX_SECONDS = 600


class Given(msgspec.Struct, frozen=True):
    """The command line's words about a gateway that was not started here."""

    url: str
    path: str
    echo: str
    websocket: str
    limit: str


def loadtest(
    scenario: Annotated[
        list[str] | None,
        typer.Argument(help="steady, burst, slow-clients, large-bodies, websocket, limit-storm; all of them if none."),
    ] = None,
    *,
    url: Annotated[str, typer.Option(help="Another gateway instead of one of its own.")] = "",
    path: Annotated[str, typer.Option(help="With --url: what to GET.")] = "/",
    echo: Annotated[str, typer.Option(help="With --url: a path that answers with the body it is sent.")] = "",
    websocket: Annotated[str, typer.Option(help="With --url: a path whose WebSocket echoes.")] = "",
    limit: Annotated[str, typer.Option(help='With --url: the limit on --path, such as "50/s burst 100".')] = "",
    remote: Annotated[bool, typer.Option("--remote", help="Allow a --url that is not on this machine.")] = False,
    users: Annotated[int, typer.Option(help="At once.", min=1, max=MAX_USERS)] = 20,
    seconds: Annotated[int, typer.Option(help="Per scenario.", min=2, max=MAX_SECONDS)] = 10,
    workers: Annotated[int, typer.Option(help="Of its own gateway.", min=1, max=64)] = 1,
    driver: Annotated[str, typer.Option(help="Of its own gateway: lane or asgi.")] = "lane",
    report: Annotated[Path | None, typer.Option(help="Write one HTML page about it to this file.")] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Load a gateway and judge what came of it. Example: sentinel loadtest steady burst --report report.html"""
    _need_locust()
    from gateway.loadtest.report import page

    if driver not in {"lane", "asgi"}:
        terminal.fail(f"there is no driver {driver!r}", "lane or asgi", code=terminal.USAGE)
    given = Given(url.rstrip("/"), path, echo, websocket, limit)
    chosen = choose(scenario or [], given)
    _refuse_the_impossible(given, report, remote=remote)
    begun_at = time.time()
    with tempfile.TemporaryDirectory(prefix="sentinel-loadtest-", ignore_cleanup_errors=True) as folder:
        outcomes = _run(chosen, given, Path(folder), users, seconds, (workers, driver), quiet=as_json)
    facts = _facts(given, begun_at, (users, seconds, workers, driver))
    if report is not None:
        report.write_text(page(outcomes, facts), encoding="utf-8")
    held = all(outcome.held for outcome in outcomes)
    if as_json:
        terminal.print_json({"held": held, "facts": facts, "scenarios": msgspec.to_builtins(outcomes)})
    elif report is not None:
        terminal.good(f"the report: {report.absolute()}")
    raise typer.Exit(terminal.OK if held else terminal.FAILED)


def choose(names: list[str], given: Given) -> list[Scenario]:
    """The scenarios asked for, in the order they stand in the table; fails for one that cannot be run."""
    from gateway.loadtest.running import SCENARIOS

    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name not in known:
            terminal.fail(f"there is no scenario {name!r}", f"one of {', '.join(known)}", code=terminal.USAGE)
    options = {"--echo": given.echo, "--websocket": given.websocket, "--limit": given.limit}

    def possible(scenario: Scenario) -> bool:
        return not given.url or not scenario.needs or bool(options[scenario.needs])

    for name in names:
        if not possible(known[name]):
            terminal.fail(f"{name} against --url needs {known[name].needs}", code=terminal.USAGE)
    return [one for one in SCENARIOS if (one.name in names if names else possible(one))]


def _need_locust() -> None:
    missing = [name for name in ("locust", "wsproto", "psutil") if importlib.util.find_spec(name) is None]
    if missing:
        terminal.fail(f"a load test needs {', '.join(missing)}, which the gateway itself does not", INSTALL)


def _refuse_the_impossible(given: Given, report: Path | None, *, remote: bool) -> None:
    if report is not None and not report.absolute().parent.is_dir():
        terminal.fail(f"there is no folder {report.absolute().parent} for the report", code=terminal.USAGE)
    for option in ("path", "echo", "websocket"):
        if (value := getattr(given, option)) and not value.startswith("/"):
            terminal.fail(f"--{option} {value!r} does not begin with /", code=terminal.USAGE)
    if not given.url:
        if given.path != "/" or given.echo or given.websocket or given.limit:
            terminal.fail(
                "--path, --echo, --websocket and --limit speak of a gateway given with --url", code=terminal.USAGE
            )
        return
    if given.limit:
        _limit_of(given.limit)
    at = urlsplit(given.url)
    if at.scheme not in {"http", "https"} or not at.hostname or at.path or at.query or at.username:
        terminal.fail(f"--url {given.url!r} is not http://HOST[:PORT]", code=terminal.USAGE)
    if not remote and not is_loopback(at.hostname):
        terminal.fail(
            f"{at.hostname} is not this machine; a load test can take a service down",
            "if you may load it, say so: --remote",
            code=terminal.USAGE,
        )


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _limit_of(text: str) -> LimitRule:
    try:
        rule = limit(text if " per " in text else f"{text} per subject")
    except NotationError as error:
        terminal.fail(f"--limit {text!r}: {error}", 'such as "50/s burst 100"', code=terminal.USAGE)
    if not isinstance(rule, LimitRule):
        terminal.fail(f"--limit {text!r} is no rate", 'such as "50/s burst 100"', code=terminal.USAGE)
    return rule


def _settings(given: Given, users: int, seconds: int) -> ScenarioSettings:
    from gateway.loadtest.settings import ScenarioSettings

    settings = ScenarioSettings(
        path=given.path,
        limited_path=given.path,
        echo_path=given.echo,
        websocket_path=given.websocket,
        token=os.environ.get(TOKEN_VARIABLE, ""),
        seconds=seconds,
        users=users,
    )
    if given.limit:
        rule = _limit_of(given.limit)
        settings = msgspec.structs.replace(settings, rate=rule.count / rule.window_s, burst=rule.burst)
    return settings


def _run(
    chosen: list[Scenario],
    given: Given,
    folder: Path,
    users: int,
    seconds: int,
    own: tuple[int, str],
    *,
    quiet: bool,
) -> list[Outcome]:
    from gateway.loadtest import running, stage

    settings = _settings(given, users, seconds)
    url = given.url
    with contextlib.ExitStack() as held:
        started: stage.Stage | None = None
        if not url:
            workers, driver = own
            started = held.enter_context(stage.Stage(folder, workers=workers, driver=driver))
            url = started.url
            settings = msgspec.structs.replace(
                settings,
                path="/items",
                limited_path="/limited",
                echo_path="/echo",
                websocket_path="/live",
                rate=stage.RATE,
                burst=stage.BURST,
                exact=workers == 1,
                own=True,
                token="",
                secret=started.secret,
            )
        show = held.enter_context(_shown(chosen, seconds, quiet=quiet))
        outcomes = []
        for scenario in chosen:
            show.begin(scenario)
            outcomes.append(running.run(scenario, settings, url, folder, stage=started, progress=show.second))
            show.end(outcomes[-1])
        return outcomes


@contextlib.contextmanager
def _shown(chosen: list[Scenario], seconds: int, *, quiet: bool) -> Iterator[Show]:
    from gateway.loadtest import show

    if quiet:
        yield show.Silence()
    elif terminal.out.is_terminal:
        live = show.Terminal(terminal.out, chosen, seconds)
        with live.live:
            yield live
    else:
        yield show.Lines(terminal.out)


def _facts(given: Given, begun_at: float, settings: tuple[int, int, int, str]) -> dict[str, str]:
    from gateway.loadtest import machine

    users, seconds, workers, driver = settings
    own = f"its own: {workers} {'worker' if workers == 1 else 'workers'}, driver {driver}, SentinelStack {__version__}"
    return {
        "gateway": given.url or own,
        "load": f"up to {users} users, {seconds} s per scenario, from this machine",
        "python": machine.interpreter(),
        "system": machine.system(),
        "begun": time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(begun_at)),
    }
