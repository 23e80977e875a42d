"""Stops and deaths while callers keep asking: what they got is what is stored, or counted as lost."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from tests import running
from tests.scenarios import shop

if TYPE_CHECKING:
    from pathlib import Path

PATHS = ("/a", "/b", "/c", "/d")
PER_S = 50.0


def stored(gateway: running.Gateway) -> int:
    with closing(sqlite3.connect(gateway.run_dir / "sentinel.db")) as database:
        return int(database.execute("SELECT count(*) FROM requests").fetchone()[0])


def test_a_stop_under_load_breaks_no_answer_and_loses_no_record(tmp_path: Path) -> None:
    with (
        running.origin() as origin,
        running.gateway(tmp_path, running.config(origin.port, server="workers = 2")) as gateway,
    ):
        origin.delay_s = 0.05  # so that some are always under way
        with shop.calling(gateway.url, *PATHS, per_s=PER_S) as callers:
            time.sleep(3)
            assert set(callers.answers) == {200}
            assert gateway.stop() == 0
            time.sleep(0.5)
            callers.stop()
        answered = callers.answers[200]
        assert answered > 50
        assert set(callers.answers) <= {200, 0, 503}, "refused at the door, never cut short"
        assert len(origin.seen) == answered, "whatever was begun was finished"
        assert stored(gateway) == answered + callers.answers[503]


def test_what_a_killed_worker_held_is_counted_as_lost_and_is_little(tmp_path: Path) -> None:
    with (
        running.origin() as origin,
        running.gateway(tmp_path, running.config(origin.port, server="workers = 2")) as gateway,
    ):
        with shop.calling(gateway.url, *PATHS, per_s=PER_S) as callers:
            time.sleep(2)
            killed = gateway.child("worker 1")
            killed.kill()
            gateway.wait(lambda: gateway.has_replaced(killed, "worker 1"), 15, "respawn")
            time.sleep(2)
        answered = callers.total - callers.answers[0]
        assert callers.answers[200] == answered
        assert callers.answers[0] <= len(PATHS), "only what the dead worker held in its hands"

        def lost() -> float:
            return shop.metric(gateway, 'sentinel_records_total{outcome="dropped"}')

        gateway.wait(lambda: stored(gateway) + lost() >= answered, 20, "each is stored or counted")
        time.sleep(1)
        assert answered <= stored(gateway) + lost() <= callers.total
        assert lost() <= 0.5 * PER_S * len(PATHS), "no more than half a second's worth"


def test_a_rolling_restart_under_load_cuts_nobody_off_and_loses_no_record(tmp_path: Path) -> None:
    with (
        running.origin() as origin,
        running.gateway(tmp_path, running.config(origin.port, server="workers = 2")) as gateway,
    ):
        before = {gateway.child(name).pid for name in ("worker 1", "worker 2", "control")}
        with shop.calling(gateway.url, *PATHS, per_s=PER_S) as callers:
            time.sleep(1)
            done = gateway.sentinel("restart", "--config", str(gateway.config))
            time.sleep(1)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 processes were replaced" in done.stdout
        assert set(callers.answers) == {200}, "no connection was refused, reset or cut short"
        names = ("worker 1", "worker 2", "control")
        gateway.wait(lambda: all(gateway.has_child(name) for name in names), 10, "they have their names")
        assert not before & {gateway.child(name).pid for name in names}
        gateway.wait(lambda: stored(gateway) == callers.total, 20, "every request is stored")


def test_a_restart_that_cannot_work_keeps_the_old_processes_and_says_why(tmp_path: Path) -> None:
    with running.origin() as origin, running.gateway(tmp_path, running.config(origin.port)) as gateway:
        before = {gateway.child(name).pid for name in ("worker 1", "control")}
        gateway.child("control").suspend()  # it would write a good one over it
        (gateway.run_dir / "snapshot").write_bytes(b"not a snapshot")
        done = gateway.sentinel("restart", "--config", str(gateway.config))
        gateway.child("control").resume()
        assert done.returncode == 1
        assert "the new worker 1 did not begin to serve" in done.stderr
        assert {gateway.child(name).pid for name in ("worker 1", "control")} == before
        with shop.calling(gateway.url, *PATHS, per_s=PER_S) as callers:
            time.sleep(0.5)
        assert set(callers.answers) == {200}


def test_restart_says_that_nothing_runs(tmp_path: Path) -> None:
    gateway = running.Gateway(tmp_path, running.config(9), {})
    done = gateway.sentinel("restart", "--config", str(gateway.config))
    assert done.returncode == 3
    assert "no gateway runs in" in done.stderr
