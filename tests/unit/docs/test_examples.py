"""Every piece of sentinel.toml on the pages people copy from is one the program accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import checking
from gateway.settings import Settings
from tests.certificates import Authority
from tests.unit.docs.pages import blocks, name_of, pages

SECRETS = {
    "SENTINEL_EVENTS_TOKEN": "0123456789abcdef0123456789abcdef",
    "ELASTICSEARCH_URL": "https://search.internal:9200",
    "ELASTICSEARCH_API_KEY": "key",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/x",
    "SLACK_BOT_TOKEN": "xoxb-x",
    "SLACK_CHANNEL_ID": "C024BE91L",
    "SLACK_SIGNING_SECRET": "x" * 32,
    "PAGERDUTY_ROUTING_KEY": "x" * 32,
    "TEAMS_WEBHOOK_URL": "https://example.com/workflows/x",
    "SMTP_USER": "sentinel",
    "SMTP_PASSWORD": "x" * 16,
    "TICKETS_WEBHOOK_SECRET": "0123456789abcdef0123456789abcdef",
    "ANTHROPIC_API_KEY": "key",
    "OPENAI_API_KEY": "key",
    "SENTINEL_ALERTS_TOKEN": "0123456789abcdef0123456789abcdef",
    "SENTINEL_DEPLOYS_TOKEN": "0123456789abcdef0123456789abcdef",
    "SENTINEL_METRICS_TOKEN": "0123456789abcdef0123456789abcdef",
}
EXAMPLES = [
    pytest.param(block.text, id=f"{name_of(path)}-{number}")
    for path in pages()
    if "reference" not in path.parts and "adr" not in path.parts
    for number, block in enumerate(blocks(path.read_text()))
    if block.language == "toml"
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 6


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in /etc/sentinel/tls on the pages."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "clients")
    certificate, key = authority.files("server")
    Path(certificate).rename(folder / "fullchain.pem")
    Path(key).rename(folder / "key.pem")
    authority.file.rename(folder / "clients-ca.pem")
    return folder


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_accepted(text: str, certificates: Path) -> None:
    text = text.replace("/etc/sentinel/tls", str(certificates))
    result = checking.check_text(text, "sentinel.toml", Settings.from_environ(SECRETS))
    assert [str(finding) for finding in result.errors] == []
