"""Rules for [sources]: the secrets that senders show, and the labels that name services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.rules import sources_elasticsearch

if TYPE_CHECKING:
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

LEAST_TOKEN = 16  # characters; shorter ones can be guessed
_LONGEST_LABEL = 128
_MOST_LABELS = 20
_LEAST_LAPSE_S = 300.0  # monitoring repeats itself every few minutes at best


def judge(context: Context) -> None:
    """Judge every table of [sources]."""
    sources = context.document.sources
    if sources.alerts is not None:
        _token(context, ("sources", "alerts"), sources.alerts.token_env, "the token that senders of alerts show")
        _labels(context, sources.alerts.labels)
        if sources.alerts.lapse_s < _LEAST_LAPSE_S:
            context.report.at_value(
                ("sources", "alerts", "lapse"),
                "lapse is under 5 minutes: alerts would end between two tellings",
                'write lapse = "24h", longer than the interval at which your monitoring repeats itself',
            )
    if sources.deploys is not None:
        _token(context, ("sources", "deploys"), sources.deploys.token_env, "the token that tells of deploys")
    if sources.events is not None:
        _token(context, ("sources", "events"), sources.events.token_env, "the token that reports events")
    if sources.elasticsearch is not None:
        sources_elasticsearch.judge(context, sources.elasticsearch)


def _token(context: Context, section: Path, variable: str, what: str) -> None:
    path = (*section, "token_env")
    if not context.report.sound(path):
        return
    token = context.secret(path, variable, what)
    if token is not None and len(token) < LEAST_TOKEN:
        context.report.at_value(
            path,
            f"{what} has {len(token)} characters; at least {LEAST_TOKEN} are needed",
            f"export {variable}=$(openssl rand -hex 32)",
        )


def _labels(context: Context, labels: tuple[str, ...]) -> None:
    path: Path = ("sources", "alerts", "labels")
    if not context.report.sound(path):
        return
    if not labels:
        context.report.at_value(
            path, "labels is empty: no alert could name a service", 'write ["service"], or leave it out'
        )
    if len(labels) > _MOST_LABELS:
        context.report.at_value(path, f"{len(labels)} labels are more than {_MOST_LABELS}", "name those of services")
    nameless = [
        index for index, label in enumerate(labels) if not 0 < len(label) <= _LONGEST_LABEL or not label.isprintable()
    ]
    for index in nameless[:1]:  # out of a variable all would be the same line
        context.report.at_value((*path, index), "this is not the name of a label", 'write such as "service"')
    for index, label in enumerate(labels):
        if index in nameless:
            continue
        if label in labels[:index]:
            context.report.at_value((*path, index), f'the label "{label}" stands twice', "leave one of them out")
