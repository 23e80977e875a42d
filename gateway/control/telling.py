"""News of incidents, put into words and handed to the outbox; and what is said again while nobody answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.domain.own_health import Part
from gateway.notify import message
from gateway.notify.message import What
from gateway.notify.routing import concerns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action
    from gateway.domain.policy import NotifyChannel
    from gateway.notify.message import Message
    from gateway.notify.outbox import Outbox


class Herald:
    """Posts what the pipeline has to say.

    Args:
        outbox: keeps and delivers.
        base_url: where people reach the dashboard; links point there.
        clock: seconds since the epoch.
        channels: who is called in, and reminded, while nobody acknowledges.
        stopped: who stopped all actions, as a sentence; empty while they may run.
        publish: given every piece of news, for whoever follows them live.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        base_url: str,
        clock: Callable[[], float],
        channels: Sequence[NotifyChannel] = (),
        publish: Callable[[Message], None] = lambda _message: None,
        stopped: Callable[[], str] = str,
    ) -> None:
        self._outbox = outbox
        self._base_url = base_url
        self._clock = clock
        self._every = tuple(channels)
        self._channels = tuple(one for one in channels if one.after_s is not None or one.remind_s is not None)
        self._publish = publish
        self._stopped = stopped
        self._said: set[tuple[str, str]] = set()  # (incident, occasion) of what is open

    async def tell(self, incident: Incident, what: What, action: Action | None = None) -> None:
        """News of an incident, or of one of its actions; the same news goes out once."""
        now = self._clock()
        news = (
            message.of_incident(incident, what, now, base_url=self._base_url)
            if action is None
            else message.of_action(incident, action, what, now, base_url=self._base_url)
        )
        if why := self._stopped():
            # Whoever is woken must know that the gateway will do nothing by itself.
            news = msgspec.structs.replace(news, lines=(*news.lines, f"{why[:1].upper()}{why[1:]}."))
        self._publish(news)
        await self._outbox.post(news, only=instead(incident, news, self._every))

    async def remind(self, incidents: Iterable[Incident]) -> None:
        """Call in and remind those who are to hear of incidents nobody has acknowledged.

        What was said is known by its key in the outbox, so a control that takes over says nothing twice.
        """
        now = self._clock()
        waiting = [one for one in incidents if not one.acknowledged_by and one.diagnosis is not None]
        self._said = {said for said in self._said if said[0] in {one.id for one in waiting}}
        for incident in waiting:
            for channel in self._channels:
                occasion = due_occasion(channel, now - incident.opened_at)
                if not occasion or (incident.id, occasion) in self._said:
                    continue
                self._said.add((incident.id, occasion))
                news = message.of_incident(
                    incident, What.UNACKNOWLEDGED, now, base_url=self._base_url, occasion=occasion
                )
                if concerns(channel, news):
                    await self._outbox.post(news, only=frozenset({channel.name}))


def instead(incident: Incident, news: Message, channels: Sequence[NotifyChannel]) -> frozenset[str] | None:
    """Who is told that a channel takes no messages: those that asked for it, else all others; None for other news.

    The channel itself would only hear of it once it is well again.
    """
    part, _, broken = incident.place.part.partition(":")
    if part != Part.NOTIFY:
        return None
    others = [one for one in channels if one.name != broken]
    asked = [one.name for one in others if concerns(one, news) and one.after_s is None]
    return frozenset(asked or [one.name for one in others])


def due_occasion(channel: NotifyChannel, open_s: float) -> str:
    """What a channel should be told of an incident that is open and unacknowledged for so long; empty: nothing.

    ``call.NAME`` once ``after`` has passed, then ``remind.NAME.N``: the latest that is due, at most ``reminders``. One
    that was missed is not made up for.
    """
    since_call_s = open_s - (channel.after_s or 0.0)
    if since_call_s < 0:
        return ""
    number = int(since_call_s // channel.remind_s) if channel.remind_s else 0
    if number >= 1:
        return f"remind.{channel.name}.{min(number, channel.reminders)}"
    return f"call.{channel.name}" if channel.after_s is not None else ""
