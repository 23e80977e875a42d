"""Rules for detection, diagnosis and remediation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

KEY_VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
_MINUTE_S = 60.0
_SHORTEST_CLEAR_S, _LONGEST_CLEAR_S = 15.0, 600.0
_LONGEST_REPORT_S = 600.0


def judge(context: Context) -> None:
    """Judge [detect], [diagnose] and [remediate]."""
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


def _detect(context: Context) -> None:
    detect, report = context.document.detect, context.report
    scores = [detect.z.p1, detect.z.p2, detect.z.p3, detect.z.p4]
    if report.sound(("detect", "z")) and scores != sorted(scores, reverse=True):
        report.at_value(
            ("detect", "z"),
            f"z falls from p1 to p4, found {', '.join(f'{score:g}' for score in scores)}",
            "P1 is the gravest, so it needs the highest score",
        )
    minutes = detect.min_points + detect.fire_of
    if not report.sound(("detect",)):
        return
    if detect.baseline_s < minutes * _MINUTE_S:
        report.at_value(
            ("detect", "baseline"),
            f"a baseline of {detect.baseline_s:g}s has fewer minutes than min_points = {detect.min_points} "
            f"before the fire_of = {detect.fire_of} that are judged by it",
            f'write baseline = "{minutes}m" or longer',
        )
    if detect.fire_minutes > detect.fire_of:
        report.at_value(
            ("detect", "fire_minutes"),
            f"fire_minutes = {detect.fire_minutes} can never be out among fire_of = {detect.fire_of} minutes",
            f"write fire_minutes = {detect.fire_of} or fewer, or a larger fire_of",
        )
    if not _SHORTEST_CLEAR_S <= detect.clear_s <= _LONGEST_CLEAR_S:
        report.at_value(
            ("detect", "clear"),
            f"clear = {detect.clear_s:g}s: what is judged are five-second bins of the last ten minutes",
            'write a duration from "15s" to "10m", such as "60s"',
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
