"""Spool files: how they are named, who may end them, and what is in the folder.

A *stream* is one worker life, ``{node}-{boot}-{worker}``; its segments are ``{stream}-{number}.seg`` in rising order.
The writer holds a lock on its open segment and on ``{stream}.life`` for as long as it lives; the kernel lets go of both
however it dies. So "may still grow" is asked of the kernel, never guessed from pids or ages.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT_SUFFIX = ".seg"
LIFE_SUFFIX = ".life"
UNBORN_SUFFIX = ".new"  # not yet locked by its writer, so not yet a segment
POISON_FOLDER = "poison"
POISON_MAX_BYTES = 64 << 20  # what is set aside is for people to look at; a few segments are enough

_SEGMENT = re.compile(r"(?P<stream>.+)-(?P<number>\d{10})\.seg")
_NODE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Segment(NamedTuple):
    """One file of a stream. ``size`` and ``modified_at`` are as of the listing."""

    stream: str
    number: int
    size: int
    modified_at: float

    @property
    def name(self) -> str:
        """The file's name."""
        return segment_name(self.stream, self.number)


def stream_name(node: str, boot: str, worker: int) -> str:
    """The name of one worker life.

    Raises:
        ValueError: the node's name holds characters a file name should not.
    """
    if not _NODE.fullmatch(node):
        raise ValueError(f"node name {node!r}: use 1 to 64 letters, digits, dots, underscores and hyphens")
    return f"{node}-{boot}-{worker}"


def segment_name(stream: str, number: int) -> str:
    """The file name of a segment; ten digits sort as text."""
    return f"{stream}-{number:010d}{SEGMENT_SUFFIX}"


def parse_name(name: str) -> tuple[str, int] | None:
    """Stream and number of a segment's file name, or None for any other file."""
    match = _SEGMENT.fullmatch(name)
    return (match["stream"], int(match["number"])) if match else None


def listing(folder: Path) -> dict[str, list[Segment]]:
    """The segments of every stream, each in order. An absent folder is empty."""
    found: dict[str, list[Segment]] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            parsed = parse_name(entry.name)
            if parsed is None:
                continue
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                status = entry.stat()
                found.setdefault(parsed[0], []).append(Segment(*parsed, status.st_size, status.st_mtime))
    for segments in found.values():
        segments.sort()
    return dict(sorted(found.items()))


def lives(folder: Path) -> list[str]:
    """The streams that have a life file."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(LIFE_SUFFIX) for name in names if name.endswith(LIFE_SUFFIX))


def create_locked(path: Path) -> int:
    """A new file of mode 0600, already locked when its name appears; the descriptor appends.

    Raises:
        OSError: no space, no permission, too many files.
    """
    unborn = path.with_name(path.name + UNBORN_SUFFIX)
    fd = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_TRUNC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        unborn.rename(path)
    except OSError:
        os.close(fd)
        raise
    return fd


def is_finished(path: Path) -> bool:
    """Whether nobody can write to it any more; also True when it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def read_life(folder: Path, stream: str) -> int | None:
    """How many records that worker has taken in so far, or None when the file does not say."""
    try:
        raw = (folder / (stream + LIFE_SUFFIX)).read_bytes()
    except FileNotFoundError:
        return None
    return int.from_bytes(raw, sys.byteorder) if len(raw) == 8 else None  # noqa: PLR2004 - one 64-bit number


def set_aside(folder: Path, name: str, content: bytes | None = None) -> None:
    """Move the file ``name`` to poison/, or write ``content`` there; the oldest give way to the cap."""
    poison = folder / POISON_FOLDER
    poison.mkdir(mode=0o700, exist_ok=True)
    if content is None:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).rename(poison / name)
    else:
        fd = os.open(poison / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(content)
    kept = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in poison.iterdir())
    total = sum(size for _, size, _ in kept)
    for _, size, path in kept:
        if total <= POISON_MAX_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= size


def sweep_unborn(folder: Path, now: float) -> None:
    """Remove what a worker left that was killed while making a file; a minute's grace covers one about to lock it."""
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.name.endswith(UNBORN_SUFFIX) and path.stat().st_mtime < now - 60 and is_finished(path):
                path.unlink(missing_ok=True)
