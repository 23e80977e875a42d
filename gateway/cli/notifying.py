"""``sentinel notify test``: does it arrive?"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Annotated

import typer

from gateway.cli import terminal
from gateway.cli.serving import load, refuse
from gateway.cli.terminal import ConfigOption
from gateway.config import compile as compiling
from gateway.errors import ConfigError, DeliveryError
from gateway.notify import channels
from gateway.notify.http_post import Poster
from gateway.notify.message import trial_message

app = typer.Typer(no_args_is_help=True, help="Where people are told. Example: sentinel notify test")


@app.callback()
def _group() -> None:
    """Keep ``test`` a subcommand although it is the only one."""


@app.command()
def test(
    name: Annotated[str, typer.Argument(help="Only this channel; all when left out.")] = "",
    *,
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Send a test message to every [[notify]] channel. Exit 0 only if all arrived."""
    try:
        configuration, settings = load(config, dict(os.environ))
        configured = compiling.notify_channels(configuration.document)
        if not configured:
            terminal.fail("no channel is configured", "add a [[notify]] section to sentinel.toml")
        wanted = [one for one in configured if name in {"", one.name}]
        if not wanted:
            terminal.fail(f"there is no channel {name!r}", f"one of {', '.join(one.name for one in configured)}")
        failed = asyncio.run(_send(channels.build(wanted, settings.secret, Poster())))
    except ConfigError as error:
        refuse(error)
    raise typer.Exit(terminal.FAILED if failed else terminal.OK)


async def _send(built: dict[str, channels.Channel]) -> int:
    failed = 0
    now = time.time()
    for name, channel in built.items():
        try:
            await channel.deliver(trial_message(now), now)
        except DeliveryError as error:
            failed += 1
            terminal.bad(f"{name} ({channel.kind}): {error}", error.remedy)
        else:
            terminal.good(f"{name} ({channel.kind}) took it")
    return failed
