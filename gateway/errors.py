"""One tree of errors: each knows the HTTP status it means and whether trying again can help.

Foreign errors are translated once, in the module that touches the foreign library, with ``raise … from error``.
"""

from __future__ import annotations


class SentinelError(Exception):
    """Root of everything this program raises on purpose.

    Attributes:
        status: the HTTP status the admin plane answers with.
        retryable: whether the same call may succeed later without anyone changing anything.
        remedy: one sentence or command that mends it; shown to people after the message.
    """

    status = 500
    retryable = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class ConfigError(SentinelError):
    """The configuration is not usable; ``problems`` lists every finding, not only the first."""

    status = 422

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.problems = problems


class InvalidInputError(SentinelError):
    """A caller's body or parameter is wrong; ``field`` names it (dotted path, empty for the whole body)."""

    status = 422

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


class NotFoundError(SentinelError):
    """What was named does not exist (or not for this tenant)."""

    status = 404


class ConflictError(SentinelError):
    """The thing is no longer in the state the caller assumed: decided already, expired, closed."""

    status = 409


class UnauthenticatedError(SentinelError):
    """Nobody proved who they are."""

    status = 401


class ForbiddenError(SentinelError):
    """Known caller, not allowed."""

    status = 403


class TooManyAttemptsError(SentinelError):
    """The caller has to wait ``retry_after_s`` before the next try."""

    status = 429
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class StoreUnavailableError(SentinelError):
    """The database refused, timed out or is read-only; work goes on from memory and journal."""

    status = 503
    retryable = True


class CorruptSpoolError(SentinelError):
    """A spool segment holds bytes that fail their checksum or cannot be decoded."""


class CorruptSnapshotError(SentinelError):
    """A snapshot file is truncated, of another format version, or fails its checksum."""


class SnapshotWriteError(SentinelError):
    """A new snapshot could not be put in place (full disk, rights); the old one stays in force."""

    status = 503
    retryable = True


class KeySetError(SentinelError):
    """An issuer's key set could not be fetched; the keys in force stay."""

    status = 502
    retryable = True


class ModelError(SentinelError):
    """The language model was away, too slow, over budget, or answered something unusable."""

    status = 502
    retryable = True


class DeliveryError(SentinelError):
    """A notification did not arrive; ``retryable`` says whether to try again, ``retry_after_s`` not before when."""

    status = 502

    def __init__(self, message: str, *, retryable: bool = True, retry_after_s: float = 0.0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class OutwardError(SentinelError):
    """Somebody else's server could not be asked; ``retryable`` says whether it may go better later.

    ``reached``: it may have got the request, and done what it asks for.
    """

    status = 502

    def __init__(self, message: str, *, retryable: bool = True, reached: bool = False, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retryable = retryable
        self.reached = reached


class RemedyError(SentinelError):
    """An action outside the gateway was not done; nothing was changed."""

    status = 502


class UnknownOutcomeError(SentinelError):
    """An action outside the gateway was begun, and nobody can say whether it was done."""

    status = 502
