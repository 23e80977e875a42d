"""Load by wrk: the scripts it runs, and what it reports."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from loadtests import lab

if TYPE_CHECKING:
    from pathlib import Path

# Requests are made once per token and sent again and again, as a client with a connection pool and a token would.
_REPEATED = """\
local at, made = 0, {}
function request()
  at = at % #tokens + 1
  local text = made[at]
  if not text then
    text = wrk.format("GET", nil, { ["Authorization"] = tokens[at] })
    made[at] = text
  end
  return text
end
"""

# A body of one letter, as long as it is asked for.
_UPLOAD = """\
local at, made, body = 0, {}, string.rep("x", %d)
function request()
  at = at %% #tokens + 1
  local text = made[at]
  if not text then
    text = wrk.format("POST", nil, { ["Authorization"] = tokens[at], ["Content-Type"] = "text/plain" }, body)
    made[at] = text
  end
  return text
end
"""
UPLOAD_KEPT_BYTES = 16_000_000  # of requests made once and sent again: fewer subjects for larger bodies

# Nothing repeats but the tokens: an URL and a trace of its own for each request, and what a browser adds to it.
_HARD = """\
local at, sent, target = 0, 0, nil
local fields = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd", ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8",
  ["Cache-Control"] = "no-cache", ["Pragma"] = "no-cache", ["Priority"] = "u=0, i",
  ["Referer"] = "https://shop.example/catalog?page=3&sort=price", ["DNT"] = "1",
  ["Sec-Ch-Ua"] = '"Chromium";v="142", "Not?A_Brand";v="24"', ["Sec-Ch-Ua-Mobile"] = "?0",
  ["Sec-Ch-Ua-Platform"] = '"Linux"', ["Sec-Fetch-Dest"] = "document", ["Sec-Fetch-Mode"] = "navigate",
  ["Sec-Fetch-Site"] = "same-origin", ["Cookie"] = "session=4f1c9b7e2a6d4e0f8b3a; theme=dark; consent=necessary",
}
function request()
  at, sent = at % #tokens + 1, sent + 1
  target = target or wrk.path .. (wrk.path:find("?", 1, true) and "&" or "?") .. "n="
  fields["Authorization"] = tokens[at]
  fields["Traceparent"] = string.format("00-%032x-%016x-01", sent * 7919 + 1, sent + 1)
  return wrk.format("GET", target .. sent, fields)
end
"""

# A token and a path of its own for each request. wrk is linked to libcrypto, which LuaJIT can call.
_DISTINCT = """\
local ffi = require("ffi")
ffi.cdef[[
  const void *EVP_sha256(void);
  unsigned char *HMAC(const void *digest, const void *key, int key_len,
                      const unsigned char *text, size_t text_len, unsigned char *mac, unsigned int *mac_len);
  int EVP_EncodeBlock(unsigned char *out, const unsigned char *text, int length);
]]
local mac, out = ffi.new("unsigned char[32]"), ffi.new("unsigned char[1024]")
local letters = { ["+"] = "-", ["/"] = "_", ["="] = "" }
local function encoded(bytes, length)
  return (ffi.string(out, ffi.C.EVP_EncodeBlock(out, bytes, length)):gsub("[+/=]", letters))
end
local head = encoded('{"alg":"HS256","typ":"JWT"}', 27) .. "."
local form = '{"sub":"user-%d","tenant":"tenant-%d","jti":"%d","exp":%d}'
local sent = first
function request()
  sent = sent + 1
  local claims = string.format(form, sent, sent % 10, sent, expiry)
  local signed = head .. encoded(claims, #claims)
  ffi.C.HMAC(ffi.C.EVP_sha256(), secret, #secret, signed, #signed, mac, nil)
  local token = signed .. "." .. encoded(mac, 32)
  return wrk.format("GET", wrk.path .. "/" .. sent, { ["Authorization"] = "Bearer " .. token })
end
"""

# A key, or an address, of its own for each request: IPv4 and IPv6 in turn, as a proxy in front would name them.
_KEYS = """\
local sent = first
function request()
  sent = sent + 1
  return wrk.format("GET", wrk.path .. "/" .. sent, { ["X-Api-Key"] = string.format("sk_%012x_%064x", sent, sent) })
end
"""
_ADDRESSES = """\
local sent = first
function request()
  sent = sent + 1
  local high, low = math.floor(sent / 65536) % 65536, sent % 65536
  local address = string.format("2001:db8:%x:%x::1", high, low)
  if sent % 2 == 0 then
    address = string.format("11.%d.%d.%d", high % 256, math.floor(low / 256), low % 256)
  end
  return wrk.format("GET", wrk.path .. "/" .. sent, { ["X-Forwarded-For"] = address })
end
"""

_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}
_QUANTILE = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)$", re.MULTILINE)
_FAILURES = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKETS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


class Load(NamedTuple):
    """What wrk saw. ``failed`` counts answers that are no 2xx or 3xx, and broken connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


def repeated_script(subjects: int, *, hard: bool) -> str:
    """A wrk script that sends the tokens of so many subjects in turn."""
    words = ", ".join(f'"Bearer {lab.token(subject)}"' for subject in range(subjects))
    return f"local tokens = {{ {words} }}\n{_HARD if hard else _REPEATED}"


def upload_script(subjects: int, size: int) -> str:
    """A wrk script that sends a body of ``size`` bytes with each request, of as many subjects as memory allows."""
    words = ", ".join(
        f'"Bearer {lab.token(subject)}"' for subject in range(max(1, min(subjects, UPLOAD_KEPT_BYTES // max(size, 1))))
    )
    return f"local tokens = {{ {words} }}\n{_UPLOAD % size}"


def size_of(text: str) -> int:
    """Bytes out of 10k, 1M or a plain number. Raises ValueError."""
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    return int(text[:-1] if factor > 1 else text) * factor


def distinct_script(first: int, expiry: int) -> str:
    """A wrk script in which no token and no path comes twice; numbers begin after ``first``."""
    return f'local first, expiry, secret = {first}, {expiry}, "{lab.SECRET}"\n{_DISTINCT}'


def keys_script(first: int) -> str:
    """A wrk script in which every request has an API key of its own, which nobody issued."""
    return f"local first = {first}\n{_KEYS}"


def addresses_script(first: int) -> str:
    """A wrk script in which every request comes from an address of its own, by its X-Forwarded-For."""
    return f"local first = {first}\n{_ADDRESSES}"


def read(report: str) -> Load:
    """The figures of a report by ``wrk --latency``.

    Raises:
        ValueError: it is none.
    """
    total = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", report)
    if total is None:
        raise ValueError(f"wrk reported no result:\n{report}")
    quantiles = {which: float(value) * _MS[unit] for which, value, unit in _QUANTILE.findall(report)}
    broken = _SOCKETS.search(report)
    failed = sum(map(int, _FAILURES.findall(report))) + (sum(map(int, broken.groups())) if broken else 0)
    seconds = float(total[2]) * _MS[total[3]] / 1e3
    return Load(int(total[1]), seconds, quantiles.get("50", 0.0), quantiles.get("99", 0.0), failed)


def run(script: Path, port: int, path: str, *, seconds: int, connections: int) -> Load:
    """Load ``port`` with one thread of wrk."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    url = f"http://127.0.0.1:{port}{path}"
    done = subprocess.run(
        [*lab.pinned(lab.OTHERS_CPU), *words, url], capture_output=True, text=True, check=False, timeout=seconds + 60
    )
    try:
        return read(done.stdout)
    except ValueError as error:
        raise lab.StartError(f"{error}{done.stderr}") from error
