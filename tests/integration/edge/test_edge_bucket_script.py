"""The script on a real Redis against what runs in the process, step by step.

Production calls have no way to pass a time: the script has no argument for it. The test loads a copy in which the one
call of TIME is replaced by reading a key that only the test writes.
"""

from __future__ import annotations

import uuid

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge import rate_limit
from gateway.edge.limits import LEASING, NOT_CHARGING, SETTLING, WATCHING
from gateway.edge.periods import DAY, EPOCH_S, MONTH, period
from gateway.edge.token_bucket import TICKS_PER_S, Bucket, bucket, charge, quota
from tests.unit.edge.script_model import Model

CLOCK = "redis.call('TIME')"
TICKS_PER_US = TICKS_PER_S // 1_000_000

steps = st.one_of(  # microseconds from one step to the next: clocks jump back too, and over the end of a day
    st.integers(-3 * 1_000_000, 3 * 1_000_000),
    st.sampled_from([86_400_000_000, -3600_000_000, 40 * 86_400_000_000]),
)
takes = st.lists(
    st.tuples(
        steps,
        st.lists(  # groups of one call
            st.tuples(
                st.lists(st.sampled_from("abcdm"), min_size=1, max_size=3, unique=True),
                st.integers(0, 3),  # so many of them refuse
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    min_size=1,
    max_size=25,
)
rates = st.builds(bucket, st.floats(0.01, 5000), st.integers(1, 50))
few = st.fixed_dictionaries(
    {
        **dict.fromkeys("abc", rates),
        "d": st.builds(quota, st.integers(1, 12), st.just("day")),
        "m": st.builds(quota, st.integers(1, 12), st.just("month")),
    }
)


@pytest.fixture(scope="module")
def connection(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def clocked(connection):
    """The production script with the clock in a key's hands."""
    source = rate_limit.script().decode()
    assert source.count(CLOCK) == 1
    prefix = uuid.uuid4().hex
    reader = f"{{redis.call('HGET', '{prefix}:clock', 's'), redis.call('HGET', '{prefix}:clock', 'us')}}"
    return prefix, connection.register_script(source.replace(CLOCK, reader))


def set_clock(connection, prefix, now_us) -> int:
    connection.hset(f"{prefix}:clock", mapping={"s": now_us // 1_000_000, "us": now_us % 1_000_000})
    return (now_us - EPOCH_S * 1_000_000) * TICKS_PER_US


@settings(max_examples=40, deadline=None)
@given(buckets=few, steps=takes)
def test_script_and_process_give_the_same_answers_step_by_step(connection, clocked, buckets, steps):
    prefix, script = clocked
    life = f"{prefix}:{uuid.uuid4().hex}"
    local: dict[str, int] = {}
    now_us = 1_800_000_000_000_000
    for step, groups in steps:
        now_us += step
        ticks = set_clock(connection, prefix, now_us)
        keys, arguments, expected = [], [], []
        for names, upto in groups:
            refusing = min(upto, len(names))
            parts = [buckets[name] for name in names]
            keys += [f"{life}:{name}" for name in names]
            arguments += [refusing + WATCHING * (len(names) - refusing), *(each for part in parts for each in part)]
            states, answers = charge([local.get(name) for name in names], parts, ticks, ticks, refusing)
            local |= {name: state for name, state in zip(names, states, strict=True) if state is not None}
            expected += answers
        assert script(keys=keys, args=arguments) == expected


asked = st.tuples(st.integers(1, 100), st.integers(0, 2 * TICKS_PER_S))
wide = st.fixed_dictionaries(
    {
        **dict.fromkeys("ab", st.builds(bucket, st.floats(0.5, 5000), st.integers(100, 2000))),
        "d": st.builds(quota, st.integers(100, 2000), st.just("day")),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    buckets=wide,
    calls=st.lists(
        st.tuples(
            steps,
            st.lists(st.sampled_from("abd"), min_size=1, max_size=3, unique=True),
            st.booleans(),  # the last one only watches
            st.one_of(st.none(), asked),
            st.one_of(st.none(), st.integers(0, 64)),  # unspent tokens of the last lease given back
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_leases_are_granted_and_settled_as_the_model_says(connection, clocked, buckets, calls):
    prefix, script = clocked
    place = f"{prefix}:{uuid.uuid4().hex}"
    model = Model()
    since = now_us = 1_800_000_000_000_000
    granted = (0, 0)
    for step, names, watching, lease, unspent, charging in calls:
        now_us += step
        ticks = set_clock(connection, prefix, now_us)
        refusing = len(names) - (1 if watching and len(names) > 1 else 0)
        parts = [buckets[name] for name in names]
        word, more, settle = refusing + WATCHING * (len(names) - refusing), [], None
        if lease is not None:
            word, more = word + LEASING, [*lease]
        if unspent is not None:
            settle = (granted[1] or since, min(unspent, granted[0]), TICKS_PER_S, *[TICKS_PER_S // 2] * refusing)
            word, more = word + SETTLING, [*more, *settle]
        if not charging:
            word += NOT_CHARGING
        arguments = [word, *more, *(each for part in parts for each in part)]
        expected = model.call(ticks, names, parts, refusing, lease, settle, charging=charging)
        answers = script(keys=[f"{place}:{name}" for name in names], args=arguments)
        assert answers == expected
        if lease is not None and charging:
            granted = (answers[-2], answers[-1])


@pytest.mark.parametrize("day", [0, 58, 59, 60, 366, 424, 425, 1154, 1155, 1520, 2190, 12_000, 29_278])
@pytest.mark.parametrize("kind", [DAY, MONTH])
def test_script_and_process_agree_where_days_and_months_end(connection, clocked, day, kind):
    prefix, script = clocked
    for second in (0, 43_200, 86_399):
        now_us = (EPOCH_S + day * 86_400 + second) * 1_000_000
        ticks = set_clock(connection, prefix, now_us)
        key = f"{prefix}:{uuid.uuid4().hex}"
        span = period(kind, ticks)
        answers = script(keys=[key], args=[1, *Bucket(kind, 3)])
        assert answers == [2, 0, span.end - ticks]
        assert int(connection.get(key)) == (span.number << 32) + 1
        assert span.start <= ticks < span.end


def test_a_quota_outlives_its_period_by_a_moment_only(connection):
    script = connection.register_script(rate_limit.script().decode())
    key = f"quota:{uuid.uuid4().hex}"
    left, wait, ends = script(keys=[key], args=[1, *quota(2, "day")])
    assert (left, wait) == (1, 0)
    assert 0 <= connection.pttl(key) - ends // 8000 <= 1100


def test_idle_keys_vanish_once_their_bucket_is_full(connection):
    script = connection.register_script(rate_limit.script().decode())
    key = f"idle:{uuid.uuid4().hex}"
    script(keys=[key], args=[1, *bucket(10.0, 20)])
    assert 1000 <= connection.pttl(key) <= 1100
    script(keys=[key], args=[1, *bucket(1 / 3600, 20)])
    assert 3_590_000 <= connection.pttl(key) <= 3_701_100


def test_a_refused_call_writes_nothing(connection):
    script = connection.register_script(rate_limit.script().decode())
    first, second, day = (f"{name}:{uuid.uuid4().hex}" for name in "abd")
    narrow, wide = bucket(0.001, 1), bucket(10.0, 100)
    script(keys=[first], args=[1, *narrow])
    answers = script(keys=[first, second, day], args=[3, *narrow, *wide, *quota(5, "day")])
    assert answers[1] > 0
    assert connection.exists(second) == connection.exists(day) == 0
