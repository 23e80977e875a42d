"""docker-compose.prod.yml, .env.prod.example and what they mount fit together."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import checking
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.prod.yml"
ENV_EXAMPLE = ROOT / ".env.prod.example"
# Read by the program where there is no compose file; the compose file makes the first two from the passwords.
OUTSIDE_COMPOSE = {"SENTINEL_STORE__URL", "SENTINEL_REDIS__URL", "SENTINEL_CONFIG"}


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def variables() -> dict[str, str]:
    """Every ${NAME} of the compose file and what stands behind the name: "", ":-default" or ":?message"."""
    return dict(re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE.read_text()))


def example() -> dict[str, bool]:
    """Every variable of the example file, and whether it is one to fill in (else it is commented out)."""
    found = re.findall(r"^(#?)([A-Z][A-Z0-9_]+)=", ENV_EXAMPLE.read_text(), re.MULTILINE)
    return {name: not hidden for hidden, name in found}


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.compose-spec", COMPOSE), ("vendor.github-workflows", ROOT / ".github" / "workflows" / "ci.yml")],
)
def test_the_file_fits_its_schema(schema: str, path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    assert set(variables()) <= set(example())


def test_every_variable_of_the_example_means_something_to_the_compose_file() -> None:
    assert set(example()) - OUTSIDE_COMPOSE == set(variables())


def test_what_has_no_default_is_there_to_be_filled_in() -> None:
    demanded = {name for name, rest in variables().items() if rest.startswith(":?")}
    to_fill_in = {name for name, open_ in example().items() if open_}
    assert demanded and demanded <= to_fill_in


def test_the_example_holds_no_value() -> None:
    assert not re.findall(r"^[A-Z][A-Z0-9_]+=.+$", ENV_EXAMPLE.read_text(), re.MULTILINE)


def test_everything_mounted_from_the_checkout_exists() -> None:
    mounted = {
        mount.split(":")[0]
        for service in document()["services"].values()
        for mount in service.get("volumes", ())
        if mount.startswith("./")
    }
    assert len(mounted) > 3
    # config/ is the operator's own; the head of the compose file says how to make it.
    assert [source for source in mounted - {"./config"} if not (ROOT / source).exists()] == []
    assert "config/sentinel.toml" in COMPOSE.read_text().partition("name:")[0]


def test_named_volumes_are_declared() -> None:
    used = {
        mount.split(":")[0]
        for service in document()["services"].values()
        for mount in service.get("volumes", ())
        if not mount.startswith(("./", "/"))
    }
    assert used == set(document()["volumes"])


def test_only_the_data_port_is_published_to_the_world() -> None:
    ports = {name: service.get("ports", []) for name, service in document()["services"].items()}
    world = [(name, port) for name, listed in ports.items() for port in listed if not port.startswith("127.0.0.1:")]
    assert world == [("gateway", "${SENTINEL_PORT:-8000}:8000")]


def test_prometheus_scrapes_the_admin_port_of_the_gateway() -> None:
    scraped = yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())
    targets = [
        target for job in scraped["scrape_configs"] for static in job["static_configs"] for target in static["targets"]
    ]
    admin_port = re.search(r"SENTINEL_ADMIN__BIND=0\.0\.0\.0:(\d+)", (ROOT / "Dockerfile").read_text())
    assert admin_port is not None
    assert targets == [f"gateway:{admin_port[1]}"]
    assert "gateway" in document()["services"]


def test_rules_are_mounted_where_prometheus_looks_for_them() -> None:
    mounts = dict(mount.split(":")[:2] for mount in document()["services"]["prometheus"]["volumes"])
    config = mounts["./dashboards/prometheus/prometheus.yml"]
    rules = mounts["./dashboards/prometheus/rules"]
    patterns = yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())["rule_files"]
    assert patterns == [f"{Path(rules).relative_to(Path(config).parent)}/*.yml"]


def test_grafana_finds_its_provisioning_its_dashboards_and_its_source() -> None:
    mounts = dict(mount.split(":")[:2] for mount in document()["services"]["grafana"]["volumes"])
    assert mounts["./dashboards/grafana/provisioning"] == "/etc/grafana/provisioning"
    provisioning = ROOT / "dashboards/grafana/provisioning"
    providers = yaml.safe_load((provisioning / "dashboards/sentinel.yml").read_text())["providers"]
    assert [provider["options"]["path"] for provider in providers] == [mounts["./dashboards/grafana/dashboards"]]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    for path in (ROOT / "dashboards/grafana/dashboards").glob("*.json"):
        used = {
            panel["datasource"]["uid"] for panel in json.loads(path.read_text())["panels"] if panel.get("datasource")
        }
        assert used == {source["uid"]}, path.name


def test_every_setting_the_compose_file_gives_is_one_the_program_knows() -> None:
    given = {
        name: re.sub(r"\$\{[^}]*\}", "0123456789abcdef0123456789abcdef", text)
        for name, text in document()["services"]["gateway"]["environment"].items()
    }
    image = dict(re.findall(r"(SENTINEL_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    settings = Settings.from_environ({**given, **image})
    assert {"SENTINEL_STORE__URL", "SENTINEL_REDIS__URL", "SENTINEL_ADMIN__BIND"} <= set(settings.overrides)
    result = checking.check_text('[admin]\nmetrics = "token"\n', "sentinel.toml", settings)
    assert [str(finding) for finding in result.errors] == []
