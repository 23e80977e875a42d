"""The Dockerfile passes hadolint without an exception."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_hadolint_has_no_objection() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    command = [str(hadolint), "--no-color", str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
