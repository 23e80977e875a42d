"""What figures were measured on, in words that make them comparable."""

from __future__ import annotations

import os
import platform
import sysconfig


def interpreter() -> str:
    """Which Python this is, and whether it was built with profile-guided optimisation, which makes it faster."""
    words = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    built = "with" if "--enable-optimizations" in words else "without"
    return f"{platform.python_implementation()} {platform.python_version()}, built {built} profile-guided optimisation"


def system() -> str:
    """Kernel, architecture and processors."""
    return f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} processors"
