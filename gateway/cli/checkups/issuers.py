"""How callers prove who they are: secrets, key files, and the key sets that issuers publish."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.cli.checkups.finding import Finding
from gateway.config.rules.access import issuers
from gateway.errors import ConfigError, KeySetError
from gateway.identity.key_set_fetch import KeySetFetcher
from gateway.jwk import SECRET_BYTES, from_set
from gateway.notify.addresses import refusal

if TYPE_CHECKING:
    from gateway.config.document import Document, JwtIssuer


def keys(document: Document) -> list[Finding]:
    """Where each issuer's keys come from; that variables are set and files fit is the configuration's finding."""
    wanted = sorted({str(route.auth) for route in document.routes if str(route.auth) != "none"})
    if document.auth.jwt is None:
        if "jwt" in wanted:
            return []  # the configuration says so already
        return [Finding.good("tokens", f"routes ask for {', '.join(wanted) or 'nothing'}")]
    return [Finding.good("tokens", _described(entry)) for entry in issuers(document)]


async def key_sets(document: Document) -> list[Finding]:
    """Whether every key set can be fetched from here and used, as control would."""
    urls = sorted({entry.jwks_url for entry in issuers(document) if entry.jwks_url})
    async with KeySetFetcher(refusal) as fetcher:
        return list(await asyncio.gather(*(_key_set(fetcher, url) for url in urls)))


async def _key_set(fetcher: KeySetFetcher, url: str) -> Finding:
    try:
        found = from_set(await fetcher.fetch(url), "the answer")
    except (KeySetError, ConfigError) as error:
        said = "; ".join((str(error), *getattr(error, "problems", ())))
        return Finding.bad(
            "key set", f"{url}: {said}", "keys that are in force stay; new ones are not learnt meanwhile"
        )
    text = f"{url}: {len(found.keys)} key{'' if len(found.keys) == 1 else 's'}"
    if found.left_out:
        return Finding.note("key set", f"{text}; left out: {'; '.join(found.left_out)}")
    return Finding.good("key set", text)


def _described(entry: JwtIssuer) -> str:
    sources = [entry.secret_env] if any(name in SECRET_BYTES for name in entry.algorithms) else []
    sources += [source for source in (entry.public_key_file, entry.jwks_url) if source]
    whose = f" of {entry.issuer}" if entry.issuer else ""
    return f"{', '.join(entry.algorithms)}{whose}, keys from {' and '.join(sources)}"
