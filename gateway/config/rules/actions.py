"""Rules for [actions.NAME]: what each kind needs and takes, and what takes it back."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import msgspec

from gateway.config.document_actions import ActionEntry

if TYPE_CHECKING:
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_LONGEST_S = 300.0
# An option would be taken for one of ssh's; the rest is what names of hosts, users and objects are made of.
_PLAIN = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_.:@/-]{0,252}")
_OWN: dict[str, frozenset[str]] = {
    "webhook": frozenset({"url_env", "url", "secret_env"}),
    "ssh": frozenset({"host", "port", "user", "command", "identity_file", "known_hosts_file"}),
    "kubernetes": frozenset({"do", "api", "namespace", "deployment", "replicas", "token_env", "token_file", "ca_file"}),
    "aws": frozenset({"do", "region", "cluster", "service", "group", "capacity"}),
}
_NEEDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("ssh", ""): ("host", "command"),
    ("kubernetes", "restart"): ("deployment",),
    ("kubernetes", "scale"): ("deployment", "replicas"),
    ("kubernetes", "undo"): ("deployment",),
    ("aws", "redeploy"): ("region", "cluster", "service"),
    ("aws", "capacity"): ("region", "group", "capacity"),
    ("aws", "terminate"): ("region", "group"),
}
_DEFAULTS = {one.name: one.default for one in msgspec.structs.fields(ActionEntry)}
_SECRETS = ("url_env", "secret_env", "token_env")


def judge(context: Context) -> None:
    """Judge every [actions.NAME]."""
    known = context.document.actions
    upstreams = sorted(one.name for one in context.document.upstreams)
    for name, entry in known.items():
        where: Path = ("actions", name)
        context.name(where, name, "an action")
        if entry.upstream not in upstreams and context.report.sound(("upstreams",)):
            context.report.at_value(
                (*where, "upstream"), f'there is no upstream "{entry.upstream}"', f"known: {', '.join(upstreams)}"
            )
        if context.report.sound((*where, "kind")):
            _of_kind(context, where, entry)
        if entry.undo:
            _undo(context, where, entry, known)
        if entry.timeout_s > _LONGEST_S:
            context.report.at_value((*where, "timeout"), "timeout is over 5 minutes", 'write timeout = "30s"')


def _of_kind(context: Context, where: Path, entry: ActionEntry) -> None:
    report = context.report
    for name in sorted(set().union(*_OWN.values()) - _OWN[entry.kind]):
        if getattr(entry, name) != _DEFAULTS[name]:
            report.at_value((*where, name), f'{name} means nothing with kind = "{entry.kind}"', "leave it out")
    choices = [do for kind, do in _NEEDS if kind == entry.kind]
    if choices and entry.do not in choices:
        if choices != [""]:
            at = report.at_value if entry.do else report.at_key
            said = f'do says what is done; kind = "{entry.kind}" knows {", ".join(choices)}'
            at((*where, "do"), said, f'write do = "{choices[0]}"')
        return
    for name in _NEEDS.get((entry.kind, entry.do), ()):
        if getattr(entry, name) in {"", None}:
            report.at_key((*where, name), f'kind = "{entry.kind}" needs {name} for this', f"add {name}")
    _webhook(context, where, entry)
    _values(context, where, entry)


def _values(context: Context, where: Path, entry: ActionEntry) -> None:
    report = context.report
    for name in sorted(_OWN[entry.kind] - {"url", "api", "command", "do", *_SECRETS}):
        value = getattr(entry, name)
        if isinstance(value, str) and value and not _PLAIN.fullmatch(value):
            report.at_value((*where, name), f"{name} is not plain", "use letters, digits and . _ - : @ /")
    if entry.dry_run:
        return  # nothing is needed to write down what would be done
    for name in _SECRETS:
        if getattr(entry, name):
            context.secret((*where, name), getattr(entry, name), f"what {name} of {where[-1]} names")
    if entry.kind == "aws" and importlib.util.find_spec("boto3") is None:
        report.at_value((*where, "kind"), "boto3 is not installed", "pip install boto3, or write dry_run = true")


def _webhook(context: Context, where: Path, entry: ActionEntry) -> None:
    if entry.kind == "webhook" and bool(entry.url) == bool(entry.url_env):
        context.report.at_key(
            (*where, "url_env"),
            'kind = "webhook" needs url, or url_env where the URL holds a secret',
            "write one of them",
        )
    if entry.kind == "ssh" and any(not letter.isprintable() for letter in entry.command):
        context.report.at_value((*where, "command"), "the command holds control characters", "write it on one line")


def _undo(context: Context, where: Path, entry: ActionEntry, known: dict[str, ActionEntry]) -> None:
    found = known.get(entry.undo)
    if found is None:
        context.report.at_value(
            (*where, "undo"), f"there is no [actions.{entry.undo}]", "name another of [actions], or leave undo out"
        )
    elif found is entry or found.upstream != entry.upstream:
        context.report.at_value(
            (*where, "undo"), "what takes it back is another action for the same upstream", "name such a one"
        )
