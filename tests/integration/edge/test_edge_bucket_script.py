"""The script on a real Redis against the in-process bucket, step by step.

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
from gateway.edge.token_bucket import TICKS_PER_S, LocalBuckets, bucket

EPOCH_S = 1577836800
CLOCK = "redis.call('TIME')"

takes = st.lists(
    st.tuples(
        st.integers(-3 * 1_000_000, 3 * 1_000_000),  # microseconds from one step to the next: clocks jump back too
        st.lists(  # groups of one call
            st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True), min_size=1, max_size=4
        ),
    ),
    min_size=1,
    max_size=25,
)
limits = st.tuples(st.floats(0.01, 5000), st.integers(1, 50))


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


def groups_of(script_arguments, groups, buckets):
    keys, arguments = [], []
    for group in groups:
        arguments.append(len(group))
        for name in group:
            keys.append(f"{script_arguments}:{name}")
            arguments += buckets[name]
    return keys, arguments


@settings(max_examples=40, deadline=None)
@given(parameters=st.fixed_dictionaries(dict.fromkeys("abc", limits)), steps=takes)
def test_script_and_process_give_the_same_answers_step_by_step(connection, clocked, parameters, steps):
    prefix, script = clocked
    life = f"{prefix}:{uuid.uuid4().hex}"
    buckets = {name: bucket(rate, burst) for name, (rate, burst) in parameters.items()}
    local = LocalBuckets()
    now_us = 1_800_000_000_000_000
    for step, groups in steps:
        now_us += step
        connection.hset(f"{prefix}:clock", mapping={"s": now_us // 1_000_000, "us": now_us % 1_000_000})
        keys, arguments = groups_of(life, groups, buckets)
        ticks = (now_us - EPOCH_S * 1_000_000) * (TICKS_PER_S // 1_000_000)
        expected = []
        for group in groups:
            expected += local.take(group, [buckets[name] for name in group], ticks)
        assert script(keys=keys, args=arguments) == expected


def test_idle_keys_vanish_once_their_bucket_is_full(connection):
    script = connection.register_script(rate_limit.script().decode())
    key = f"idle:{uuid.uuid4().hex}"
    script(keys=[key], args=[1, *bucket(10.0, 20)])
    assert 1000 <= connection.pttl(key) <= 1100
    script(keys=[key], args=[1, *bucket(1 / 3600, 20)])
    assert 3_590_000 <= connection.pttl(key) <= 3_701_100


def test_a_refused_call_writes_nothing(connection):
    script = connection.register_script(rate_limit.script().decode())
    first, second = f"a:{uuid.uuid4().hex}", f"b:{uuid.uuid4().hex}"
    narrow, wide = bucket(0.001, 1), bucket(10.0, 100)
    script(keys=[first], args=[1, *narrow])
    answers = script(keys=[first, second], args=[2, *narrow, *wide])
    assert answers[1] > 0
    assert connection.exists(second) == 0
