"""What days of watching taught, as bytes to keep: versioned, compressed, and refused whole where anything is off."""

from __future__ import annotations

import zlib

import msgspec

from gateway.detect.streaming import State, Streaming
from gateway.detect.unlike_itself import Series
from gateway.domain.incident import Signal
from gateway.domain.window import COARSE_S

# Counts up when what a series remembers changes its meaning: an older state is then not read but begun anew.
VERSION = 1
MOST_BYTES = 1_500_000  # unpacked; a pair of old series has about 600,000


class SeriesState(msgspec.Struct, frozen=True, array_like=True):
    """One series."""

    signal: Signal
    since: float | None
    newest: float
    out_since: float | None
    streaming: State


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[SeriesState, SeriesState]).decode


def to_bytes(pair: tuple[Series, Series]) -> bytes:
    """A place's two series."""
    states = [
        SeriesState(series.signal, series.since, series.newest, series.out_since, series.streaming.state())
        for series in pair
    ]
    return zlib.compress(_encode(states), level=1)


def from_bytes(raw: bytes) -> tuple[Series, Series]:
    """The series again.

    Raises:
        ValueError: these are no such bytes, or they hold more than two series can.
    """
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(raw, MOST_BYTES)
        if not unpacker.eof:
            raise ValueError("cut short, or larger than two series can be")
        latency, traffic = _decode(unpacked)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"no kept series: {error}") from error
    if (latency.signal, traffic.signal) != (Signal.LATENCY, Signal.TRAFFIC):
        raise ValueError("the series are not those of latency and traffic")
    return _series(latency), _series(traffic)


def _series(state: SeriesState) -> Series:
    made = Series(state.signal)
    made.since, made.newest, made.out_since = state.since, state.newest, state.out_since
    made.streaming = Streaming.restored(state.streaming, COARSE_S)
    return made
