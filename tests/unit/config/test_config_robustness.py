"""Whatever the file or the environment holds, a check answers with findings or a snapshot, never with a crash."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import snapshot_file
from gateway.config.checking import check_text
from gateway.config.difference import summary
from gateway.config.document import Document
from gateway.config.overrides import variable_of
from gateway.config.schema import Many, Named, Table, leaves, table
from gateway.config.starter import init_text
from gateway.settings import Settings

SHAPE = table(Document)
ENVIRON = {"SENTINEL_JWT_SECRET": "x" * 32, "SLACK_WEBHOOK_URL": "https://slack.example/x"}

odd = (
    st.none().map(lambda _: "")
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a b", "/", "/*", "*", "http://", "http://[", "@:@", "\x1b[2J", "ü", "10/s per", "::", "0s"])
    | st.text(max_size=20)
    | st.lists(st.text(max_size=5) | st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)
)
plausible = st.sampled_from(
    [
        "orders",
        "http://127.0.0.1:9000",
        "/orders/*",
        "/orders/{id}/*",
        "https://a/{rest}",
        "https://app.example",
        "10.0.0.0/8",
        "GET",
        "503",
        "5 at once per route",
        "quota 5 per day per client",
        "hash:cookie:a",
        "header:X-A",
        "30s",
        "1MiB",
        "10/s per client",
        "jwt",
        "slack",
        "none",
        "free",
        1,
    ]
)


def drawn(draw, shape):
    """A value for this shape: usually of the right form, sometimes anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(odd)
    match shape:
        case Table(keys=keys):
            chosen = draw(st.lists(st.sampled_from(sorted(keys)), max_size=5, unique=True))
            chosen += [name for name, key in keys.items() if key.required and draw(st.integers(0, 4))]
            return {name: drawn(draw, keys[name].shape) for name in chosen}
        case Named(item=item):
            return {name: drawn(draw, item) for name in draw(st.lists(st.sampled_from(["free", "gold"]), max_size=2))}
        case Many(item=item):
            return [drawn(draw, item) for _ in range(draw(st.integers(0, 3)))]
    if shape.choices:
        return draw(st.sampled_from(shape.choices))
    return draw(plausible | odd) if shape.kind is str else draw(st.integers(0, 100))


@st.composite
def documents(draw):
    return drawn(draw, SHAPE)


def as_toml(value):
    """A value as TOML; JSON strings need only DEL escaped."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{as_toml(str(key))} = {as_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(as_toml(inner) for inner in value)}]"
    if isinstance(value, str):
        return json.dumps(
            value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), ensure_ascii=False
        ).replace("\x7f", "\\u007f")
    return json.dumps(value)


def judged(text, environ=ENVIRON):
    result = check_text(text, "sentinel.toml", Settings.from_environ(environ))
    lines = [str(finding) for finding in result.errors + result.warnings]
    assert all(line.isprintable() for line in lines)
    assert (result.snapshot is None) == bool(result.errors)
    assert len(lines) == len(set(lines))
    if result.snapshot is not None:
        assert snapshot_file.decode(snapshot_file.encode(result.snapshot)) == result.snapshot
        assert all(line.strip() for line in summary(init_text(), text) + summary(text, init_text()))
    return result


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(documents())
def test_any_document_is_answered(document):
    if not isinstance(document, dict):
        return
    text = "".join(f"{as_toml(str(key))} = {as_toml(value)}\n" for key, value in document.items())
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert judged(text).errors[0].message.startswith("not TOML")
        return
    judged(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(init_text())), st.text(max_size=3))
def test_any_slip_of_the_keyboard_is_answered(place, slip):
    text = init_text()
    judged(text[:place] + slip + text[place + 1 :])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([path for path, _ in leaves(SHAPE) if "[]" not in path and "NAME" not in path]),
    st.text(max_size=20).filter(lambda text: "\x00" not in text),
)
def test_any_variable_is_answered(path, text):
    result = judged("", ENVIRON | {variable_of(path): text})
    assert all(finding.source == variable_of(path) or finding.line for finding in result.errors)


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 100_000, "a" * 5_000_000, "[" + "a." * 5000 + "a]", "\ufeff[server]\n"]
)
def test_an_absurd_text_is_refused(text):
    assert judged(text).errors


def test_ten_thousand_routes_are_read():
    routes = "".join(
        f'[[routes]]\nname = "r{number}"\nmatch = {{ path = "/r/{number}/*" }}\nupstream = "orders"\n'
        for number in range(10_000)
    )
    result = judged('[[upstreams]]\nname = "orders"\ntargets = ["http://127.0.0.1:9000"]\n' + routes)
    assert len(result.snapshot.routes) == 10_000
