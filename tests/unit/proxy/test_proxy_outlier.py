"""Who is out by its own answers, for how long, and how it comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.upstreams import Outlier
from gateway.proxy.outlier import MOST_IN_A_ROW, NO_PROBE, Outliers
from gateway.proxy.probe import GOES_ON_S, PATIENCE_S

SETTINGS = Outlier(consecutive=3, eject_s=10.0, max_ejected=0.5)


def outliers(count: int = 2, settings: Outlier = SETTINGS) -> Outliers:
    return Outliers(settings, [f"t{number}" for number in range(count)])


def fail(watch: Outliers, name: str, now: float, *, times: int = 3) -> None:
    for _ in range(times):
        watch.finished(name, watch.started(name, now), now, well=False)


def probe(watch: Outliers, name: str, now: float, *, well: bool | None) -> None:
    ticket = watch.started(name, now)
    assert ticket != NO_PROBE
    watch.finished(name, ticket, now, well=well)


def test_a_target_goes_out_after_so_many_failures_in_a_row():
    watch = outliers()
    fail(watch, "t0", 0.0, times=2)
    assert watch.away() == {}
    fail(watch, "t0", 0.0, times=1)
    assert watch.away() == {"t0": 10.0}
    assert watch.take_ejections() == {"t0": 1}
    assert watch.take_ejections() == {}


def test_a_success_between_failures_breaks_the_row():
    watch = outliers()
    fail(watch, "t0", 0.0, times=2)
    watch.finished("t0", NO_PROBE, 0.0, well=True)
    fail(watch, "t0", 0.0, times=2)
    assert watch.away() == {}


def test_an_end_that_is_nobodys_fault_neither_breaks_nor_prolongs_the_row():
    watch = outliers()
    fail(watch, "t0", 0.0, times=2)
    watch.finished("t0", NO_PROBE, 0.0, well=None)
    assert watch.away() == {}
    fail(watch, "t0", 0.0, times=1)
    assert watch.away() == {"t0": 10.0}


def test_no_more_than_the_given_share_of_targets_go_out():
    watch = outliers(3)
    for name in ("t0", "t1", "t2"):
        fail(watch, name, 0.0)
    assert watch.away().keys() == {"t0"}


def test_a_single_target_is_never_taken_out():
    watch = outliers(1)
    fail(watch, "t0", 0.0, times=50)
    assert watch.away() == {}


def test_it_is_probed_by_one_request_at_a_time_when_its_time_is_over():
    watch = outliers()
    fail(watch, "t0", 0.0)
    assert not watch.probe_free("t0", 9.9)
    assert watch.started("t0", 9.9) == NO_PROBE
    assert watch.probe_free("t0", 10.0)
    first = watch.started("t0", 10.0)
    assert first != NO_PROBE
    assert not watch.probe_free("t0", 10.1)
    assert watch.started("t0", 10.1) == NO_PROBE
    watch.finished("t0", first, 10.2, well=True)
    assert watch.away() == {}


def test_a_failed_probe_puts_it_out_again_for_longer():
    watch = outliers()
    fail(watch, "t0", 0.0)
    probe(watch, "t0", 10.0, well=False)
    assert watch.away() == {"t0": 30.0}
    probe(watch, "t0", 30.0, well=False)
    assert watch.away() == {"t0": 60.0}


def test_ejections_do_not_grow_for_ever():
    watch, now = outliers(), 0.0
    fail(watch, "t0", now)
    for _ in range(40):
        now = watch.away()["t0"]
        probe(watch, "t0", now, well=False)
    assert watch.away()["t0"] - now == MOST_IN_A_ROW * 10.0


def test_one_that_fails_right_after_its_return_stays_out_longer_and_one_that_lasted_begins_anew():
    watch = outliers()
    fail(watch, "t0", 0.0)
    probe(watch, "t0", 10.0, well=True)
    fail(watch, "t0", 15.0)
    assert watch.away() == {"t0": 35.0}
    probe(watch, "t0", 35.0, well=True)
    fail(watch, "t0", 56.0)  # back for 21 s, out for 20 s before
    assert watch.away() == {"t0": 66.0}


def test_a_probe_whose_client_left_lets_the_next_one_go():
    watch = outliers()
    fail(watch, "t0", 0.0)
    probe(watch, "t0", 10.0, well=None)
    assert watch.away() == {"t0": 10.0}
    probe(watch, "t0", 10.0, well=True)
    assert watch.away() == {}


def test_a_probe_without_a_verdict_does_not_hold_up_the_next_for_ever():
    watch = outliers()
    fail(watch, "t0", 0.0)
    lost = watch.started("t0", 10.0)
    assert not watch.probe_free("t0", 10.0 + PATIENCE_S - 0.1)
    probe(watch, "t0", 10.0 + PATIENCE_S, well=True)
    assert watch.away() == {}
    watch.finished("t0", lost, 30.0, well=False)  # far too late to mean anything but one failure
    assert watch.away() == {}


def test_a_probe_that_streams_well_counts_as_a_success_after_a_while():
    watch = outliers()
    fail(watch, "t0", 0.0)
    stream = watch.started("t0", 10.0)
    watch.answered("t0", stream, 10.1)
    assert not watch.probe_free("t0", 10.1 + GOES_ON_S / 2)
    assert watch.probe_free("t0", 10.1 + GOES_ON_S)
    assert watch.started("t0", 10.1 + GOES_ON_S) == NO_PROBE
    assert watch.away() == {}


def test_what_began_before_the_ejection_changes_nothing_after_it():
    watch = outliers()
    fail(watch, "t0", 0.0)
    watch.finished("t0", NO_PROBE, 1.0, well=True)
    watch.finished("t0", NO_PROBE, 1.0, well=False)
    assert watch.away() == {"t0": 10.0}


def test_targets_that_stay_keep_their_record_and_others_are_forgotten():
    watch = outliers(4)
    fail(watch, "t0", 0.0)
    fail(watch, "t1", 0.0)
    watch.retain(["t0", "t9"])
    assert watch.away() == {"t0": 10.0}
    watch.finished("t1", NO_PROBE, 0.0, well=False)  # of a target that is gone


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([True, False, None]), st.floats(0, 30)), max_size=80)


@given(EVENTS, st.floats(0, 1))
def test_never_more_are_out_than_allowed_and_each_comes_back_by_one_success(events, share):
    watch = outliers(4, Outlier(consecutive=1, eject_s=10.0, max_ejected=share))
    now, left_hanging = 0.0, 0
    for number, well, pause in events:
        now += pause
        name = f"t{number}"
        ticket = watch.started(name, now)
        if well is None and ticket != NO_PROBE:
            left_hanging += 1  # nobody ever says how that one ended
        else:
            watch.finished(name, ticket, now, well=well)
        assert len(watch.away()) <= share * 4
    now += MOST_IN_A_ROW * 10.0 + PATIENCE_S
    for name in tuple(watch.away()):
        assert watch.probe_free(name, now)
        probe(watch, name, now, well=True)
    assert watch.away() == {}
