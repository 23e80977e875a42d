"""Rules for [[notify]] and [reports]: each kind's own keys, its secrets in the environment, names that exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from gateway.config.document_notify import NotifyEntry
from gateway.config.notation import NotationError, did_you_mean, web_url
from gateway.domain.incident import Severity

if TYPE_CHECKING:
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

SLACK_VARIABLE = "SLACK_WEBHOOK_URL"
# The variable each kind looks into where the entry names none.
USUAL_VARIABLES: dict[str, dict[str, str]] = {
    "slack": {"url_env": SLACK_VARIABLE},
    "slack_app": {
        "token_env": "SLACK_BOT_TOKEN",
        "channel_env": "SLACK_CHANNEL_ID",
        "secret_env": "SLACK_SIGNING_SECRET",
    },
    "pagerduty": {"routing_key_env": "PAGERDUTY_ROUTING_KEY"},
    "teams": {"url_env": "TEAMS_WEBHOOK_URL"},
}
# Keys that only these kinds have; the others belong to all.
_OWN_KEYS = {
    "url_env": ("slack", "teams", "webhook"),
    "url": ("slack", "slack_app", "pagerduty", "teams", "webhook"),
    "secret_env": ("slack_app", "webhook"),
    **dict.fromkeys(("token_env", "channel", "channel_env", "approvers"), ("slack_app",)),
    "routing_key_env": ("pagerduty",),
    **dict.fromkeys(("host", "port", "security", "user_env", "password_env", "from", "to"), ("email",)),
}
_FIELDS = {item.encode_name: item for item in msgspec.structs.fields(NotifyEntry)}
_ELSEWHERE = ("later", "drop")
_CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{5,20}")  # docs.slack.dev: conversation ids; a name such as #ops is not stable
_APPROVER = re.compile(r"[UW][A-Z0-9]{5,20}(=[^=\s]+@[^=\s]+)?")
MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")  # as HTML's type=email
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_MOST_RECIPIENTS = 50


def judge(context: Context) -> None:
    """Judge [[notify]] and [reports]."""
    entries = context.document.notify
    for entry in entries:
        if context.report.sound((*context.path(entry), "kind")):
            _channel(context, entry)
    names = [
        (context.path(entry), channel_name(entry))
        for entry in entries
        if entry.name or context.report.sound((*context.path(entry), "kind"))
    ]
    context.unique((((*path, "name"), name) for path, name in names), "notifier")
    known = [channel_name(entry) for entry in entries]
    for entry in entries:
        if entry.hours is not None and entry.outside not in {*_ELSEWHERE, *known} - {channel_name(entry)}:
            _unknown(context, (*context.path(entry), "outside"), entry.outside, [*_ELSEWHERE, *known])
    for index, name in enumerate(context.document.reports.channels):
        if name not in known:
            _unknown(context, ("reports", "channels", index), name, known)
    if context.document.reports.channels and context.document.reports.daily is None:
        context.report.at_value(
            ("reports", "channels"), "channels is set but nothing is reported", 'add daily = "08:00 Europe/Berlin"'
        )


def channel_name(entry: NotifyEntry) -> str:
    """The name as written, else the kind."""
    return entry.name or entry.kind


def channel_variable(entry: NotifyEntry) -> str:
    """The variable that holds the URL, as written or the kind's usual one."""
    return entry.url_env or USUAL_VARIABLES.get(entry.kind, {}).get("url_env", "")


def channel_severities(entry: NotifyEntry) -> tuple[Severity, ...]:
    """As written; else a pager hears of what should wake somebody, and everybody else of everything."""
    if entry.severities is not None:
        return entry.severities
    return (Severity.P1, Severity.P2) if entry.kind == "pagerduty" else tuple(Severity)


def _channel(context: Context, entry: NotifyEntry) -> None:
    report, where = context.report, context.path(entry)
    if entry.name:
        context.name((*where, "name"), entry.name, "a notifier")
    if entry.severities == () and report.sound((*where, "severities")):
        report.at_value(
            (*where, "severities"), "severities is empty: it would never be told", 'write ["P1", "P2"], or leave it out'
        )
    _foreign_keys(context, entry, where)
    if entry.outside != "later" and entry.hours is None and report.sound((*where, "hours")):
        report.at_value((*where, "outside"), "outside is set, but there are no hours", "add hours, or leave it out")
    if entry.remind_s is not None and entry.remind_s < 60:  # noqa: PLR2004 - a minute
        report.at_value((*where, "remind"), "a reminder more often than every minute", 'write remind = "30m"')
    _DESTINATIONS[entry.kind](context, entry, where)


def _foreign_keys(context: Context, entry: NotifyEntry, where: Path) -> None:
    """Keys of another kind: what would do nothing is refused."""
    for name, kinds in _OWN_KEYS.items():
        field = _FIELDS[name]
        if entry.kind not in kinds and getattr(entry, field.name) != field.default:
            if name == "secret_env" and entry.kind == "slack":
                context.report.at_value((*where, name), "Slack messages carry no signature", "leave secret_env out")
                continue
            context.report.at_value(
                (*where, name), f'{name} means nothing to kind = "{entry.kind}"', f"it belongs to {' and '.join(kinds)}"
            )


