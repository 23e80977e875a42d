"""Acting outside: real servers and processes on the other end, done once, written down in a dry run."""

from __future__ import annotations

import hmac
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import msgspec
import pytest

from gateway.domain.plan import Action, ActionKind, ActionState, Risk
from gateway.domain.policy import OutsideCommand
from gateway.errors import RemedyError, UnknownOutcomeError
from gateway.remediate.actions.aws import RunAws
from gateway.remediate.actions.kubernetes import RunKubernetes
from gateway.remediate.actions.outside import RunOutside
from gateway.remediate.actions.ssh import RunSsh
from gateway.remediate.actions.webhook import CallWebhook

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000.0
ACTION = Action(
    id="a-1",
    incident_id="in-1",
    kind=ActionKind.RUN_OUTSIDE,
    upstream="payments",
    target="",
    ttl_s=0.0,
    risk=Risk.MODERATE,
    risk_reason="",
    effect="",
    undo="",
    success_signal="",
    state=ActionState.RUNNING,
    created_at=NOW,
    expires_at=NOW + 60,
    command="fix",
)


def command(kind: str, do: str = "", **settings: str) -> OutsideCommand:
    given = tuple((name, value) for name, value in settings.items())
    return OutsideCommand("fix", kind, "payments", do=do, dry_run=False, timeout_s=20.0, settings=given)


def nothing_refused(_scheme: str, _address: str) -> str:
    return ""


