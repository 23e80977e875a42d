"""Numbers, spans, instants and foreign text as people read them: one way of writing each, for every page.

All pure. A figure always carries its unit, with a thin no-break space before it where the unit is a word.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

NARROW = "\u202f"  # narrow no-break space: keeps a figure and its unit on one line
NOTHING = "–"

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_THOUSAND = 1000


def count(number: float) -> str:
    """A whole number with thin separators: ``9 431``."""
    return f"{round(number):,}".replace(",", NARROW)


def _figures(number: float) -> str:
    """About three figures, alike for every size so that columns line up: 0.42, 4.2, 42.3, 423."""
    if number >= 99.95 or not number:  # noqa: PLR2004 - three figures before the point need none behind it
        return count(number)
    return f"{number:.1f}" if number >= 1 else f"{number:.2f}"


def rate(per_s: float) -> str:
    """Requests per second: ``12.4/s``."""
    return f"{_figures(per_s)}/s"


def times(factor: float) -> str:
    """How many times too fast: ``14.4 ×``."""
    return f"{_figures(factor)} ×"


def share(part: float | None) -> str:
    """A part of one in percent: ``0.4 %``, ``48 %``; a part too small to print still reads as not nothing."""
    if part is None:
        return NOTHING
    percent = part * 100
    if 0 < percent < 0.1:  # noqa: PLR2004 - the smallest figure with one decimal
        return f"<{NARROW}0.1{NARROW}%"
    text = f"{percent:.1f}" if percent < 10 else f"{percent:.0f}"  # noqa: PLR2004 - one decimal below ten
    return f"{text.removesuffix('.0')}{NARROW}%"


def latency(duration_us: float | None) -> str:
    """Microseconds in the unit that reads best: ``840 µs``, ``12.3 ms``, ``1.24 s``."""
    if duration_us is None:
        return NOTHING
    if duration_us >= 999_950:  # noqa: PLR2004 - what would round to 1,000 ms
        seconds = duration_us / 1_000_000
        return f"{seconds:.2f}{NARROW}s" if seconds < 10 else f"{_figures(seconds)}{NARROW}s"  # noqa: PLR2004 - see above
    if duration_us >= 999.5:  # noqa: PLR2004 - what would round to 1,000 µs
        return f"{_figures(max(1, duration_us / 1000))}{NARROW}ms"
    return f"{round(duration_us)}{NARROW}µs"


def span(seconds: float) -> str:
    """How long, in at most two units: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole}{NARROW}s"
    if whole < _HOUR_S:
        return f"{round(whole / _MINUTE_S)}{NARROW}min"
    big, small, names = (_HOUR_S, _MINUTE_S, ("h", "min")) if whole < _DAY_S else (_DAY_S, _HOUR_S, ("d", "h"))
    first, rest = divmod(whole, big)
    second = rest // small
    head = f"{first}{NARROW}{names[0]}"
    return f"{head} {second}{NARROW}{names[1]}" if second else head


def ago(at: float, now: float) -> str:
    """An instant against now: ``12 min ago``, ``in 20 min``, ``just now``."""
    distance = now - at
    if abs(distance) < 1:
        return "just now"
    return f"{span(distance)} ago" if distance > 0 else f"in {span(-distance)}"


def clock(at: float, now: float) -> str:
    """The time of day in UTC, with the date when it is not today's: ``03:02:10``, ``20 Nov 03:02:10``."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    form = "%H:%M:%S" if moment.date() == today.date() else "%d %b %H:%M:%S"
    if moment.year != today.year:
        form = "%d %b %Y %H:%M:%S"
    return moment.strftime(form)


def iso(at: float) -> str:
    """RFC 3339 in UTC to the second, for ``datetime`` attributes and exports."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def size(number_bytes: float) -> str:
    """Bytes in powers of 1024: ``812 B``, ``14.2 KiB``."""
    if number_bytes < 1024:  # noqa: PLR2004 - the base of the units
        return f"{count(number_bytes)}{NARROW}B"
    for unit in ("KiB", "MiB", "GiB"):
        number_bytes /= 1024
        if number_bytes < 1024 or unit == "GiB":  # noqa: PLR2004 - the base of the units
            return f"{_figures(number_bytes)}{NARROW}{unit}"
    raise AssertionError  # pragma: no cover - the last unit takes whatever is left


def shown(text: str) -> str:
    r"""Text from the traffic with what cannot be seen made visible.

    Control characters, line separators and direction overrides become ``\u{202e}``, so that a path or a user agent
    can neither reorder the line it stands in nor hide a part of itself. HTML escaping is the template's.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} else _spelled(letter)
        for letter in text
    )


def _spelled(letter: str) -> str:
    return f"\\u{{{ord(letter):x}}}"


def plural(number: int, one: str, many: str = "") -> str:
    """``1 target``, ``3 targets``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def joined(words: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """``a, b and c``; beyond the limit ``a, b, c and 4 more``."""
    if len(words) > limit:
        return f"{', '.join(words[:limit])} and {len(words) - limit} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else NOTHING
