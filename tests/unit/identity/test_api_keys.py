from __future__ import annotations

import hashlib

from gateway.identity import api_keys


def test_a_key_names_its_public_id_and_keeps_only_the_digest_of_the_whole():
    text, key = api_keys.make(tenant="acme", subject="backend", scopes=frozenset({"orders:read"}))
    prefix, key_id, secret = text.split("_")
    assert (prefix, key_id) == ("sk", key.id)
    assert len(secret) == 64
    assert key.digest == hashlib.sha256(text.encode()).digest()
    assert secret not in repr(key)


def test_no_two_keys_are_alike():
    made = {api_keys.make(tenant="", subject="a")[1].id for _ in range(200)}
    assert len(made) == 200


def test_a_key_without_subject_is_its_own_subject():
    _, key = api_keys.make(tenant="acme", subject="")
    assert key.subject == key.id
