from __future__ import annotations

import pytest

from gateway.errors import UnauthenticatedError
from gateway.identity import tokens

NOW = 1_800_000_000.0


def test_a_token_has_256_random_bits_and_only_its_digest_is_in_the_session():
    text, session = tokens.open_session("u-1", now=NOW)
    other, _ = tokens.open_session("u-1", now=NOW)
    assert text != other
    assert len(text) == len(tokens.PREFIX) + 43  # base64 of 32 bytes
    assert session.digest == tokens.digest_of(text)
    assert text.encode() not in session.digest


def test_a_session_ends_after_its_life():
    _, session = tokens.open_session("u-1", now=NOW)
    assert session.expires_at == NOW + tokens.SESSION_S


def test_refreshing_gives_another_token_and_keeps_the_age_of_the_sign_in():
    text, session = tokens.open_session("u-1", now=NOW)
    fresh_text, fresh = tokens.rotated(session, now=NOW + 3600)
    assert fresh_text != text and fresh.digest != session.digest
    assert fresh.created_at == NOW
    assert fresh.expires_at == NOW + 3600 + tokens.SESSION_S


def test_refreshing_cannot_carry_a_sign_in_past_its_longest_life():
    _, session = tokens.open_session("u-1", now=NOW)
    now = NOW
    while now + tokens.SESSION_S / 2 < NOW + tokens.LONGEST_S:
        now += tokens.SESSION_S / 2
        _, session = tokens.rotated(session, now=now)
        assert session.expires_at <= NOW + tokens.LONGEST_S
    with pytest.raises(UnauthenticatedError):
        tokens.rotated(session, now=NOW + tokens.LONGEST_S)


def test_an_expired_session_cannot_be_refreshed():
    _, session = tokens.open_session("u-1", now=NOW)
    with pytest.raises(UnauthenticatedError):
        tokens.rotated(session, now=session.expires_at)


def test_a_form_token_belongs_to_one_session_and_does_not_reveal_it():
    mine, theirs = tokens.open_session("u-1", now=NOW)[0], tokens.open_session("u-1", now=NOW)[0]
    assert tokens.csrf_matches(mine, tokens.csrf_of(mine))
    assert not tokens.csrf_matches(mine, tokens.csrf_of(theirs))
    assert not tokens.csrf_matches(mine, "")
    assert not tokens.csrf_matches(mine, "\ud800")
    assert mine not in tokens.csrf_of(mine)
