"""Follows the frames of a WebSocket (RFC 6455 section 5) without taking them apart. Pure: bytes in, bytes to pass on.

A tunnel passes bytes on as they came, whatever extensions the two ends agreed on. It follows the frames all the same,
because only between two frames may it say something of its own: a ping, or a close when the gateway stops. So headers
are held until they are whole (at most 14 bytes) and control frames as well (at most 139); the payload of messages is
never held, copied apart or unmasked.
"""

from __future__ import annotations

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_NO_STATUS = 1005  # never sent: what a close frame without a code means
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL = 1011
CLOSE_RESTART = 1012
CLOSE_BAD_GATEWAY = 1014

_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA
_FIN, _MASKED = 0x80, 0x80
_MAX_CONTROL = 125  # bytes of payload (section 5.5)
_TWO_BYTES, _EIGHT_BYTES = 126, 127  # what the short length says when the length follows
_CODE_BYTES = 2


class FrameFollower:
    """One direction of a WebSocket.

    Args:
        masked: whether this side has to mask: clients do, servers must not (section 5.1).
        max_message_bytes: of one message as it is on the wire, all its frames; 0 for any.

    Attributes:
        closed_with: the code of this side's close frame, None before it; nothing passes after it.
        problem: the close code this side has earned by breaking the protocol, 0 while it has not.
        ponged: whether the pong that was awaited came.
    """

    __slots__ = (
        "_awaited",
        "_held",
        "_last",
        "_left",
        "_masked",
        "_max",
        "_message",
        "closed_with",
        "ponged",
        "problem",
    )

    def __init__(self, *, masked: bool, max_message_bytes: int = 0) -> None:
        self.closed_with: int | None = None
        self.problem = 0
        self.ponged = False
        self._masked = masked
        self._max = max_message_bytes
        self._held = b""  # of a header or control frame that is not whole yet
        self._left = 0  # bytes of payload until the frame under way ends
        self._message = 0  # bytes of the message under way
        self._awaited = b""
        self._last = -1  # once nothing more is to pass: bytes of the last frame that still do

    @property
    def between_frames(self) -> bool:
        """Whether what was passed on so far ends with a whole frame."""
        return self._last == 0 or (self._last < 0 and not self._left)

    def is_over(self) -> bool:
        """Whether this side has closed, or cannot be followed any further."""
        return self.closed_with is not None or self.problem != 0

    def mute(self) -> None:
        """Pass on the frame under way and nothing after it; what comes is followed all the same."""
        if self._last < 0:
            self._last = self._left

    def await_pong(self, payload: bytes) -> None:
        """The next pong with this payload answers the gateway, so it is not passed on."""
        self._awaited = payload
        self.ponged = False

    def feed(self, data: bytes) -> bytes:
        """What of ``data``, and of what was held before it, goes on to the other side now."""
        if self._last < 0:
            return self._follow(data)
        rest = data[: self._last]
        self._last -= len(rest)
        self._follow(data)
        return rest

    def _follow(self, data: bytes) -> bytes:
        if self._left >= len(data):  # in the middle of a long frame: the usual case of large messages
            self._left -= len(data)
            return data
        if self.is_over():
            return b""
        if self._held:
            data = self._held + data
        position, self._left = self._left, 0
        kept: list[bytes] = []  # what stands before a pong of ours
        begin, size = 0, len(data)
        while position < size:
            end = self._frame(data, position)
            if end < 0:
                break
            if self.ponged and self._awaited:
                self._awaited = b""
                kept.append(data[begin:position])
                begin = end
            position = end
            if self.is_over():  # by a close frame
                self._held = b""
                return b"".join([*kept, data[begin:end]])
        if position > size:
            self._left = position - size
            position = size
        self._held = b"" if self.problem else data[position:]
        if begin == 0 and position == size:
            return data
        return b"".join([*kept, data[begin:position]])

    def _frame(self, data: bytes, position: int) -> int:
        """Where the frame at ``position`` ends, perhaps beyond ``data``; -1 to wait for more of it, or to stop."""
        if len(data) - position < 2:  # noqa: PLR2004 - the first two bytes of every frame
            return -1
        first, second = data[position], data[position + 1]
        opcode = first & 0x0F
        broken = bool(second & _MASKED) is not self._masked
        if opcode >= _CLOSE:
            broken = broken or not first & _FIN or second & 0x7F > _MAX_CONTROL
        if broken:
            return self._stop(CLOSE_PROTOCOL_ERROR)
        payload, length = _extent(data, position + 2, second & 0x7F)
        payload += 4 if self._masked else 0
        if payload > len(data):
            return -1
        end = payload + length
        if opcode >= _CLOSE:
            return self._control(opcode, data, payload, end) if end <= len(data) else -1
        return self._message_frame(opcode, length, end)

    def _message_frame(self, opcode: int, length: int, end: int) -> int:
        self._message = length + (0 if opcode else self._message)  # 0: more of the message under way
        if length >> 63:
            return self._stop(CLOSE_PROTOCOL_ERROR)
        if self._max and self._message > self._max:
            return self._stop(CLOSE_TOO_BIG)
        return end

    def _control(self, opcode: int, data: bytes, payload: int, end: int) -> int:
        if opcode == _CLOSE:
            content = self._unmasked(data, payload, end)
            if len(content) == 1:
                return self._stop(CLOSE_PROTOCOL_ERROR)
            self.closed_with = int.from_bytes(content[:_CODE_BYTES], "big") if content else CLOSE_NO_STATUS
        elif opcode == _PONG and self._awaited and self._unmasked(data, payload, end) == self._awaited:
            self.ponged = True
        return end

    def _unmasked(self, data: bytes, payload: int, end: int) -> bytes:
        content = data[payload:end]
        return _mask(content, data[payload - 4 : payload]) if self._masked else content

    def _stop(self, code: int) -> int:
        self.problem = code
        return -1


def _extent(data: bytes, position: int, short: int) -> tuple[int, int]:
    """Where the length ends, and what it is as far as it has come (section 5.2)."""
    size = 2 if short == _TWO_BYTES else 8 if short == _EIGHT_BYTES else 0
    return position + size, int.from_bytes(data[position : position + size], "big") if size else short


def close_frame(code: int, reason: str = "", *, mask: bytes = b"") -> bytes:
    """A close frame; a client's has a ``mask`` of four unforeseeable bytes, a server's none."""
    return _control_frame(_CLOSE, code.to_bytes(_CODE_BYTES, "big") + reason.encode()[: _MAX_CONTROL - 2], mask)


def ping_frame(payload: bytes, *, mask: bytes = b"") -> bytes:
    """A ping frame, masked as by :func:`close_frame`."""
    return _control_frame(_PING, payload[:_MAX_CONTROL], mask)


def _control_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    if mask:
        return bytes((_FIN | opcode, _MASKED | len(payload))) + mask + _mask(payload, mask)
    return bytes((_FIN | opcode, len(payload))) + payload


def _mask(payload: bytes, mask: bytes) -> bytes:
    """Masking and unmasking are the same (section 5.3)."""
    return bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
