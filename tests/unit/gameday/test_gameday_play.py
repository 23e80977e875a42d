"""Faults are played through control's own objects: found, named, acted on, verified, and over when they are over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import msgspec

from gateway.gameday.play import play_quiet

QUIET_S = 3600


def test_a_target_without_its_pool_is_found_named_and_taken_out(judged):
    result = judged("target-pool")
    assert result.detected_s is not None
    assert result.detected_s < 30
    assert result.cause_first
    assert result.right
    assert [action.split()[0] for action in result.actions[:1]] == ["eject_target"]
    assert result.recovered_s is not None
    assert result.closed


def test_two_services_above_a_failing_one_are_not_blamed(judged):
    result = judged("cascade")
    assert result.cause_first
    assert "of payments" in result.named[0]
    assert all("of payments" in action for action in result.actions)


def test_a_broken_configuration_is_rolled_back_and_stays_so(judged):
    result = judged("config-error")
    assert result.right
    assert result.actions[0].startswith("roll_back configuration revision 2")
    assert result.recovered_s is not None


def test_nothing_is_done_where_a_person_has_to_act(judged):
    result = judged("certificate")
    assert result.detected_s is not None
    assert result.actions == ()
    assert result.right


def test_quiet_hours_are_silent(ours, quiet_hour, tmp_path):
    heard: list[int] = []
    seen = asyncio.run(play_quiet(ours, quiet_hour, QUIET_S, "tests/quiet", tmp_path, heard.append))
    assert [one.title for one in seen.incidents] == []
    assert sum(heard) == QUIET_S


def test_the_same_seed_gives_the_same_result_in_any_process():
    program = (
        "from gateway import logs\n"
        "from gateway.gameday import running\n"
        "import msgspec, sys\n"
        "logs.configure(level='CRITICAL')\n"
        "sys.stdout.buffer.write(msgspec.json.encode(list(running.results(5, 1, ['bad-canary']))))\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=300,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert msgspec.json.decode(said[0])[0]["detected_s"] is not None
