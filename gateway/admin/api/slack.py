"""Where Slack reports what was pressed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.background import BackgroundTask
from starlette.responses import Response

from gateway.admin.api.endpoint import Api, Call, Endpoint

if TYPE_CHECKING:
    from gateway.notify.slack_interactions import Pressed


async def slack_interactions(api: Api, call: Call) -> Response:
    """Take a press of a button in Slack.

    The body is Slack's own form, proven by X-Slack-Signature under the app's signing secret; the answer comes at once,
    and what became of it is shown in the message.
    """
    desk = api.ports.slack
    headers = call.request.headers
    pressed: Pressed | None = desk.receive(
        headers.get("x-slack-request-timestamp", ""),
        headers.get("x-slack-signature", ""),
        await call.request.body(),
    )
    if pressed is None:
        return Response()
    return Response(background=BackgroundTask(partial(desk.act, pressed, api.ports.decisions)))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/slack/interactions",
        handler=slack_interactions,
        tag="incidents",
        role=None,
        answer=None,
        errors=(401, 404),
    ),
)
