"""Layout, dependencies and continuous integration are what the rest of the project says they are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
LOCKS = {"runtime": (), "ai": ("ai",), "dev": ("dev", "ai", "loadtest")}
OWNERS_LAYOUT = (
    *("gateway", "lua", "dashboards", "migrations", "tests", "loadtests"),
    *("docker-compose.prod.yml", "Dockerfile", "pyproject.toml", ".env.prod.example"),
)


def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return loaded


def wanted(lock: str) -> list[Requirement]:
    listed = [*project()["dependencies"]]
    for extra in LOCKS[lock]:
        listed += project()["optional-dependencies"][extra]
    return [one for one in map(Requirement, listed) if canonicalize_name(one.name) != "sentinelstack"]


def pinned(lock: str) -> dict[str, tuple[Version, int]]:
    """Each pinned distribution, its version and how many hashes vouch for it."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ")
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)(.*)$", text, re.MULTILINE)
    return {canonicalize_name(name): (Version(version), rest.count("--hash=sha256:")) for name, version, rest in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_pins_every_dependency_within_its_range(lock: str) -> None:
    pins = pinned(lock)
    for requirement in wanted(lock):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in requirements/{lock}.txt; run `make lock`"
        assert requirement.specifier.contains(pins[name][0]), f"{name} {pins[name][0]} in requirements/{lock}.txt"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_vouches_for_every_pin(lock: str) -> None:
    assert [name for name, (_, hashes) in pinned(lock).items() if not hashes] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_host(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert not re.findall(r"https?://|^--(?:extra-)?index-url|^-i |^--find-links", text, re.MULTILINE)


def test_the_top_level_is_as_its_owner_fixed_it() -> None:
    assert [name for name in OWNERS_LAYOUT if not (ROOT / name).exists()] == []


def test_the_workflow_and_the_ci_script_call_only_targets_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    steps = [
        step.get("run", "")
        for job in yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
        for step in job["steps"]
    ]
    called = set(re.findall(r"^\s*make ([a-z]+)", "\n".join([*steps, (ROOT / ".ci/run").read_text()]), re.MULTILINE))
    assert {"check", "test", "demo", "setup"} <= called <= targets


def test_the_versions_of_python_that_are_promised_are_tested() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project()["classifiers"]))
    assert tested == promised
    assert project()["requires-python"] == f">={promised[0]}"


def test_the_ci_script_is_executable() -> None:
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
