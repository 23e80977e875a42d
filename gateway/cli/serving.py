"""``sentinel serve`` and ``sentinel control``: check everything first, then start processes."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway import __version__, logs
from gateway.cli import terminal
from gateway.cli.terminal import ConfigOption
from gateway.config import checking, starter
from gateway.config import compile as compiling
from gateway.config.checking import Configuration
from gateway.config.publisher import first_snapshot
from gateway.errors import ConfigError, SentinelError
from gateway.run_folder import RunFolder
from gateway.settings import Settings
from gateway.supervisor.sockets import listen, lock
from gateway.supervisor.supervisor import ServePlan, Supervisor

QUICK_START = "quickstart.toml"


def serve(
    *,
    config: ConfigOption = "sentinel.toml",
    upstream: Annotated[str, typer.Option(help="No file: one route /* to this http://HOST:PORT.")] = "",
    host: Annotated[str, typer.Option(help="Overrides [server] host.")] = "",
    port: Annotated[int, typer.Option(help="Overrides [server] port.", min=0, max=65535)] = 0,
    workers: Annotated[int, typer.Option(help="Overrides [server] workers.", min=0, max=256)] = 0,
) -> None:
    """Start the gateway. Example: sentinel serve --upstream http://127.0.0.1:9000"""
    environ = dict(os.environ)
    given = {"SENTINEL_SERVER__HOST": host, "SENTINEL_SERVER__PORT": port, "SENTINEL_SERVER__WORKERS": workers}
    environ |= {name: str(value) for name, value in given.items() if value}
    try:
        configuration, _ = load(config, environ, upstream=upstream)
        server, admin = configuration.document.server, configuration.document.admin
        folder = RunFolder(Path(server.run_dir))
        _refuse_an_app(configuration)
        lock_fd = lock(folder)
        path = quick_start_file(folder, configuration.text) if upstream else config
        first_snapshot(folder.snapshot, configuration, clock=time.time)
        shared = admin.bind == "shared"
        admin_host, _, admin_port = admin.bind.rpartition(":")
        plan = ServePlan(
            folder=folder,
            config_path=str(Path(path).absolute()),
            host=server.host,
            port=server.port,
            workers=server.workers,
            admin=None if shared else (admin_host.strip("[]"), int(admin_port)),
            environ=child_environ(environ, configuration),
            drain_s=compiling.edge_policy(configuration.document).drain_s,
            announce=announcement(configuration),
        )
        logs.configure(level=configuration.document.log_output.level, process="supervisor")
        for warning in configuration.warnings:
            terminal.err.print(f"! {warning}", markup=False)
        raise typer.Exit(asyncio.run(Supervisor(plan, lock_fd).run()))
    except ConfigError as error:
        refuse(error)
    except SentinelError as error:
        terminal.fail(str(error), error.remedy)


def control(*, config: ConfigOption = "sentinel.toml") -> None:
    """Run control alone, for applications that embed the middleware. Example: sentinel control -c sentinel.toml"""
    try:
        configuration, settings = load(config, dict(os.environ))
        folder = RunFolder(Path(configuration.document.server.run_dir))
        lock_fd = lock(folder)
        if configuration.document.admin.bind == "shared":
            terminal.fail(
                'control alone has no data port to share: [admin] bind = "shared"', 'set it to "127.0.0.1:8001"'
            )
        first_snapshot(folder.snapshot, configuration, clock=time.time)
        from gateway.entry import run_control

        host, _, port = configuration.document.admin.bind.rpartition(":")
        listener = listen(host.strip("[]"), int(port), what="admin")
        run_control(folder, settings, config_path=config, listener=listener)
        os.close(lock_fd)
    except ConfigError as error:
        refuse(error)
    except SentinelError as error:
        terminal.fail(str(error), error.remedy)


def load(config: str, environ: dict[str, str], *, upstream: str = "") -> tuple[Configuration, Settings]:
    """The configuration of a file, or of ``--upstream``, that must be good. Raises ConfigError."""
    settings = Settings.from_environ(environ)
    if upstream:
        return checking.load(starter.quick_start(upstream), "--upstream", settings), settings
    return checking.load_file(Path(config), settings), settings


def refuse(error: ConfigError) -> NoReturn:
    """Show every problem, and end."""
    for problem in error.problems:
        terminal.err.print(terminal.printable(problem), markup=False)
    terminal.fail(str(error), error.remedy)


def _refuse_an_app(configuration: Configuration) -> None:
    names = [upstream.name for upstream in configuration.compiled.upstreams if upstream.is_app]
    if names:
        raise ConfigError(
            f'upstream "{names[0]}" is an application that embeds the gateway, and `sentinel serve` embeds none',
            remedy="give it the address of a service, or run the application and `sentinel control` beside it",
        )


def quick_start_file(folder: RunFolder, text: str) -> str:
    """Control reads its configuration from a file, so ``--upstream`` leaves one in the run folder."""
    path = folder.path / QUICK_START
    path.write_text(text)
    return str(path)


def child_environ(environ: dict[str, str], configuration: Configuration) -> dict[str, str]:
    """The environment of workers and control: as ours, with the Redis URL where workers look for it."""
    url = str(configuration.document.redis.url)
    return {**environ, "SENTINEL_REDIS__URL": url} if url else environ


def announcement(configuration: Configuration) -> tuple[str, ...]:
    """What a person wants to know once it runs."""
    server, base = configuration.document.server, compiling.admin_url(configuration.document)
    routes = len(configuration.document.routes)
    carried = f"{routes} route{'s' if routes != 1 else ''}, {server.workers} worker{'s' if server.workers != 1 else ''}"
    return (
        f"SentinelStack {__version__} listens on http://{server.host}:{server.port} ({carried}).",
        f"Dashboard: {base}/dashboard   API: {base}/docs   Metrics: {base}/metrics",
    )
