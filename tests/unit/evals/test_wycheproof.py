"""The evaluation tells right from wrong, so a clean result of it means something."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.evals import wycheproof
from tests.tokens import segment, signed

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s" * 32
KEY = {"kty": "oct", "k": segment(SECRET.encode()), "alg": "HS256"}
GOOD = signed({}, SECRET, "HS256")
BAD = signed({}, SECRET[::-1].replace("s", "t"), "HS256")


def judged(
    tmp_path: Path, *tests: dict[str, Any], key: dict[str, Any] = KEY, kind: str = "signature"
) -> dict[str, Any]:
    folder = tmp_path / "any" / "depth"
    folder.mkdir(parents=True, exist_ok=True)
    numbered = [{"tcId": number, "comment": "", **test} for number, test in enumerate(tests)]
    document = {"testGroups": [{"private": key, "tests": numbered}]}
    (folder / f"json_web_{kind}_test.json").write_text(json.dumps(document))
    found = wycheproof.run(tmp_path)
    return {name: found[name] for name in ("right", "wrong", "stricter", "contradictory") if found[name]}


@pytest.mark.parametrize(
    ("jws", "result", "verdict"),
    [
        (GOOD, "valid", "right"),
        (GOOD, "invalid", "wrong"),
        (GOOD, "acceptable", "right"),
        (BAD, "valid", "wrong"),
        (BAD, "invalid", "right"),
        (BAD, "acceptable", "right"),
        ({"payload": ""}, "invalid", "right"),
    ],
)
def test_a_verdict_compares_what_happened_with_the_label(tmp_path, jws, result, verdict):
    assert judged(tmp_path, {"jws": jws, "result": result}) == {verdict: 1}


def test_an_encrypted_text_is_judged_right_when_it_is_refused_whatever_its_label(tmp_path):
    text = "e30.AAAA.AAAA.AAAA.AAAA"
    assert judged(tmp_path, {"jwe": text, "result": "valid"}, {"jwe": text, "result": "invalid"}) == {"right": 2}


def test_an_unfit_key_refuses_every_token(tmp_path):
    assert judged(tmp_path, {"jws": GOOD, "result": "invalid"}, key={**KEY, "alg": "A256GCM"}) == {"right": 1}


def test_only_a_refused_vector_can_be_stricter(tmp_path):
    comment = "InvalidCharacterInsertedInHeader"
    assert judged(tmp_path, {"jws": BAD, "result": "valid", "comment": comment}) == {"stricter": 1}
    assert judged(tmp_path, {"jws": GOOD, "result": "invalid", "comment": comment}) == {"wrong": 1}


def test_the_same_bytes_with_both_labels_are_contradictory_once(tmp_path):
    twins = ({"jws": GOOD, "result": "valid"}, {"jws": GOOD, "result": "invalid"})
    assert judged(tmp_path, *twins) == {"right": 1, "contradictory": 1}


def test_no_vectors_are_no_success(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["wycheproof", "--data", str(tmp_path)])
    assert wycheproof.main() == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cases"] == 0
