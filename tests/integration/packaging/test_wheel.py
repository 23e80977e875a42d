"""What people install: the wheel holds everything it needs and nothing else, and works from an empty folder."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import httpx2
import pytest

from gateway import __version__
from gateway.resources import folder
from tests.integration.packaging.running import clean_environ, hello_service, run, started
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[3]


def files_below(path: Path) -> list[Path]:
    return [
        file.relative_to(path)
        for file in path.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
    ]


def test_the_wheel_holds_the_whole_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = {f"gateway/{file.as_posix()}" for file in files_below(ROOT / "gateway")} - names
    assert not missing


@pytest.mark.parametrize("name", ["lua", "migrations", "dashboards"])
def test_the_wheel_carries_the_folders_that_stand_beside_the_package(wheel: Path, name: str) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"gateway/_bundled/{name}/{file.as_posix()}" for file in files_below(folder(name))}
    assert wanted and wanted <= names


def test_the_wheel_carries_the_scenarios_of_the_load_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    scenarios = folder("loadtests") / "scenarios"
    wanted = {f"gateway/_bundled/loadtests/scenarios/{file.as_posix()}" for file in files_below(scenarios)}
    assert wanted and wanted <= names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"gateway", f"sentinelstack-{__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".env", ".pem", ".db", ".pyc", ".log")) or "/test" in name]


def test_the_installed_package_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "import gateway, json; from gateway.resources import folder;"
        "print(json.dumps([gateway.__file__, *(str(folder(name)) for name in ('lua', 'migrations', 'dashboards'))]))"
    )
    done = run([str(installed / "python"), "-c", code], folder=tmp_path, environ=clean_environ())
    assert done.returncode == 0, done.stderr
    assert all(place.startswith(str(installed.parent)) for place in json.loads(done.stdout))


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    done = run([str(installed / "sentinel"), "--version"], folder=tmp_path, environ=clean_environ())
    assert (done.returncode, done.stdout) == (0, f"sentinel {__version__}\n")


def test_the_schema_goes_up_and_down_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    def sentinel(*arguments: str) -> tuple[int, str]:
        done = run([str(installed / "sentinel"), *arguments], folder=tmp_path, environ=clean_environ())
        return done.returncode, done.stdout + done.stderr

    assert sentinel("init")[0] == 0
    code, text = sentinel("check")
    assert (code, "sentinel.toml is good" in text) == (0, True), text
    assert sentinel("migrate", "status")[0] == 1
    code, text = sentinel("migrate", "up")
    assert code == 0, text
    assert sentinel("migrate", "status")[0] == 0
    code, text = sentinel("migrate", "down", "base", "--yes")
    assert (code, "nothing" in text) == (0, True), text
    assert sentinel("migrate", "status")[0] == 1


def test_the_installed_gateway_serves_requests_and_its_pages(installed: Path, tmp_path: Path) -> None:
    port, admin_port = free_port(), free_port()
    environ = clean_environ({"SENTINEL_ADMIN__BIND": f"127.0.0.1:{admin_port}"})
    with hello_service() as hello:
        command = [str(installed / "sentinel"), "serve", "--upstream", f"http://127.0.0.1:{hello}", "--port", str(port)]
        with started(command, folder=tmp_path, environ=environ, log=tmp_path / "serve.log") as program:
            admin = f"http://127.0.0.1:{admin_port}"
            program.until(lambda: httpx2.get(f"{admin}/health/ready").is_success, "readiness")
            answer = httpx2.get(f"http://127.0.0.1:{port}/anything")
            pages = {
                path: httpx2.get(admin + path, follow_redirects=True).status_code
                for path in ("/dashboard", "/docs", "/openapi.json", "/metrics", "/")
            }
            assert program.stop() == 0, program.words
    assert (answer.status_code, answer.json()) == (200, {"hello": "world"})
    assert set(pages.values()) == {200}, pages
