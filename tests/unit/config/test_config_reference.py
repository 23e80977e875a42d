"""docs/reference/configuration.md, .env.prod.example and `sentinel init` cannot drift from the schema."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import reading
from gateway.config.checking import check_text
from gateway.config.document import Document
from gateway.config.findings import Report
from gateway.config.positions import Positions
from gateway.config.rules.operations import KEY_VARIABLES
from gateway.config.rules.telling import SLACK_VARIABLE
from gateway.config.schema import leaves, table
from gateway.config.starter import init_text
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = (ROOT / "docs/reference/configuration.md").read_text()
ROW = re.compile(r"^\| `([a-z_0-9.\[\]NAME]+)` \| (.+?) \| (.+?) \| (.*) \|$", re.MULTILINE)
BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCHEMA = dict(leaves(table(Document)))
DOCUMENTED = {path: (kind, default) for path, kind, default, _ in ROW.findall(REFERENCE) if "." in path}

PUBLIC_ADDRESS = (
    "no public authority certifies 10.0.1.6, so this target will not be trusted; name what certifies it: "
    'tls = { ca = "…" }, or what its certificate is for: { server_name = "…" }'
)


def test_every_key_of_the_schema_is_documented():
    assert sorted(SCHEMA.keys() - DOCUMENTED.keys()) == []


def test_every_documented_key_exists():
    assert sorted(DOCUMENTED.keys() - SCHEMA.keys()) == []


@pytest.mark.parametrize("path", sorted(SCHEMA))
def test_a_documented_default_is_the_real_one(path):
    key, written = SCHEMA[path], DOCUMENTED[path][1]
    if key.required or key.default is None:
        assert written == ("required" if key.required else "–")
        return
    literal = tomllib.loads(f"value = {written.strip('`')}")["value"]
    report = Report("docs", Positions(""), {})
    value = "" if literal == "" else reading._Reader(report).value(key.shape, literal, ("value",))
    assert report.findings == []
    assert value == key.default


@pytest.mark.parametrize("path", sorted(SCHEMA))
def test_a_documented_type_names_every_choice_and_bound(path):
    shape, kind = SCHEMA[path].shape, DOCUMENTED[path][0]
    item = getattr(shape, "item", shape)
    if item.maximum is not None:
        assert f"{item.minimum:g}–{int(item.maximum)}" in kind
    missing = [choice for choice in item.choices if f'"{choice}"' not in kind and "…" not in kind]
    assert missing == []


@pytest.mark.parametrize("block", BLOCK.findall(REFERENCE), ids=lambda block: block.split("\n", 1)[0])
def test_an_example_of_the_reference_reads_without_a_finding(block):
    assert [str(finding) for finding in reading.read(block, "example", {}).report.findings] == []


def test_the_examples_of_upstreams_and_routes_hold_together():
    blocks = [block for block in BLOCK.findall(REFERENCE) if block.startswith(("[[upstreams]]", "[[routes]]"))]
    assert len(blocks) == 2
    text = "[auth.jwt]\n" + re.sub(r"^tls = .*$", "", "".join(blocks), flags=re.MULTILINE)  # its files are not here
    result = check_text(text, "example", Settings.from_environ({"SENTINEL_JWT_SECRET": "x" * 32}))
    assert [str(error) for error in result.errors] == []
    assert {str(warning).partition(": ")[2] for warning in result.warnings} == {PUBLIC_ADDRESS}


def test_the_file_of_init_passes_the_check_without_a_warning():
    result = check_text(init_text(), "sentinel.toml", Settings.from_environ({}))
    assert (result.errors, result.warnings) == ((), ())
    assert result.snapshot is not None


def test_the_commented_lines_of_init_are_valid_keys():
    switched_on = re.sub(r"^# (?=[\[a-z].*(=|\]))", "", init_text(), flags=re.MULTILINE)
    assert switched_on != init_text()
    assert [str(finding) for finding in reading.read(switched_on, "init", {}).report.findings] == []


def test_every_variable_the_schema_names_by_default_stands_in_the_example_environment():
    example = (ROOT / ".env.prod.example").read_text()
    named = {key.default for path, key in SCHEMA.items() if path.endswith("_env") and key.default}
    named |= {*KEY_VARIABLES.values(), SLACK_VARIABLE, "SENTINEL_STORE__URL", "SENTINEL_REDIS__URL"}
    listed = set(re.findall(r"^#?([A-Z][A-Z_0-9]+)=", example, re.MULTILINE))
    assert sorted(named - listed) == []


def test_every_variable_of_the_compose_file_stands_in_the_example_environment():
    example = (ROOT / ".env.prod.example").read_text()
    wanted = set(re.findall(r"(?<!\$)\$\{([A-Z_0-9]+)", (ROOT / "docker-compose.prod.yml").read_text()))
    assert wanted
    assert sorted(wanted - set(re.findall(r"^#?([A-Z][A-Z_0-9]+)=", example, re.MULTILINE))) == []


def test_the_example_environment_holds_no_secret():
    example = (ROOT / ".env.prod.example").read_text()
    values = dict(re.findall(r"^([A-Z][A-Z_0-9]+)=(.*)$", example, re.MULTILINE))
    assert [name for name, value in values.items() if value] == []


def test_the_keys_marked_for_a_restart_are_those_the_program_warns_about():
    from gateway.config.difference import _AT_START, key_of

    marked = {path for path, _, _, text in ROW.findall(REFERENCE) if text.startswith("↻")}
    assert marked == {f"{section}.{key_of(attribute)}" for section, attribute in _AT_START}
