"""What every executor offers: carry an action out, let a little traffic try, hold it longer, take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.domain.plan import Action


class Executor(Protocol):
    """Carries out one kind of action.

    Every call is idempotent: after a crash between acting and saving, the same call with the same action is made
    again and changes nothing more. All raise a SentinelError when the act is impossible; nothing is then in force that
    does not end by itself. The returned action is what must be saved.
    """

    @property
    def dry(self) -> bool:
        """Whether nothing real happens, so that the traffic cannot tell whether it helped."""
        ...

    async def execute(self, action: Action, now: float) -> Action:
        """Put an APPROVED action into effect for its time to live; it comes back EXECUTED."""
        ...

    async def trial(self, action: Action, share: float, now: float) -> Action:
        """Let ``share`` (0..1) of what the action holds back through; its end does not move."""
        ...

    async def hold(self, action: Action, now: float) -> Action:
        """Full effect again, for a fresh time to live."""
        ...

    async def undo(self, action: Action, now: float, why: str) -> Action:
        """Take it back; it comes back REVERTED with ``why`` as its note."""
        ...
