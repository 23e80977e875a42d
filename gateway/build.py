"""How this installation was built: from the sources alone, or with the request path compiled to C (docs/adr/0015)."""

from __future__ import annotations

from importlib.util import find_spec


def is_compiled() -> bool:
    """Whether the request path runs compiled; of one module, because the build compiles all it names or none."""
    spec = find_spec("gateway.edge.steps")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")
