"""Rules for detection, diagnosis, remediation and notification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.notation import NotationError, web_url

if TYPE_CHECKING:
    from gateway.config.document import NotifyEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

KEY_VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
SLACK_VARIABLE = "SLACK_WEBHOOK_URL"
_MINUTE_S = 60.0
_LONGEST_REPORT_S = 600.0


def judge(context: Context) -> None:
    """Judge [detect], [diagnose], [remediate] and [[notify]]."""
    _detect(context)
    _diagnose(context)
    remediate = context.document.remediate
    if remediate.max_ejected == 0 and remediate.mode != "observe":
        context.report.at_value(
            ("remediate", "max_ejected"),
            "max_ejected = 0 lets no ejection run",
            'write mode = "observe", or a share such as 0.5',
            warning=True,
        )
    for entry in context.document.notify:
        _channel(context, entry)
    names = [
        (context.path(entry), channel_name(entry))
        for entry in context.document.notify
        if entry.name or context.report.sound((*context.path(entry), "kind"))
    ]
    context.unique((((*path, "name"), name) for path, name in names), "notifier")


def channel_name(entry: NotifyEntry) -> str:
    """The name as written, else the kind."""
    return entry.name or entry.kind


def channel_variable(entry: NotifyEntry) -> str:
    """The variable that holds the URL; Slack has a usual one."""
    return entry.url_env or (SLACK_VARIABLE if entry.kind == "slack" else "")


def _detect(context: Context) -> None:
    detect, report = context.document.detect, context.report
    scores = [detect.z.p1, detect.z.p2, detect.z.p3, detect.z.p4]
    if report.sound(("detect", "z")) and scores != sorted(scores, reverse=True):
        report.at_value(
            ("detect", "z"),
            f"z falls from p1 to p4, found {', '.join(f'{score:g}' for score in scores)}",
            "P1 is the gravest, so it needs the highest score",
        )
    if report.sound(("detect",)) and detect.baseline_s < detect.min_points * _MINUTE_S:
        report.at_value(
            ("detect", "baseline"),
            f"a baseline of {detect.baseline_s:g}s has fewer minutes than min_points = {detect.min_points}",
            f'write baseline = "{detect.min_points}m" or longer',
        )


def _diagnose(context: Context) -> None:
    diagnose, report = context.document.diagnose, context.report
    if diagnose.timeout_s > _LONGEST_REPORT_S:
        report.at_value(("diagnose", "timeout"), "diagnose.timeout is over 10 minutes", 'write "20s"')
    if not report.sound(("diagnose", "provider")):
        return
    if diagnose.provider == "none":
        for key, value in (("model", diagnose.model), ("base_url", diagnose.base_url)):
            if value:
                report.at_value(
                    ("diagnose", key),
                    f'diagnose.{key} is set but provider = "none" uses no model',
                    'set provider = "anthropic" or "openai", or leave it out',
                )
        return
    if not diagnose.model:
        report.at_key(
            ("diagnose", "model"),
            f'provider = "{diagnose.provider}" needs model in [diagnose]',
            'add model = "NAME" as the provider spells it',
        )
    variable = diagnose.api_key_env or KEY_VARIABLES[diagnose.provider]
    path: Path = ("diagnose", "api_key_env") if diagnose.api_key_env else ("diagnose", "provider")
    context.secret(path, variable, f"the key for {diagnose.provider}")


def _channel(context: Context, entry: NotifyEntry) -> None:
    report, where = context.report, context.path(entry)
    if entry.name:
        context.name((*where, "name"), entry.name, "a notifier")
    if not entry.severities and report.sound((*where, "severities")):
        report.at_value(
            (*where, "severities"), "severities is empty: it would never be told", 'write ["P1", "P2"], or leave it out'
        )
    if entry.kind == "slack" and entry.url:
        report.at_value(
            (*where, "url"), "a Slack webhook URL is a secret", f"export {SLACK_VARIABLE}=… and leave url out"
        )
    elif entry.url and entry.url_env:
        report.at_value((*where, "url"), "both url and url_env are set", "keep one of them")
    elif not entry.url:
        _url_from_environment(context, entry, where)
    if entry.secret_env and entry.kind == "slack":
        report.at_value((*where, "secret_env"), "Slack messages carry no signature", "leave secret_env out")
    elif entry.secret_env:
        context.secret((*where, "secret_env"), entry.secret_env, "the key for the signature")


def _url_from_environment(context: Context, entry: NotifyEntry, where: Path) -> None:
    variable = channel_variable(entry)
    if not context.report.sound((*where, "url")):
        return
    if not variable:
        context.report.at_key(
            (*where, "url"),
            'kind = "webhook" needs url, or url_env where the URL holds a secret',
            'add url_env = "MY_WEBHOOK_URL"',
        )
        return
    path = (*where, "url_env") if entry.url_env else (*where, "kind")
    url = context.secret(path, variable, f"the URL of {channel_name(entry)}")
    if url is None:
        return
    try:
        web_url(url)
    except NotationError as error:
        context.report.at_value(path, f"{variable}: {error}", error.remedy)
