"""Load for the demo's services, by locust.

    sentinel demo --no-browser            # in one terminal; it prints the gateway's address and the secret's file
    locust -f loadtests/locustfile.py --headless -u 50 -r 10 -t 60s --host http://127.0.0.1:8000

Tokens are signed with SENTINEL_JWT_SECRET, which must be the gateway's own.
"""

from __future__ import annotations

import os
import random
import time

import jwt
from locust import HttpUser, between, task

TENANTS = ("acme", "globex", "initech")
SCOPES = "orders:write catalog:read payments:write"


class Shopper(HttpUser):
    """Looks at items, and orders one now and then; 429 is the gateway doing its work, not a failure."""

    wait_time = between(0.2, 1.0)

    def on_start(self) -> None:
        """Give every user a token of their own."""
        now = int(time.time())
        subject = f"user-{random.randrange(10_000)}"
        claims = {"sub": subject, "tenant": random.choice(TENANTS), "scope": SCOPES, "iat": now, "exp": now + 3600}
        token = jwt.encode(claims, os.environ["SENTINEL_JWT_SECRET"], algorithm="HS256")
        self.client.headers["Authorization"] = f"Bearer {token}"

    @task(4)
    def look(self) -> None:
        """Read one catalog item."""
        with self.client.get(
            f"/catalog/items/{random.randrange(40)}", name="/catalog/items/{id}", catch_response=True
        ) as answer:
            if answer.status_code in {200, 429}:
                answer.success()

    @task(1)
    def order(self) -> None:
        """Place an order."""
        self.client.post("/orders", json={"item": random.randrange(40)}, name="/orders")
