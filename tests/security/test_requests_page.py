"""docs/reference/requests.md: every path of its tables is refused, or taken as it is, as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.domain.access import AuthMode
from gateway.domain.routing import HeaderRules
from tests.security.wire_world import HOST, gateway
from tests.unit.edge.edge_values import route

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "requests.md").read_text()


def paths(heading: str) -> list[bytes]:
    """What stands in the first column of the table under that heading."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    return [found.encode() for cell in cells for found in re.findall(r"`([^`]+)`", cell)]


REFUSED, TAKEN = paths("Paths that are refused"), paths("Paths that are taken as they are")
TWICE = re.findall(r"`([^`]+)`", next(line for line in PAGE.splitlines() if "sent twice" in line))
FIELDS = {
    "Host": b"shop.example",
    "Content-Length": b"0",
    "Transfer-Encoding": b"chunked",
    "Authorization": b"Bearer x",
    "X-Api-Key": b"sk_x",
}


@pytest.fixture(scope="module")
def shared_guarded(driver):
    open_to_all = route(name="open", path="/*", request_headers=HeaderRules(set=(("x-route", "open"),)))
    with gateway(driver, open_to_all, route(name="admin", path="/admin/*", auth=AuthMode.JWT)) as made:
        yield made


@pytest.fixture
def guarded(shared_guarded):
    shared_guarded.clear()
    return shared_guarded


@pytest.mark.parametrize("target", REFUSED, ids=ascii)
def test_a_path_the_page_calls_refused_is_answered_400_and_reaches_nobody(guarded, target):
    assert guarded.refuses(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")


@pytest.mark.parametrize("target", TAKEN, ids=ascii)
def test_a_path_the_page_calls_taken_goes_past_the_guard_of_another_as_it_is(guarded, target):
    assert guarded.ask(b"GET " + target + b" HTTP/1.1\r\n" + HOST)[0] == 200
    assert (guarded.only().target, guarded.only().value(b"x-route")) == (target, b"open")


@pytest.mark.parametrize("name", TWICE)
def test_a_field_the_page_calls_single_is_refused_when_it_comes_twice(guarded, name):
    twice = b"%s: %s\r\n" % (name.encode(), FIELDS[name])
    host = HOST if name != "Host" else b""
    assert guarded.refuses(b"POST /x HTTP/1.1\r\n" + host + twice * 2 + b"\r\n")


def test_the_tables_are_read_at_all():
    assert (len(REFUSED) > 20, len(TAKEN) > 10, len(TWICE)) == (True, True, 5)
