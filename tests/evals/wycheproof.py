"""Judges the gateway's token verification by the JSON Web Token vectors of Project Wycheproof.

    python -m tests.evals.wycheproof --data DIR

finds ``json_web_{signature,key,crypto}_test.json`` anywhere below DIR and runs every vector through what a worker runs:
keys are read by ``gateway.jwk`` and tokens checked by ``gateway.edge.jws``. (The vectors' payloads are no claims, so
judging claims is left to the unit tests.) How each file is judged:

- *signature*: one key, one signed text. ``valid`` must be accepted, ``invalid`` refused, ``acceptable`` is right either
  way. A key of the group that cannot be used refuses every token of the group, as the configuration would.
- *key*: as above, with a key set; what is tested is which keys and sets are refused.
- *crypto*: its signed texts as above. Its encrypted ones (JWE) must all be refused, the ones labelled ``valid`` too,
  because the gateway takes signed tokens only and holds no key to decrypt with.

A few vectors labelled ``valid`` contradict the RFCs, and refusing them is on purpose (STRICTER says why). They are
counted apart as ``stricter``, never as right. Two vectors labelled ``invalid`` are byte for byte, key and token, one
that is labelled ``valid`` (the padding they are about was lost): no verifier agrees with both labels, and those two are
counted as ``contradictory``. Any other invalid vector that is accepted is wrong. The last line is one JSON object; what
is not right stands before it. Exit 0 when there are vectors and none is judged wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gateway.edge.jws import Keys, take_apart
from gateway.errors import ConfigError, UnauthenticatedError
from gateway.jwk import ALGORITHMS, KeySet, from_set

PATTERN = "json_web_*_test.json"
SCHEMAS = ("signature", "key", "crypto")

_ONE_ALGORITHM = "the key names PS256 and the token PS384: a key has one algorithm (RFC 7517 4.4, RFC 8725 3.1)"
_ALPHABET = "a character outside of base64url stands in the token (RFC 7515 2, RFC 8725 3.2)"
# By file and by what the vector says of itself, so that another edition's numbering changes nothing.
STRICTER = {
    ("signature", "Figure20"): _ONE_ALGORITHM,
    ("signature", "InvalidCharacterInsertedInHeader"): _ALPHABET,
    ("signature", "InvalidCharacterInsertedInPayload"): _ALPHABET,
}


def accepted(group: dict[str, Any], test: dict[str, Any]) -> bool:
    """Whether the product takes this token with this group's key."""
    try:
        Keys(_keys(group).keys, ALGORITHMS).check(take_apart(_text(test).encode()))
    except (ConfigError, UnauthenticatedError):
        return False
    return True


def _text(test: dict[str, Any]) -> str:
    text = test.get("jws", test.get("jwe"))
    return text if isinstance(text, str) else json.dumps(text)  # the JSON serialisation


def _keys(group: dict[str, Any]) -> KeySet:
    """The group's key as a verifier gets it: the public one; only a secret has no public half."""
    keys = group.get("public") or group["private"]
    first = keys.get("keys", [keys])[0]
    return from_set(json.dumps(keys), "the vector's key", secret=first.get("kty") == "oct")


def judge(kind: str, group: dict[str, Any], test: dict[str, Any]) -> tuple[str, str]:
    """``right``, ``wrong``, ``stricter`` or ``contradictory``, and in words what happened."""
    taken = accepted(group, test)
    label = "invalid" if "jwe" in test else test["result"]
    did = "accepted" if taken else "refused"
    told = f"{kind} {test['tcId']} ({group.get('comment', '')}: {test['comment']}) is {test['result']} and was {did}"
    if label == "acceptable" or taken == (label == "valid"):
        return "right", told
    reason = STRICTER.get((kind, test["comment"]))
    if reason and not taken:
        return "stricter", f"{told}: {reason}"
    twins = [other["tcId"] for other in group["tests"] if _text(other) == _text(test) and other["result"] != label]
    return ("contradictory", f"{told}: it is vector {twins[0]}, byte for byte") if twins else ("wrong", told)


def run(data: Path) -> dict[str, Any]:
    """Judge every file below that folder; prints what is not right."""
    counts: Counter[str] = Counter()
    files: dict[str, int] = {}
    for path in sorted(data.rglob(PATTERN)):
        kind = path.name.removeprefix("json_web_").removesuffix("_test.json")
        if kind not in SCHEMAS or kind in files:
            continue
        document = json.loads(path.read_text())
        files[kind] = 0
        for group in document["testGroups"]:
            for test in group["tests"]:
                verdict, told = judge(kind, group, test)
                counts[verdict] += 1
                files[kind] += 1
                if verdict != "right":
                    print(f"{verdict}: {told}")
    cases = sum(files.values())
    return {
        "cases": cases,
        "right": counts["right"],
        "wrong": counts["wrong"],
        "stricter": counts["stricter"],
        "contradictory": counts["contradictory"],
        "files": files,
    }


def main() -> int:
    """Parse the arguments, judge, print the object."""
    parser = argparse.ArgumentParser(description="Judge token verification by the vectors of Project Wycheproof.")
    parser.add_argument("--data", type=Path, required=True, help="a folder that holds the vectors at any depth")
    result = run(parser.parse_args().data)
    if not result["cases"]:
        print(f"there is no {PATTERN} below that folder", file=sys.stderr)
    print(json.dumps(result))
    return 0 if result["cases"] and not result["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
