"""Report events to SentinelStack from any Python program: :class:`EventClient`.

Standard library only, and nothing else of this package is imported: an application that reports events does not load a
gateway. See docs/how-to/events.md.
"""

from gateway.client.event_client import EventClient
from gateway.client.waiting import Counts

__all__ = ["Counts", "EventClient"]
