"""Rules for [[slos]] and [[maintenance]]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.notation import did_you_mean

if TYPE_CHECKING:
    from gateway.config.document_objectives import MaintenanceEntry, SloEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

MOST = 50  # each costs a query a minute
_SHORTEST_S, _LONGEST_S = 86_400.0, 90 * 86_400.0
_LOWEST, _HIGHEST = 0.5, 0.99999


def judge(context: Context) -> None:
    """Judge [[slos]] and [[maintenance]]."""
    document, report = context.document, context.report
    if len(document.slos) > MOST:
        report.at_key(("slos",), f"{len(document.slos)} objectives are more than {MOST}", "keep the ones people act on")
    for entry in document.slos:
        _entry(context, entry, context.path(entry))
    context.unique((((*context.path(entry), "name"), entry.name) for entry in document.slos if entry.name), "objective")
    for planned in document.maintenance:
        _maintenance(context, planned, context.path(planned))
    names = (((*context.path(one), "name"), one.name) for one in document.maintenance if one.name)
    context.unique(names, "maintenance")


def _maintenance(context: Context, entry: MaintenanceEntry, where: Path) -> None:
    if context.report.sound((*where, "name")):
        context.name((*where, "name"), entry.name, "a maintenance")
    _known(context, where, "route", entry.route)
    _known(context, where, "upstream", entry.upstream)


def _known(context: Context, where: Path, key: str, name: str) -> None:
    """Report a route or upstream that is not in the file."""
    document = context.document
    known = [one.name for one in (document.routes if key == "route" else document.upstreams)]
    if name and name not in known and context.report.sound((*where, key)):
        remedy = did_you_mean(name, known, otherwise=f"name a {key} of this file")
        context.report.at_value((*where, key), f'there is no {key} "{name}"', remedy)


def _entry(context: Context, entry: SloEntry, where: Path) -> None:
    report = context.report
    if report.sound((*where, "name")):
        context.name((*where, "name"), entry.name, "an objective")
    _subject(context, entry, where)
    if report.sound((*where, "objective")) and not _LOWEST <= entry.objective <= _HIGHEST:
        report.at_value(
            (*where, "objective"),
            f"an objective of {entry.objective:g} cannot be kept or says nothing",
            f"write the share of good requests from {_LOWEST:g} to {_HIGHEST:g}, such as 0.999",
        )
    if report.sound((*where, "window")):
        _window(context, entry, (*where, "window"))


def _subject(context: Context, entry: SloEntry, where: Path) -> None:
    report = context.report
    if not (report.sound((*where, "route")) and report.sound((*where, "upstream"))):
        return
    if bool(entry.route) == bool(entry.upstream):
        said = "both route and upstream are set" if entry.route else "it names neither a route nor an upstream"
        report.at_key(
            (*where, "route"), f"objective {entry.name}: {said}", 'write one of them, such as route = "orders"'
        )
        return
    _known(context, where, "route", entry.route)
    _known(context, where, "upstream", entry.upstream)


def _window(context: Context, entry: SloEntry, path: Path) -> None:
    kept_s = context.document.store.retention.buckets_s
    if not _SHORTEST_S <= entry.window_s <= _LONGEST_S:
        context.report.at_value(path, "a window is from 1 to 90 days", 'write window = "30d"')
    elif entry.window_s > kept_s:
        context.report.at_value(
            path,
            f"the window reaches back further than buckets are kept ({kept_s / 86400:g}d)",
            f'write [store] retention = {{ buckets = "{entry.window_s / 86400:g}d" }} or a shorter window',
            warning=True,
        )
