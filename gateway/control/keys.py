"""API keys: kept in the store, and with the workers within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.publisher import Publisher
    from gateway.domain.access import ApiKey
    from gateway.domain.paging import Page


class KeyStore(Protocol):
    """Where keys are kept."""

    async def save(self, key: ApiKey) -> None:
        """Keep it."""
        ...

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ApiKey]:
        """Keys in force, newest first."""
        ...

    async def revoke(self, key_id: str) -> None:
        """Raises NotFoundError."""
        ...

    async def all_active(self) -> Sequence[ApiKey]:
        """Every key that is neither revoked nor expired."""
        ...


class PublishedKeys:
    """Issues and revokes: store first, because a key that nobody can list must not work; then the workers."""

    def __init__(self, store: KeyStore, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ApiKey]:
        """Keys in force, newest first."""
        return await self._store.page(limit=limit, cursor=cursor)

    async def issue(self, key: ApiKey) -> None:
        """Keep a new key and let the workers know it. Raises ConflictError when its id is taken."""
        if any(known.id == key.id for known in self._publisher.snapshot.keys):
            raise ConflictError(f"there is a key {key.id} already")
        await self._store.save(key)
        await self.publish()

    async def adopt(self, keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
        """Keep keys that were made elsewhere, and let the workers know all of them at once; those that were new.

        Raises:
            ConflictError: one was revoked or has expired; those before it are kept.
        """
        known = {key.digest for key in self._publisher.snapshot.keys}
        fresh = [key for key in {key.digest: key for key in keys}.values() if key.digest not in known]
        try:
            for key in fresh:
                await self._store.save(key)
        except ConflictError as error:
            raise ConflictError(
                f"the key of {key.subject} was here before, and is revoked or has expired", remedy="issue a new one"
            ) from error
        finally:
            await self.publish()
        return fresh

    async def revoke(self, key_id: str) -> None:
        """Make a key worthless. Raises NotFoundError."""
        await self._store.revoke(key_id)
        await self.publish()

    async def publish(self) -> None:
        """Give the workers exactly the keys the store holds, if they have others."""
        keys = tuple(await self._store.all_active())
        if keys != self._publisher.snapshot.keys:
            self._publisher.set_keys(keys)
