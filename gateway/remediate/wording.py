"""Numbers as people read them at three in the morning. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.domain.plan import Sample, Watch

_MINUTE_S = 60
_HOUR_S = 3600


def span(seconds: float) -> str:
    """Such as ``45 s``, ``10 min``, ``1.5 h``."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:g} min" if seconds % _MINUTE_S == 0 else f"{seconds / _MINUTE_S:.1f} min"
    return f"{seconds / _HOUR_S:.1f} h".replace(".0 h", " h")


def percent(share: float) -> str:
    """Such as ``50 %``, ``3.2 %``, ``0.04 %``: two figures that mean something."""
    number = share * 100
    if number == 0 or number >= 10:  # noqa: PLR2004 - from ten per cent on, whole ones say enough
        return f"{number:.0f} %"
    return f"{number:.1f} %" if number >= 1 else f"{number:.2g} %"


def what_is_bad(watch: Watch) -> str:
    """The verb of the count: ``failed``, or ``took longer than 300 ms``."""
    if watch.slow_us <= 0:
        return "failed"
    return f"failed or took longer than {watch.slow_us / 1000:.0f} ms"


def counted(sample: Sample) -> str:
    """Such as ``43 of 86 (50 %)``; ``none seen`` without requests."""
    if not sample.requests:
        return "none seen"
    return f"{sample.bad} of {sample.requests} ({percent(sample.share)})"
