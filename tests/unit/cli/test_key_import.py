"""Keys of other gateways: what of a dump is taken over, what is refused, and that no key is ever said."""

from __future__ import annotations

import hashlib
import json

import pytest
import typer

from gateway.cli import key_import

KEY, OTHER = "a-key-that-kong-issued-1", "a-key-that-kong-issued-2"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def dump(tmp_path):
    def written(*consumers):
        file = tmp_path / "kong.json"
        file.write_text(json.dumps({"_format_version": "3.0", "consumers": consumers}))
        return file

    return written


def test_a_consumer_becomes_a_subject_its_groups_scopes_and_its_keys_digests(dump):
    file = dump(
        {
            "username": "ana",
            "keyauth_credentials": [{"key": KEY}, {"key": OTHER, "tags": ["old"]}],
            "acls": [{"group": "orders:read"}, {"group": "extra"}],
        },
        {"custom_id": "c-7", "keyauth_credentials": [{"key": OTHER + "x"}]},
        {"username": "nobody"},
    )
    assert key_import.of_kong(file, ("extra",)) == [
        (sha256(KEY), "ana", ("orders:read", "extra")),
        (sha256(OTHER), "ana", ("orders:read", "extra")),
        (sha256(OTHER + "x"), "c-7", ("extra",)),
    ]


@pytest.mark.parametrize(
    ("consumers", "said"),
    [
        (
            [{"username": "ana", "keyauth_credentials": [{"key": "shortsecret"}]}],
            "consumer ana: key 1 has fewer than 16",
        ),
        ([{"username": "bo", "keyauth_credentials": [{"key": KEY, "ttl": 60}]}], "consumer bo: key 1 ends by itself"),
        ([{"username": "cy", "keyauth_credentials": [{"key": KEY + "ü"}]}], "consumer cy: key 1 has characters"),
        ([{"username": "dan"}], "no consumer with a key"),
        ([{"username": "eve", "keyauth_credentials": [{"key": 123456789012345678}]}], "is no dump in JSON"),
    ],
    ids=["short", "ttl", "characters", "none", "number"],
)
def test_what_cannot_be_taken_over_is_named_by_its_consumer_and_never_by_the_key(dump, capsys, consumers, said):
    with pytest.raises(typer.Exit):
        key_import.of_kong(dump(*consumers), ())
    words = " ".join(capsys.readouterr().err.split())
    assert said in words
    assert not any(secret in words for secret in ("shortsecret", KEY, "123456789012345678"))
    assert "→" in words


def test_a_dump_in_yaml_is_told_how_to_be_made_in_json(tmp_path, capsys):
    file = tmp_path / "kong.yaml"
    file.write_text("_format_version: '3.0'\n")
    with pytest.raises(typer.Exit):
        key_import.of_kong(file, ())
    assert "deck gateway dump --format json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "x" * 15, "x" * 513, " " + "x" * 20, "x" * 20 + "\n", "x" * 20 + "\x7f"], ids=ascii
)
def test_texts_that_could_be_guessed_or_never_be_sent_are_unfit(text):
    assert key_import.unfit(text)


def test_what_the_edge_looks_up_is_fit():
    assert key_import.unfit("x" * 16) == key_import.unfit("x" * 512) == ""
