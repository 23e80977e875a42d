"""Ranks, and the streaming score built on them."""

from __future__ import annotations

import random
from math import pi, sin

import pytest

from gateway.detect.ranks import REMEMBERED, LargestRank, RecentRank
from gateway.detect.streaming import THRESHOLD, Streaming

STEP = 300
DAY = 86_400
START = 1_700_000_000 // DAY * DAY


def day_and_night(at, noise):
    return 100 + 50 * sin(2 * pi * (at % DAY) / DAY) + noise.gauss(0, 3)


def scores(value_at, days, *, detector=None, first_day=0):
    detector = detector or Streaming()
    times = range(START + first_day * DAY, START + (first_day + days) * DAY, STEP)
    return [(at, detector.score(at, value_at(at))) for at in times]


@pytest.mark.parametrize("kind", [RecentRank, LargestRank])
def test_the_fewer_values_were_as_large_the_rarer(kind):
    rank = kind()
    for value in range(1000):
        rank.learn(value)
    assert rank.of(1000) > rank.of(998.5) > rank.of(990.5) > rank.of(950.5)


@pytest.mark.parametrize("kind", [RecentRank, LargestRank])
def test_a_tie_counts_as_just_as_extreme(kind):
    rank = kind()
    for _ in range(100):
        rank.learn(5.0)
    assert rank.of(5.0) < rank.of(5.1)


def test_a_rank_says_nothing_before_twenty_values():
    rank = RecentRank()
    for value in range(19):
        rank.learn(value)
    assert rank.of(1e9) < 0
    rank.learn(20)
    assert rank.of(1e9) > 0


def test_a_recent_rank_forgets_the_oldest_and_keeps_its_size():
    rank = RecentRank()
    rank.learn(1e6)
    for value in range(REMEMBERED):
        rank.learn(value)
    assert rank.of(1e5) == rank.of(1e7)  # nothing that large is remembered any more
    assert len(rank._recent) == len(rank._ordered) == REMEMBERED


def test_a_largest_rank_remembers_for_ever():
    rank = LargestRank()
    rank.learn(1e6)
    for value in range(2 * REMEMBERED):
        rank.learn(value)
    assert rank.of(1e5) < rank.of(1e7)
    assert len(rank._ordered) == 64


def test_days_that_repeat_raise_no_score():
    assert all(score < THRESHOLD for _, score in scores(lambda at: 100 + 50 * (at % DAY < DAY / 2), 14))


def test_noise_around_the_same_days_speaks_rarely():
    noise = random.Random(4)
    loud = [score for _, score in scores(lambda at: day_and_night(at, noise), 21) if score >= THRESHOLD]
    assert len(loud) < 21 * 288 * 0.01


def test_a_value_of_noon_at_midnight_is_strange():
    noise = random.Random(5)
    detector = Streaming()
    scores(lambda at: day_and_night(at, noise), 10, detector=detector)
    night = START + 10 * DAY + 18 * 3600  # the day's low
    assert detector.score(night, 148.0) >= THRESHOLD


def test_a_spike_is_strange_at_once():
    noise = random.Random(6)
    detector = Streaming()
    scores(lambda at: day_and_night(at, noise), 5, detector=detector)
    assert detector.score(START + 5 * DAY, 400.0) >= THRESHOLD


def test_the_score_of_a_value_does_not_depend_on_what_comes_after():
    noise = random.Random(7)
    values = {at: day_and_night(at, noise) for at in range(START, START + 3 * DAY, STEP)}
    changed = {at: value if at < START + 2 * DAY else 0.0 for at, value in values.items()}
    one, other = scores(values.__getitem__, 3), scores(changed.__getitem__, 3)
    assert one[: 2 * 288] == other[: 2 * 288]


def test_what_is_not_learned_stays_strange():
    def tenth(*, learn):
        detector = Streaming()
        scores(lambda at: 100 + at % 7, 5, detector=detector)
        return [detector.score(START + 5 * DAY + at * STEP, 500.0, learn=learn) for at in range(10)][-1]

    assert tenth(learn=False) > tenth(learn=True)


def test_what_is_usual_at_a_time_of_day_is_what_was_seen_then():
    detector = Streaming()
    scores(lambda at: 200.0 if at % DAY < DAY / 2 else 10.0, 3, detector=detector)
    assert detector.usual(START + 3 * DAY + 6 * 3600) == (200.0, 200.0, 200.0)
    assert detector.usual(START + 3 * DAY + 18 * 3600) == (10.0, 10.0, 10.0)
    assert Streaming().usual(START) is None


def test_a_slot_of_the_day_keeps_seven_days_of_minutes():
    detector = Streaming(60)
    for day in range(10):
        for minute in range(5):
            detector.score(START + day * DAY + minute * 60, float(day))
    assert detector.usual(START + 10 * DAY) == (3.0, 6.0, 9.0)