def _posted(context: Context, entry: NotifyEntry, where: Path) -> None:
    """slack, teams, webhook: a URL that often is itself the secret."""
    report = context.report
    if entry.kind != "webhook" and entry.url:
        named = {"slack": "Slack", "teams": "Teams"}[entry.kind]
        report.at_value(
            (*where, "url"),
            f"a {named} webhook URL is a secret",
            f"export {USUAL_VARIABLES[entry.kind]['url_env']}=… and leave url out",
        )
    elif entry.url and entry.url_env:
        report.at_value((*where, "url"), "both url and url_env are set", "keep one of them")
    elif not entry.url:
        _url_from_environment(context, entry, where)
    if entry.secret_env and entry.kind == "webhook":
        context.secret((*where, "secret_env"), entry.secret_env, "the key for the signature")


def _slack_app(context: Context, entry: NotifyEntry, where: Path) -> None:
    usual = USUAL_VARIABLES["slack_app"]
    _secret(context, where, "token_env", entry.token_env or usual["token_env"], "the token of the Slack app")
    if entry.channel and not _CHANNEL_ID.fullmatch(entry.channel):
        context.report.at_value(
            (*where, "channel"),
            f'"{entry.channel}" is no id of a Slack channel',
            "it stands below the channel's details, such as C024BE91L",
        )
    elif not entry.channel:
        _secret(context, where, "channel_env", entry.channel_env or usual["channel_env"], "the id of the Slack channel")
    for index, approver in enumerate(entry.approvers):
        if not _APPROVER.fullmatch(approver):
            context.report.at_value(
                (*where, "approvers", index),
                f'"{approver}" is no member id of Slack',
                'write "U024BE7LH", or "U024BE7LH=ana@example.org" to link it to a user of the dashboard',
            )
    if entry.approvers:
        _secret(
            context, where, "secret_env", entry.secret_env or usual["secret_env"], "the signing secret of the Slack app"
        )
    elif entry.secret_env:
        context.report.at_value(
            (*where, "secret_env"), "without approvers nobody may press a button", 'add approvers = ["U024BE7LH"]'
        )


def _pagerduty(context: Context, entry: NotifyEntry, where: Path) -> None:
    variable = entry.routing_key_env or USUAL_VARIABLES["pagerduty"]["routing_key_env"]
    _secret(context, where, "routing_key_env", variable, "the routing key of PagerDuty")


def _email(context: Context, entry: NotifyEntry, where: Path) -> None:
    report = context.report
    if not entry.host:
        report.at_key((*where, "host"), 'kind = "email" needs host, the mail server', 'add host = "smtp.example.com"')
    elif not _HOST.fullmatch(entry.host):
        report.at_value((*where, "host"), f'"{entry.host}" is no name of a host', "the port stands in port")
    for name, given in (("from", (entry.sender,) if entry.sender else ()), ("to", entry.to)):
        if not given and report.sound((*where, name)):
            example = 'from = "sentinel@example.com"' if name == "from" else 'to = ["oncall@example.com"]'
            report.at_key((*where, name), f'kind = "email" needs {name}', f"add {example}")
        for index, address in enumerate(given):
            if not MAIL.fullmatch(address):
                path = (*where, name) if name == "from" else (*where, name, index)
                report.at_value(path, f'"{address}" is no mail address', "write it bare: oncall@example.com")
    if len(entry.to) > _MOST_RECIPIENTS:
        report.at_value((*where, "to"), f"more than {_MOST_RECIPIENTS} recipients", "write to a mailing list")
    _mail_account(context, entry, where)


def _mail_account(context: Context, entry: NotifyEntry, where: Path) -> None:
    report = context.report
    if bool(entry.user_env) != bool(entry.password_env):
        there, lacking = ("user_env", "password_env") if entry.user_env else ("password_env", "user_env")
        report.at_value((*where, there), f"{there} is set without {lacking}", f"add {lacking}, or leave both out")
    elif entry.user_env:
        _secret(context, where, "user_env", entry.user_env, "the user of the mail server")
        _secret(context, where, "password_env", entry.password_env, "the password of the mail server")
        if entry.security == "none" and entry.host not in {"localhost", "127.0.0.1", "::1"}:
            report.at_value(
                (*where, "security"), "the password would cross the network in clear", 'write security = "starttls"'
            )


_DESTINATIONS = {
    "slack": _posted,
    "teams": _posted,
    "webhook": _posted,
    "slack_app": _slack_app,
    "pagerduty": _pagerduty,
    "email": _email,
}


def _secret(context: Context, where: Path, key: str, variable: str, what: str) -> None:
    """The variable must be set; the finding points at the key where it was written, else at the kind."""
    entry = next(one for one in context.document.notify if context.path(one) == where)
    written = getattr(entry, _FIELDS[key].name)
    context.secret((*where, key) if written else (*where, "kind"), variable, what)


def _unknown(context: Context, path: Path, name: str, known: list[str]) -> None:
    context.report.at_value(
        path, f'there is no notifier "{name}"', did_you_mean(name, known, otherwise=f"known are {', '.join(known)}")
    )


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
