from __future__ import annotations

import json
import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.positions import Position, Positions

TEXT = '''\
# a comment with [brackets] and "quotes"
top = 1
[server]
host = "a#b"      # not a comment inside
"quoted key".'lit' = [ 1, # one
  "two", { three = 3 }, [ 4 ] ]
long = """
[not.a.table]
"" \\""" still inside"""
raw = \'\'\'it\'s ''\'\'\'
after = 1979-05-27 07:32:00
[[routes]]
name = "first"
[routes.match]
path = "/a"
[[routes]]
match.path = "/b"
match = { }
'''.replace("match = { }\n", "")


def paths(value, path=()):
    """Every path of a parsed document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key), inner
        yield from paths(inner, (*path, key))


def test_keys_and_values_stand_where_they_were_written():
    found = Positions(TEXT)
    assert found.key(("top",)) == Position(2, 1)
    assert found.value(("top",)) == Position(2, 7)
    assert found.key(("server",)) == Position(3, 1)
    assert found.value(("server", "quoted key", "lit", 1)) == Position(6, 3)
    assert found.value(("server", "quoted key", "lit", 2, "three")) == Position(6, 20)
    assert found.value(("server", "quoted key", "lit", 3, 0)) == Position(6, 27)
    assert found.value(("server", "after")) == Position(11, 9)
    assert found.value(("routes", 0, "match", "path")) == Position(15, 8)
    assert found.key(("routes", 1)) == Position(16, 1)
    assert found.value(("routes", 1, "match", "path")) == Position(17, 14)


def test_a_path_that_is_not_written_stands_at_its_nearest_ancestor():
    found = Positions(TEXT)
    assert found.key(("routes", 1, "upstream")) == Position(16, 1)
    assert found.value(("nowhere",)) == Position(1, 1)


def test_an_offset_points_into_a_plain_string_only():
    found = Positions('a = "abc"\nb = "a\\tbc"\nc = """\nabc"""\n')
    assert found.value(("a",), 2) == Position(1, 8)
    assert found.value(("b",), 3) == Position(2, 5)
    assert found.value(("c",), 2) == Position(3, 5)


def test_windows_line_ends_count_as_one():
    assert Positions("a = 1\r\n\r\nb = 2\r\n").value(("b",)) == Position(3, 5)


def test_every_path_of_a_document_has_a_position_of_its_own_or_its_headers():
    found = Positions(TEXT)
    for path, value in paths(tomllib.loads(TEXT)):
        if not isinstance(value, dict | list):
            assert path in found._values, path


def toml(value):
    """A value as TOML: JSON strings and numbers are TOML too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[\n  " + ",\n  # comment ]\n  ".join(toml(inner) for inner in value) + "\n]"
    return json.dumps(value)


characters = st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f")
scalars = st.booleans() | st.integers(-(2**40), 2**40) | st.text(characters, max_size=12)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(characters, max_size=6), scalars, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.dictionaries(st.text(characters, max_size=8), values, max_size=5))
def test_the_scanner_finds_every_value_at_its_own_text(document):
    text = "".join(f"{json.dumps(key)} = {toml(value)} # {{[\n" for key, value in document.items())
    assert tomllib.loads(text) == document
    found = Positions(text)
    lines = text.split("\n")
    for path, value in paths(document):
        position = found.value(path)
        if not isinstance(value, dict | list):
            assert lines[position.line - 1][position.column - 1 :].startswith(json.dumps(value))
