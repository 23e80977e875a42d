from __future__ import annotations

import bcrypt
import pytest

from gateway.errors import InvalidInputError
from gateway.identity import passwords
from gateway.identity.passwords import Passwords, check_rules

QUICK = Passwords(cost=4)
GOOD = "correct horse battery staple"


def test_the_right_password_is_accepted_and_a_wrong_one_is_not():
    stored = QUICK.hash(GOOD)
    assert QUICK.verify(GOOD, stored)
    assert not QUICK.verify(GOOD + "!", stored)


def test_passwords_that_differ_only_after_72_bytes_are_different():
    long = "a long sentence that nobody cuts off " * 3
    stored = QUICK.hash(long + "one")
    assert len(long) > 72
    assert QUICK.verify(long + "one", stored)
    assert not QUICK.verify(long + "two", stored)


def test_a_password_with_nul_is_hashed_whole():
    stored = QUICK.hash("before\x00after and more")
    assert not QUICK.verify("before\x00other and more", stored)


def test_composed_and_decomposed_letters_are_the_same_password():
    assert QUICK.verify("cafe\u0301 cafe\u0301 cafe\u0301", QUICK.hash("caf\u00e9 caf\u00e9 caf\u00e9"))


def test_the_stored_string_is_bcrypt_with_the_named_cost():
    assert QUICK.hash(GOOD).startswith("$2b$04$")
    assert Passwords().hash(GOOD).startswith(f"$2b${passwords.COST}$")


def test_an_unknown_user_costs_one_bcrypt_of_the_same_cost_and_is_refused(monkeypatch):
    seen = []
    genuine = bcrypt.checkpw

    def watched(password, stored):
        seen.append(stored)
        return genuine(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", watched)
    assert not QUICK.verify(GOOD, None)
    assert [stored[:7] for stored in seen] == [b"$2b$04$"]


def test_a_stored_string_that_is_no_hash_lets_nobody_in():
    assert not QUICK.verify(GOOD, "plain text")
    assert not QUICK.verify("", "")


@pytest.mark.parametrize(
    "refused", ["short", "x" * 12, "abababababab", "y" * 257, "ana@example.org"], ids=lambda text: text[:12]
)
def test_weak_passwords_are_refused_with_their_field(refused):
    with pytest.raises(InvalidInputError) as caught:
        check_rules(refused, email="Ana@example.org")
    assert caught.value.field == "password"


def test_a_passphrase_keeps_the_rules():
    check_rules(GOOD, email="ana@example.org")
