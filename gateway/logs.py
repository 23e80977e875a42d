"""The event log: names with fields (``incident.opened``), one JSON object a line, or plain columns on a terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# Values under these keys never reach a log line, whoever passes them.
_SECRET_KEYS = frozenset({"authorization", "password", "token", "secret", "api_key", "cookie", "set_up_token"})


class _Enduring(io.TextIOBase):
    """A stream that may break (its reader is gone, its disk full): then lines are lost, and nobody who logs fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose it."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it has been closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, or lose it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _hide_secrets(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in _SECRET_KEYS & event.keys():
        event[key] = "[hidden]"
    return event


def _show_controls(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what does not print, which the terminal form would pass on; tracebacks keep their line ends."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n" if key == "exception" else ""
            event[key] = "".join(
                char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in value
            )
    return event


def configure(*, level: str = "INFO", process: str = "", json: bool | None = None) -> None:
    """Send structlog and the standard library's warnings to standard error.

    Both forms escape control characters, so text from the traffic can neither forge a line nor drive a terminal.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        process: who writes, such as "control" or "worker 1".
        json: force the form; by default plain on a terminal, JSON elsewhere.
    """
    as_json = json if json is not None else not sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide_secrets,
            structlog.processors.format_exc_info,
            *_written(as_json=as_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Enduring(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    if process:
        structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s", force=True)


def _written(*, as_json: bool) -> tuple[structlog.typing.Processor, ...]:
    if as_json:
        return (structlog.processors.JSONRenderer(),)
    # Plain: the default prints every local variable of every frame, and some of those are secrets.
    plain = structlog.dev.plain_traceback
    return _show_controls, structlog.dev.ConsoleRenderer(colors=True, pad_event_to=28, exception_formatter=plain)


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger; ``name`` is the stage that speaks."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(stage=name)
    return logger
