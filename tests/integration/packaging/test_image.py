"""The image and the compose file, run without Docker: the same commands and variables, on real PostgreSQL and Redis.

Only addresses and folders are put in place of the container's.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from tests.integration.packaging.running import clean_environ, hello_service, run, started
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
SECRET = "0123456789abcdef0123456789abcdef"
STORED = 'sentinel_records_total{outcome="stored"} 1.0'
COUNTED = 'sentinel_limiter_calls_total{outcome="ok"} 1.0'  # a worker's own counters follow within a second


def last_stage() -> str:
    """The instructions of the image that is shipped, with continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return "FROM" + text.rpartition("\nFROM")[2]


def instruction(name: str) -> str:
    found = re.findall(rf"^{name}\s+(.*)$", last_stage(), re.MULTILINE)
    assert len(found) == 1, f"{name}: {found}"
    return str(found[0])


def environment_of_the_image() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", instruction("ENV")))


def compose_service(name: str) -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.prod.yml").read_text())["services"][name]
    return service


@dataclass
class Container:
    """What stands in for the container: its folders, ports and binaries, and the services around it."""

    home: Path
    bin: Path
    database: str
    redis: str
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)

    def command(self, words: list[str]) -> list[str]:
        return [self._here(word) for word in [str(self.bin / words[0]), *words[1:]]]

    def environ(self, compose: dict[str, str]) -> dict[str, str]:
        """The image's variables, over them those of the compose file, with an .env that is filled in."""
        given = {name: re.sub(r"\$\{(\w+)[^}]*\}", self._of_env_file, text) for name, text in compose.items()}
        given |= {"SENTINEL_STORE__URL": self.database, "SENTINEL_REDIS__URL": self.redis}
        image = {name: self._here(text) for name, text in environment_of_the_image().items() if name != "PATH"}
        return clean_environ({**image, **given, "SENTINEL_SERVER__PORT": str(self.port)})

    @staticmethod
    def _of_env_file(variable: re.Match[str]) -> str:
        return {"SENTINEL_JWT_SECRET": SECRET, "SENTINEL_DEBUG": "0"}.get(variable[1], "")

    def _here(self, word: str) -> str:
        for there, here in (
            ("/etc/sentinel", str(self.home / "etc")),
            ("/var/lib/sentinel", str(self.home / "var")),
            ("0.0.0.0:8001", f"127.0.0.1:{self.admin_port}"),
            ("127.0.0.1:8001", f"127.0.0.1:{self.admin_port}"),
            ("0.0.0.0", "127.0.0.1"),
        ):
            word = word.replace(there, here)
        return word


@pytest.fixture
def container(tmp_path: Path, installed: Path, postgres_database: str, redis_url: str) -> Iterator[Container]:
    """A container's surroundings, with a configuration as `sentinel init` writes it in front of a real service."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "var" / "run").mkdir(parents=True)
    with hello_service() as hello:
        init = run([str(installed / "sentinel"), "init", "-"], folder=tmp_path, environ=clean_environ())
        text = init.stdout.replace("127.0.0.1:9000", f"127.0.0.1:{hello}")
        (tmp_path / "etc" / "sentinel.toml").write_text(text)
        yield Container(tmp_path, installed, postgres_database, redis_url)


def test_every_source_that_the_dockerfile_copies_exists_and_reaches_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    text = (ROOT / "Dockerfile").read_text()
    copied = [words.split() for words in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)]
    sources = {source for words in copied for source in words[:-1]}
    assert {"gateway", "lua", "migrations", "dashboards", "pyproject.toml"} <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert {f"!{source}", f"!{source.split('/')[0]}"} & set(ignored), f".dockerignore keeps {source} out"


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert int(instruction("USER")) > 0


def test_migration_and_gateway_of_the_compose_file_run_with_the_commands_of_the_image(container: Container) -> None:
    gateway, migrate = compose_service("gateway"), compose_service("migrate")
    entrypoint: list[str] = json.loads(instruction("ENTRYPOINT"))
    healthcheck = container.command(json.loads(instruction("HEALTHCHECK").partition("CMD")[2]))
    environ = container.environ(gateway["environment"])
    folder = container.home / "var"
    assert "command" not in gateway, "the gateway runs the image's CMD"

    assert run(healthcheck, folder=folder, environ=environ).returncode != 0, "nothing is running yet"
    done = run(container.command(entrypoint + migrate["command"]), folder=folder, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr

    serve = container.command(entrypoint + json.loads(instruction("CMD")))
    with started(serve, folder=folder, environ=environ, log=container.home / "serve.log") as program:
        admin = f"http://127.0.0.1:{container.admin_port}"
        program.until(lambda: httpx2.get(f"{admin}/health/ready").is_success, "readiness")
        check = run(healthcheck, folder=folder, environ=environ)
        answer = httpx2.get(f"http://127.0.0.1:{container.port}/hello")
        program.until(lambda: STORED in metrics(admin), "the stored record in the metrics")
        program.until(lambda: COUNTED in metrics(admin), "the limit counted in Redis")
        assert program.stop() == 0, program.words
    assert check.returncode == 0, check.stderr
    assert (answer.status_code, answer.json()) == (200, {"hello": "world"})


def metrics(admin: str) -> str:
    """As Prometheus of the compose file asks, which calls the gateway by its service name."""
    answer = httpx2.get(f"{admin}/metrics", headers={"Host": "gateway:8001"})
    assert answer.status_code == 200
    return answer.text


def test_a_gateway_without_its_migration_says_what_to_run(container: Container) -> None:
    entrypoint: list[str] = json.loads(instruction("ENTRYPOINT"))
    environ = container.environ(compose_service("gateway")["environment"])
    done = run(
        container.command(entrypoint + json.loads(instruction("CMD"))),
        folder=container.home / "var",
        environ=environ,
    )
    assert done.returncode == 1
    assert "sentinel migrate up" in done.stdout + done.stderr