class Api(ThreadingHTTPServer):
    """Answers as ``answers`` says, by method and path without query; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.drops = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fields = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, fields, body))
        if self.server.drops:
            self.close_connection = True
            return
        status, value = self.server.answers.get((self.command, self.path.partition("?")[0]), (404, {}))
        answer = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = _serve  # noqa: N815 - the library's names

    def log_message(self, *_args: object) -> None:
        """Quiet."""


@contextmanager
def api():
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


# A dry run.


class Forbidden:
    async def run(self, command, action, now):
        raise AssertionError("a dry run does nothing")


async def test_a_dry_run_is_written_down_and_nothing_is_done():
    dry = msgspec.structs.replace(command("ssh", host="db-1", command="true"), dry_run=True)
    done = await RunOutside({"ssh": Forbidden()}, lambda: (dry,)).execute(ACTION, NOW)
    assert (done.state, done.dry) == (ActionState.EXECUTED, True)
    assert "db-1" in done.note and "nothing was changed" in done.note


async def test_a_command_that_was_taken_out_of_the_configuration_is_not_run():
    with pytest.raises(RemedyError, match="fix"):
        await RunOutside({"ssh": Forbidden()}, tuple).execute(ACTION, NOW)


# Webhook.


async def test_a_webhook_is_signed_and_names_the_action_it_is_for():
    with api() as server:
        server.answers["POST", "/hook"] = (202, {})
        secrets = {"HOOK_URL": f"{server.url}/hook", "HOOK_KEY": "key"}
        doer = CallWebhook(secrets.get, nothing_refused)
        await doer.run(command("webhook", url_env="HOOK_URL", secret_env="HOOK_KEY"), ACTION, NOW)
    _, _, fields, body = server.asked[0]
    expected = hmac.new(b"key", f"{NOW:.0f}.".encode() + body, "sha256").hexdigest()
    assert fields["x-sentinel-signature"] == f"t={NOW:.0f},v1={expected}"
    assert fields["idempotency-key"] == "a-1"
    assert json.loads(body)["action"] == "fix"


async def test_a_webhook_that_refuses_was_not_done_and_one_that_breaks_off_is_unknown():
    with api() as server:
        server.answers["POST", "/hook"] = (409, {})
        doer = CallWebhook({}.get, nothing_refused)
        with pytest.raises(RemedyError, match="409"):
            await doer.run(command("webhook", url=f"{server.url}/hook"), ACTION, NOW)
        server.drops = True
        with pytest.raises(UnknownOutcomeError):
            await doer.run(command("webhook", url=f"{server.url}/hook"), ACTION, NOW)
    assert len(server.asked) == 2, "nothing is sent twice"


async def test_a_webhook_nobody_listens_at_was_not_done():
    with api() as server:
        url = server.url
    with pytest.raises(RemedyError):
        await CallWebhook({}.get, nothing_refused).run(command("webhook", url=url), ACTION, NOW)


# SSH.


def fake_ssh(tmp_path, body: str) -> str:
    script = tmp_path / "ssh"
    script.write_text(f"#!{sys.executable}\nimport json, pathlib, sys, time\n{body}\n")
    script.chmod(0o755)
    return str(script)


async def test_ssh_gets_a_fixed_list_of_arguments_and_never_asks(tmp_path):
    told = tmp_path / "told"
    program = fake_ssh(
        tmp_path, f"pathlib.Path({str(told)!r}).write_text(json.dumps(sys.argv[1:])); print('restarted')"
    )
    wanted = command("ssh", host="db-1", user="ops", port="2222", command="systemctl restart payments; true")
    note = await RunSsh(program).run(wanted, ACTION, NOW)
    arguments = json.loads(told.read_text())
    assert arguments[-3:] == ["--", "db-1", "systemctl restart payments; true"]
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ops", "2222"} <= set(arguments)
    assert "restarted" in note


@pytest.mark.parametrize(("status", "error"), [(1, RemedyError), (255, UnknownOutcomeError)], ids=["command", "ssh"])
async def test_a_command_that_fails_is_told_from_an_ssh_that_fails(tmp_path, status, error):
    program = fake_ssh(tmp_path, f"print('no such unit'); sys.exit({status})")
    with pytest.raises(error, match="no such unit"):
        await RunSsh(program).run(command("ssh", host="db-1", command="x"), ACTION, NOW)


async def test_a_command_that_hangs_is_ended_and_its_outcome_is_unknown(tmp_path):
    slow = msgspec.structs.replace(command("ssh", host="db-1", command="x"), timeout_s=0.5)
    with pytest.raises(UnknownOutcomeError):
        await RunSsh(fake_ssh(tmp_path, "time.sleep(600)")).run(slow, ACTION, NOW)


async def test_what_a_command_prints_is_cut(tmp_path):
    program = fake_ssh(tmp_path, "print('x' * 1_000_000)")
    assert len(await RunSsh(program).run(command("ssh", host="db-1", command="x"), ACTION, NOW)) < 400


# Kubernetes.

BASE = "/apis/apps/v1/namespaces/shop"
PLACE = {"namespace": "shop", "deployment": "payments", "token_env": "KUBE_TOKEN"}


def kube(server: Api, do: str, **more: str):
    doer = RunKubernetes({"KUBE_TOKEN": "a token"}.get, nothing_refused)
    return doer.run(command("kubernetes", do, api=server.url, **PLACE, **more), ACTION, NOW)


def deployment(revision: int) -> dict[str, Any]:
    return {
        "metadata": {"uid": "u-1", "annotations": {"deployment.kubernetes.io/revision": str(revision)}},
        "spec": {"selector": {"matchLabels": {"app": "payments"}}},
    }


def replica_set(revision: int, image: str, owner: str = "u-1") -> dict[str, Any]:
    return {
        "metadata": {
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
        "spec": {
            "template": {
                "metadata": {"labels": {"app": "payments", "pod-template-hash": "abc"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            }
        },
    }


async def test_a_restart_is_an_annotation_on_the_template():
    with api() as server:
        server.answers["PATCH", f"{BASE}/deployments/payments"] = (200, {})
        await kube(server, "restart")
    _, _, fields, body = server.asked[0]
    assert fields["authorization"] == "Bearer a token"
    assert fields["content-type"] == "application/strategic-merge-patch+json"
    annotations = json.loads(body)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"kubectl.kubernetes.io/restartedAt": "2023-11-14T22:13:20Z"}


async def test_scaling_says_from_how_many_to_how_many():
    with api() as server:
        path = f"{BASE}/deployments/payments/scale"
        server.answers["GET", path] = (200, {"spec": {"replicas": 3}})
        server.answers["PATCH", path] = (200, {})
        assert "from 3 to 6" in await kube(server, "scale", replicas="6")
    assert json.loads(server.asked[-1][3]) == {"spec": {"replicas": 6}}


async def test_rolling_back_takes_the_template_before_and_is_guarded_against_another_deploy():
    with api() as server:
        server.answers["GET", f"{BASE}/deployments/payments"] = (200, deployment(7))
        sets = [replica_set(7, "v7"), replica_set(4, "v4"), replica_set(6, "v6"), replica_set(5, "other", owner="u-2")]
        server.answers["GET", f"{BASE}/replicasets"] = (200, {"items": sets})
        server.answers["PATCH", f"{BASE}/deployments/payments"] = (200, {})
        assert "from revision 7 to 6" in await kube(server, "undo")
    guard, patch = json.loads(server.asked[-1][3])
    assert (guard["op"], guard["value"]) == ("test", "7")
    assert patch["value"]["spec"]["containers"][0]["image"] == "v6"
    assert "pod-template-hash" not in patch["value"]["metadata"]["labels"]


async def test_a_first_release_cannot_be_rolled_back():
    with api() as server:
        server.answers["GET", f"{BASE}/deployments/payments"] = (200, deployment(1))
        server.answers["GET", f"{BASE}/replicasets"] = (200, {"items": [replica_set(1, "v1")]})
        with pytest.raises(RemedyError, match="no earlier release"):
            await kube(server, "undo")


async def test_a_cluster_that_forbids_it_says_what_is_missing():
    with api() as server:
        server.answers["PATCH", f"{BASE}/deployments/payments"] = (403, {})
        with pytest.raises(RemedyError, match="service account"):
            await kube(server, "restart")


# AWS, as far as it goes without the library.


class RefusedError(Exception):
    response: ClassVar = {"Error": {"Code": "AccessDeniedException"}}


class ReadTimeoutError(RefusedError):
    """Of the name botocore's has."""


