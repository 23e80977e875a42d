"""Actions beside their incidents: what makes a decision happen once, however many people click."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from gateway.domain.plan import ActionState
from gateway.errors import NotFoundError
from gateway.store.engine import storable
from gateway.store.tables import actions, leases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.domain.plan import Action
    from gateway.store.engine import Store

# How far along its life a state is. Saving an incident never moves an action back, so an older picture of it, saved by
# somebody who had not yet heard of a decision, cannot make the decision possible a second time.
STAGE: dict[ActionState, int] = {
    ActionState.PENDING: 0,
    ActionState.APPROVED: 1,
    ActionState.RUNNING: 2,
    ActionState.EXECUTED: 3,
    ActionState.REJECTED: 4,
    ActionState.EXPIRED: 4,
    ActionState.FAILED: 4,
    ActionState.REVERTED: 4,
    ActionState.KEPT: 4,
    ActionState.UNKNOWN: 4,
}


class Actions:
    """The states of all actions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def claim(self, action_id: str, from_state: ActionState, to_state: ActionState) -> bool:
        """Move an action on; True for exactly one of any number of callers who try the same step."""
        statement = (
            update(actions)
            .where(actions.c.id == action_id, actions.c.state == str(from_state), actions.c.stage < STAGE[to_state])
            .values(state=str(to_state), stage=STAGE[to_state], updated_at=time())
        )
        async with self._store.write() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def begin(self, action_id: str, fence: int) -> bool:
        """APPROVED → RUNNING, if nobody did before and the lease still carries this fencing token."""
        leads = select(leases.c.name).where(leases.c.fence <= fence)
        overtaken = select(leases.c.name).where(leases.c.fence > fence)
        statement = (
            update(actions)
            .where(
                actions.c.id == action_id,
                actions.c.state == str(ActionState.APPROVED),
                leads.exists(),
                ~overtaken.exists(),
            )
            .values(state=str(ActionState.RUNNING), stage=STAGE[ActionState.RUNNING], updated_at=time())
        )
        async with self._store.write() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def state(self, action_id: str) -> ActionState:
        """Where an action stands. Raises NotFoundError."""
        async with self._store.read() as connection:
            state = await connection.scalar(select(actions.c.state).where(actions.c.id == action_id))
        if state is None:
            raise NotFoundError(f"there is no action {action_id!r}")
        return ActionState(state)


async def save_actions(store: Store, connection: AsyncConnection, known: Sequence[Action], now: float) -> None:
    """Insert or move on the rows of an incident's actions, inside the caller's transaction; never back."""
    for action in known:
        statement = store.upsert(actions).values(
            id=action.id,
            incident_id=action.incident_id,
            tenant_id=storable(action.tenant),
            state=str(action.state),
            stage=STAGE[action.state],
            updated_at=now,
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["id"],
                set_={name: statement.excluded[name] for name in ("state", "stage", "updated_at")},
                where=actions.c.stage < statement.excluded.stage,
            )
        )
