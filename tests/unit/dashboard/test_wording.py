import pytest

from gateway.admin.dashboard import wording

THIN = wording.NARROW


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (0.0, "0 %"),
        (0.0004, "< 0.1 %"),
        (0.004, "0.4 %"),
        (0.05, "5 %"),
        (0.192, "19 %"),
        (1.0, "100 %"),
        (None, "–"),
    ],
)
def test_a_share_reads_as_percent_and_never_hides_something_small(part, text):
    assert wording.share(part).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("duration_us", "text"),
    [
        (0, "0 µs"),
        (840, "840 µs"),
        (999.6, "1.0 ms"),
        (12_345, "12.3 ms"),
        (423_000, "423 ms"),
        (999_960, "1.00 s"),
        (1_240_000, "1.24 s"),
        (31_000_000, "31.0 s"),
        (None, "–"),
    ],
)
def test_a_latency_is_written_in_the_unit_that_reads_best(duration_us, text):
    assert wording.latency(duration_us).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (45, "45 s"), (720, "12 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)
def test_a_span_has_at_most_two_units(seconds, text):
    assert wording.span(seconds).replace(THIN, " ") == text


def test_an_instant_is_told_against_now_in_both_directions():
    assert wording.ago(1000, 1720).replace(THIN, " ") == "12 min ago"
    assert wording.ago(2200, 1000).replace(THIN, " ") == "in 20 min"
    assert wording.ago(1000, 1000.4) == "just now"


def test_the_clock_shows_a_date_only_when_it_is_not_todays():
    now = 1_795_230_245.0
    assert wording.clock(now, now) == "03:04:05"
    assert wording.clock(now - 86_400, now) == "20 Nov 03:04:05"
    assert wording.clock(now - 400 * 86_400, now).endswith("2025 03:04:05")


def test_text_from_traffic_cannot_reorder_or_hide_itself():
    assert wording.shown("/a\u202egpj.exe") == "/a\\u{202e}gpj.exe"
    assert wording.shown("a\r\nb\x1b[31m\x00\u200b") == "a\\u{d}\\u{a}b\\u{1b}[31m\\u{0}\\u{200b}"
    assert wording.shown("/käse/日本") == "/käse/日本"


def test_sizes_counts_and_lists_carry_their_units():
    assert wording.size(812).replace(THIN, " ") == "812 B"
    assert wording.size(14_541).replace(THIN, " ") == "14.2 KiB"
    assert wording.count(9431).replace(THIN, " ") == "9 431"
    assert wording.plural(1, "target") == "1 target" and wording.plural(3, "target") == "3 targets"
    assert wording.joined(["a", "b", "c"]) == "a, b and c"
    assert wording.joined(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert wording.joined(["a"]) == "a" and wording.joined([]) == "–"