class Aws:
    def __init__(self, health: tuple[str, ...] = (), error: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._health, self._error = health, error

    def __getattr__(self, name: str):
        def call(**given: Any) -> dict[str, Any]:
            self.calls.append((name, given))
            if self._error is not None:
                raise self._error
            ill = [{"InstanceId": f"i-{number}", "HealthStatus": one} for number, one in enumerate(self._health)]
            return {"AutoScalingGroups": [{"Instances": ill}]}

        return call

    async def run(self, do: str, **settings: str) -> str:
        doer = RunAws(lambda _service, _command: self, failures=(RefusedError,))
        return await doer.run(command("aws", do, region="eu-central-1", **settings), ACTION, NOW)


async def test_aws_ends_the_one_unhealthy_instance_and_keeps_the_group_as_large():
    aws = Aws(("Healthy", "Unhealthy"))
    await aws.run("terminate", group="payments")
    assert aws.calls[-1][1] == {"InstanceId": "i-1", "ShouldDecrementDesiredCapacity": False}


async def test_aws_ends_nothing_when_several_instances_are_unhealthy():
    aws = Aws(("Unhealthy", "Unhealthy"))
    with pytest.raises(RemedyError, match="2 unhealthy"):
        await aws.run("terminate", group="payments")
    assert len(aws.calls) == 1


async def test_what_aws_refuses_was_not_done_and_what_it_does_not_answer_is_unknown():
    with pytest.raises(RemedyError, match="AccessDenied"):
        await Aws(error=RefusedError()).run("redeploy", cluster="c", service="s")
    with pytest.raises(UnknownOutcomeError):
        await Aws(error=ReadTimeoutError()).run("redeploy", cluster="c", service="s")


async def test_without_the_library_aws_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    doer = RunAws(failures=(RefusedError,))
    with pytest.raises(RemedyError, match="boto3"):
        await doer.run(command("aws", "redeploy", cluster="c", service="s"), ACTION, NOW)
