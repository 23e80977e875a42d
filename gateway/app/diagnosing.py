"""What control explains with: the model, if one is configured, and who joins it with traffic, changes and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.config import compile as compiling
from gateway.control.analysis import Diagnostician, language_model
from gateway.diagnose.analyst import Analyst

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from gateway.admin.exposition import Meters
    from gateway.config.document import Document
    from gateway.control.memory import Memory
    from gateway.domain.incident import Change
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window
    from gateway.settings import Settings


def diagnostician(
    stack: AsyncExitStack,
    document: Document,
    settings: Settings,
    meters: Meters,
    window: Window,
    snapshot: Callable[[], Snapshot],
    changes: Callable[[], tuple[Change, ...]],
    memory: Memory,
    **more: Any,
) -> Diagnostician:
    """Diagnosis as the pipeline asks for it; ``more`` is what :class:`Diagnostician` takes besides."""
    diagnose = compiling.diagnose_settings(document)
    model = language_model(diagnose, settings)
    analyst = Analyst(
        diagnose,
        model,
        count_tokens=lambda provider, way, tokens: meters.count(
            "sentinel_model_tokens_total", provider, way, amount=tokens
        ),
        calibrate=memory.worth,
    )
    stack.push_async_callback(analyst.close)
    return Diagnostician(window, snapshot, changes, analyst, has_model=model is not None, memory=memory, **more)
