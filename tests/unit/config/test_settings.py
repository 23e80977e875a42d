from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import Settings


def test_settings_take_what_concerns_them():
    found = Settings.from_environ(
        {"SENTINEL_CONFIG": "/etc/s.toml", "SENTINEL_DEBUG": "1", "SENTINEL_SERVER__PORT": "1", "SENTINEL_X": "y"}
    )
    assert (found.config_path, found.debug, dict(found.overrides)) == (
        Path("/etc/s.toml"),
        True,
        {"SENTINEL_SERVER__PORT": "1"},
    )


def test_a_secret_is_found_by_name_and_an_empty_one_is_none():
    found = Settings.from_environ({"A": "value", "B": ""})
    assert (found.secret("A"), found.secret("B"), found.secret("C")) == ("value", None, None)


def test_no_value_of_the_environment_shows_in_the_repr():
    found = Settings.from_environ(
        {"SENTINEL_JWT_SECRET": "hunter2", "SENTINEL_STORE__URL": "postgresql://u:hunter2@h/d"}
    )
    assert "hunter2" not in repr(found) + str(found)


def test_later_changes_of_the_environment_are_not_seen():
    environ = {"A": "before"}
    found = Settings.from_environ(environ)
    environ["A"] = "after"
    assert found.secret("A") == "before"


def test_overrides_cannot_be_changed():
    with pytest.raises(TypeError):
        Settings.from_environ({"SENTINEL_SERVER__PORT": "1"}).overrides["SENTINEL_SERVER__PORT"] = "2"
