"""`sentinel config diff` in plain words."""

from __future__ import annotations

import pytest

from gateway.config.difference import summary

ROUTE = '[[routes]]\nname = "orders"\nmatch = { path = "/orders/*" }\n'
UPSTREAM = '[[upstreams]]\nname = "orders"\n'


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ('upstream = "a"', 'upstream = "b"', "goes to a → b"),
        ("split = { a = 95, b = 5 }", "split = { a = 3, b = 1 }", "goes to 95 % a, 5 % b → 75 % a, 25 % b"),
        ('upstream = "a"', 'redirect = "/x"', "goes to a → a redirect (308) to /x"),
        (
            'redirect = "/x"',
            'redirect = { to = "/x", status = 301 }',
            "goes to a redirect (308) to /x → a redirect (301) to /x",
        ),
        ("", 'mirror = { upstream = "b", share = 0.1 }', "mirrors nothing → 10 % to b"),
        ('limit = "1/s per client"', 'limit = ["2/s per client"]', 'limit "1/s per client" → "2/s per client"'),
        ("", 'limit = ["1 at once per route"]', 'limit "1 at once per route" added'),
        (
            'limit = "1/s per client"',
            'limit = { limit = "1/s per client", mode = "shadow" }',
            'limit "1/s per client" → "1/s per client" in shadow',
        ),
        (
            'allow = ["10.0.0.0/8", "::1"]',
            'allow = ["::1", "10.1.0.0/16"]',
            'allow gains "10.1.0.0/16" and loses "10.0.0.0/8"',
        ),
        ("", 'cors = { origins = ["*"] }', 'cors switched on: { origins = ["*"] }'),
        ('cors = { origins = ["*"] }', "", 'cors switched off (was { origins = ["*"] })'),
        ("retry = { attempts = 1 }", "retry = { attempts = 2 }", "retry.attempts 1 → 2"),
        ("", "retry = { attempts = 2 }", "retry (default) → { attempts = 2 }"),
        (
            'request_headers = { set = { "X A" = "1" } }',
            'request_headers = { set = { "X A" = "2" } }',
            'request_headers.set.X A "1" → "2"',
        ),
    ],
)
def test_a_change_of_a_route_is_told_in_plain_words(before, after, line):
    assert summary(f"{ROUTE}{before}\n", f"{ROUTE}{after}\n") == [f"route orders: {line}"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('mirror = "b"', 'mirror = { upstream = "b" }'),
        ('redirect = "/x"', 'redirect = { to = "/x" }'),
        ('limit = "1/s per client"', 'limit = [{ limit = "1/s per client", mode = "enforce" }]'),
        ("split = { a = 1, b = 1 }", "split = { a = 50, b = 50 }"),
    ],
)
def test_two_ways_to_write_the_same_are_no_change(before, after):
    assert summary(f"{ROUTE}{before}\n", f"{ROUTE}{after}\n") == []


def test_targets_belong_together_by_their_addresses():
    before = 'targets = ["http://a:1", "http://b:1", { url = "http://c:1", weight = 2 }]\n'
    after = 'targets = [{ url = "http://c:1", weight = 3 }, "http://a:1", { url = "http://d:1", weight = 2 }]\n'
    assert summary(UPSTREAM + before, UPSTREAM + after) == [
        "upstream orders: target http://b:1 removed",
        "upstream orders: target http://c:1 weight 2 → 3",
        "upstream orders: target http://d:1 added with weight 2",
    ]


def test_sections_plans_and_tenants_are_named():
    before = '[plans.free]\nlimit = "1/s per tenant"\n[tenants.acme]\nplan = "free"\n'
    after = (
        '[server]\nport = 9\n[server.tls]\ncertificate = "a"\nkey = "b"\n[plans.free]\nlimit = "2/s per tenant"\n'
        '[plans.gold]\nlimit = "9/s per tenant"\n'
    )
    assert summary(before, after) == [
        'plan free: limit "1/s per tenant" → "2/s per tenant"',
        "plan gold added",
        "tenant acme removed",
        "server.port (default) → 9",
        'server.tls switched on: { certificate = "a", key = "b" }',
    ]
