"""``make verify`` tests what the build compiled, and every other run the sources, not what a build left beside them."""

from __future__ import annotations

import importlib
import os
import tomllib
from pathlib import Path

import pytest

from gateway import build

COMPILED = os.environ.get("SENTINEL_COMPILED") == "1"


def named() -> list[str]:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    hook = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    return [path.strip("/").removesuffix(".py").replace("/", ".") for path in hook["include"]]


@pytest.mark.parametrize("module", named())
def test_a_module_the_build_names_is_what_this_run_is_for(module: str) -> None:
    file = importlib.import_module(module).__file__ or ""
    assert file.endswith((".so", ".pyd")) == COMPILED, file


def test_the_build_says_what_it_is() -> None:
    assert build.is_compiled() == COMPILED
