"""Keys from a URL on the running program: found, changed, lost, and still there after a restart without a provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx2
import jwt

from gateway.domain.access import JwtPolicy
from gateway.edge.jwt_verifier import JwtVerifier
from tests import running
from tests.tokens import jwk, key_set, private_key, segment, signed

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = "https://id.example"


def token(number: int) -> str:
    claims = {"iss": ISSUER, "aud": "shop", "sub": "ana", "tenant": "acme", "exp": int(time.time()) + 3600}
    return signed(claims, private_key("ES256", number), "ES256", kid=str(number))


def publish(provider: running.Origin, *numbers: int) -> None:
    body = key_set(*(jwk(private_key("ES256", number), kid=str(number)) for number in numbers)).encode()
    provider.answer = lambda method, path: (200, body)


def configured(provider: running.Origin, origin: running.Origin) -> str:
    auth = f'algorithms = ["ES256"]\nissuer = "{ISSUER}"\naudience = ["shop"]\n'
    auth += f'jwks_url = "http://127.0.0.1:{provider.port}/jwks"'
    text = running.config(origin.port, server="workers = 2", route='auth = "jwt"')
    return text.replace('secret_env = "SENTINEL_JWT_SECRET"', auth)


def test_keys_are_found_changed_and_outlive_their_provider(tmp_path: Path) -> None:
    with running.origin() as origin, running.origin() as provider:
        publish(provider, 1)
        with running.gateway(tmp_path, configured(provider, origin)) as gateway:

            def status(number: int) -> int:
                headers = {"Authorization": f"Bearer {token(number)}"}
                return httpx2.get(f"{gateway.url}/x", headers=headers).status_code

            def always(number: int, wanted: int) -> bool:
                return [status(number) for _ in range(8)] == [wanted] * 8  # of both workers

            gateway.wait(lambda: always(1, 200), 10, "the first key is in force")
            fetches = len(provider.seen)

            checks = json.loads(gateway.sentinel("doctor", "--json").stdout)["checks"]
            fetches += 1  # the doctor's own
            (found,) = [check for check in checks if check["name"] == "key set"]
            assert (found["state"], found["text"].endswith("/jwks: 1 key")) == ("good", True)

            publish(provider, 2)
            assert status(2) == 401
            gateway.wait(lambda: always(2, 200), 30, "the new key is in force")
            assert len(provider.seen) == fetches + 1
            assert always(1, 401)  # withdrawn, also for tokens that were remembered

            for number in range(3, 30):
                assert status(number) == 401
            time.sleep(3)
            assert len(provider.seen) == fetches + 1  # at most once a minute, however many names are tried
            metrics = gateway.control.get("/metrics").text
            assert "sentinel_unknown_keys_total{" in metrics
            assert 'sentinel_key_set_fetches_total{outcome="fetched"} 2.0' in metrics

            provider.answer = lambda method, path: (503, b"")
            gateway.stop()
            gateway.start()
            gateway.wait(lambda: always(2, 200), 10, "the last keys are still in force")
            gateway.wait(lambda: "key_set.not_fetched" in gateway.log.read_text(), 10, "the failure is said")


def test_a_token_is_issued_with_the_first_secret_of_a_set(tmp_path: Path) -> None:
    secrets = key_set(*({"kty": "oct", "kid": kid, "k": segment(kid.encode() * 32)} for kid in ("2", "1")))
    issued = subprocess.run(
        [sys.executable, "-m", "gateway", "token", "issue", "ana"],
        cwd=tmp_path,
        env={**os.environ, "SENTINEL_JWT_SECRET": secrets},
        capture_output=True,
        check=True,
        timeout=60,
    )
    given = JwtVerifier([JwtPolicy(secret_env="JWT")], lambda _: secrets)
    assert given.verify(issued.stdout.strip(), time.time())[0].subject == "ana"
    assert jwt.get_unverified_header(issued.stdout.strip())["kid"] == "2"
