"""What can be seen without asking anybody: the run folder, the spool, the clock, the machine."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.cli.checkups.finding import Finding
from gateway.collect import segments
from gateway.domain.own_health import LEAST_FREE_BYTES, SKEW_S, SPOOL_FULL, size_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.document import Document
    from gateway.run_folder import RunFolder

BUSY = 0.8  # of the processors
FILES_BESIDE = 200  # open files of a worker that are no connections
FIRST_RELEASE = datetime(2026, 1, 1, tzinfo=UTC).timestamp()  # an earlier clock was never set


def run_folder(folder: RunFolder) -> list[Finding]:
    """Whether it is ours alone, can be written, and has room."""
    path = folder.path
    if not path.exists():
        parent = _nearest(path)
        if not os.access(parent, os.W_OK | os.X_OK):
            return [
                Finding.bad(
                    "run folder",
                    f"{path} is not there and {parent} cannot be written by this user",
                    f"sudo install -d -m 700 -o $(id -un) {path}",
                )
            ]
        return [Finding.good("run folder", f"{path} will be made on the first start"), _disk(parent)]
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        return [Finding.bad("run folder", f"{path} is not a folder", "choose another [server] run_dir")]
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return [Finding.bad("run folder", f"{path} cannot be written by this user", f"sudo chown -R $(id -un) {path}")]
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        return [
            Finding.bad(
                "run folder",
                f"{path} is open to others ({mode:o}): who may enter it may command the gateway",
                f"chmod 700 {path}",
            ),
            _disk(path),
        ]
    return [Finding.good("run folder", f"{path} is private and can be written"), _disk(path)]


def _nearest(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.exists())


def _disk(path: Path) -> Finding:
    usage = shutil.disk_usage(path)
    text = f"{size_of(usage.free)} free of {size_of(usage.total)} at {path}"
    if usage.free < LEAST_FREE_BYTES:
        return Finding.bad("disk", text, f"free at least {size_of(LEAST_FREE_BYTES)}, or move [server] run_dir")
    return Finding.good("disk", text)


def spool(folder: RunFolder, document: Document) -> list[Finding]:
    """How much waits to be stored, and what was set aside."""
    waiting = sum(one.size for stream in segments.listing(folder.spool).values() for one in stream)
    bound = document.log.spool_max_bytes
    text = f"{size_of(waiting)} of {size_of(bound)} wait to be stored"
    if waiting > SPOOL_FULL * bound:
        findings = [Finding.bad("spool", text, "look at the store: records beyond the bound are dropped, oldest first")]
    else:
        findings = [Finding.good("spool", text)]
    aside = folder.spool / segments.POISON_FOLDER
    files = list(aside.iterdir()) if aside.is_dir() else []
    if files:
        findings.append(
            Finding.note(
                "spool",
                f"{len(files)} file{'s' if len(files) > 1 else ''} with records that could not be stored in {aside}",
                "look at them, then delete them",
            )
        )
    return findings


def machine(document: Document) -> list[Finding]:
    """The clock, open files and processors."""
    return [_clock(), _open_files(document), _processors()]


def _clock() -> Finding:
    now = time.time()
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if now < FIRST_RELEASE:
        return Finding.bad("clock", f"it says {shown}, which cannot be", "switch time synchronisation on")
    return Finding.good("clock", shown)


def written_in_the_future(path: Path, now: float) -> float:
    """By how many seconds the file is younger than now; 0 for any that is not, or is not there."""
    try:
        ahead = path.stat().st_mtime - now
    except OSError:
        return 0.0
    return ahead if ahead > SKEW_S else 0.0


def _open_files(document: Document) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_BESIDE + sum(upstream.max_connections * len(upstream.targets) for upstream in document.upstreams)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        text = f"a process may have {soft} open files, connections to all targets alone may take {wanted}"
        return Finding.note("open files", text, "raise LimitNOFILE in the systemd unit, or run `ulimit -n 65536` first")
    return Finding.good("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft} per process")


def _processors() -> Finding:
    count = os.cpu_count() or 1
    busy = os.getloadavg()[1] / count
    text = f"{count} processors, load {busy:.0%} over five minutes"
    if busy > BUSY:
        return Finding.note("processors", text, "more workers, or a second node, before callers notice")
    return Finding.good("processors", text)
