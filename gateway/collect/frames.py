"""The bytes of one spool batch: a fixed head, the batch's header and its rows.

Layout, big endian: magic ``SSB1``, length of the header, length of the rows, number of rows, CRC-32 over header and
rows; then both as MessagePack. The count stands in the head so that a segment can be counted without decoding it.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import msgspec

from gateway.domain.traffic import BatchHeader, RequestRecord
from gateway.errors import CorruptSpoolError

Row = tuple[object, ...]

_MAGIC = b"SSB1"
_HEAD = struct.Struct(">4sIIII")
HEAD_BYTES = _HEAD.size
MAX_HEADER_BYTES = 1 << 20  # counters of a worker: names from the configuration, far below this
MAX_ROWS_BYTES = 64 << 20  # a batch holds at most a memory cap of rows; anything longer is not ours

# A row in foreign hands shows in one of these; the checksum has already said that the bytes are the writer's own.
UNREADABLE = (msgspec.MsgspecError, UnicodeError)

_encoder = msgspec.msgpack.Encoder()
_decode_header = msgspec.msgpack.Decoder(BatchHeader).decode
_decode_rows = msgspec.msgpack.Decoder(list[RequestRecord]).decode
_decode_row = msgspec.msgpack.Decoder(RequestRecord).decode
_split_rows = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Frame(NamedTuple):
    """One batch as read: its header, the records that decode, the raw rows that do not, and where it ends."""

    header: BatchHeader
    records: list[RequestRecord]
    rejected: list[bytes]
    end: int


def encode(header: BatchHeader, rows: list[Row]) -> bytearray:
    """One batch, ready for a single write.

    Raises:
        UnicodeEncodeError, TypeError, OverflowError: a row that MessagePack cannot express.
    """
    frame = bytearray(HEAD_BYTES)
    _encoder.encode_into(header, frame, HEAD_BYTES)
    header_bytes = len(frame) - HEAD_BYTES
    _encoder.encode_into(rows, frame, len(frame))
    rows_bytes = len(frame) - HEAD_BYTES - header_bytes
    checksum = zlib.crc32(memoryview(frame)[HEAD_BYTES:])
    _HEAD.pack_into(frame, 0, _MAGIC, header_bytes, rows_bytes, len(rows), checksum)
    return frame


def encodable(rows: list[Row]) -> list[Row]:
    """The rows MessagePack can express; a lone surrogate in a path must not cost its neighbours their place."""
    kept = []
    for row in rows:
        try:
            _encoder.encode(row)
        except (UnicodeError, TypeError, OverflowError, msgspec.MsgspecError):
            continue
        kept.append(row)
    return kept


def row_bytes(record: RequestRecord) -> bytes:
    """One record as a row."""
    return _encoder.encode(record)


def length_at(data: bytes, start: int) -> int | None:
    """How many bytes the frame at ``start`` takes; None while its head is not all there.

    Raises:
        CorruptSpoolError: the head is not one of ours.
    """
    if len(data) - start < HEAD_BYTES:
        return None
    magic, header_bytes, rows_bytes, _, _ = _HEAD.unpack_from(data, start)
    if magic != _MAGIC or header_bytes > MAX_HEADER_BYTES or rows_bytes > MAX_ROWS_BYTES:
        raise CorruptSpoolError("the bytes are not the head of a batch")
    return HEAD_BYTES + int(header_bytes) + int(rows_bytes)


def decode_at(data: bytes, start: int) -> Frame | None:
    """The frame at ``start``, or None while it is incomplete.

    Raises:
        CorruptSpoolError: wrong magic, length, checksum or shape.
    """
    length = length_at(data, start)
    if length is None or start + length > len(data):
        return None
    _, header_bytes, _, count, checksum = _HEAD.unpack_from(data, start)
    body = memoryview(data)[start + HEAD_BYTES : start + length]
    if zlib.crc32(body) != checksum:
        raise CorruptSpoolError("the batch fails its checksum")
    try:
        header = _decode_header(body[:header_bytes])
        records, rejected = _rows(body[header_bytes:])
    except UNREADABLE as error:
        raise CorruptSpoolError(f"the batch does not decode: {error}") from error
    if len(records) + len(rejected) != count:
        raise CorruptSpoolError("the batch does not hold as many rows as its head says")
    return Frame(header, records, rejected, start + length)


def _rows(body: memoryview) -> tuple[list[RequestRecord], list[bytes]]:
    try:
        return _decode_rows(body), []
    except UNREADABLE:
        pass
    records: list[RequestRecord] = []
    rejected: list[bytes] = []
    for raw in _split_rows(body):
        try:
            records.append(_decode_row(raw))
        except UNREADABLE:
            rejected.append(bytes(raw))
    return records, rejected
