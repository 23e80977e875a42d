"""Kubernetes over its HTTP API: restart, scale, or roll back one deployment, with a service account's token.

Restarting and rolling back are what kubectl does (rollout restart, rollout undo): an annotation on the pod template,
and the template of the replica set before. What is read first guards what is written.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from gateway.errors import OutwardError, RemedyError, UnknownOutcomeError
from gateway.outward import Outward

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.plan import Action
    from gateway.domain.policy import OutsideCommand
    from gateway.outward import Answer

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"
_MOST_BYTES = 8 << 20  # replica sets of one deployment, with their whole templates


class RunKubernetes:
    """Doer of ``kind = "kubernetes"``.

    Args:
        secret: looks up the value of an environment variable by name.
        refusal: given scheme and address, why that address may not be asked; empty when it may.
    """

    def __init__(self, secret: Callable[[str], str | None], refusal: Callable[[str, str], str]) -> None:
        self._secret = secret
        self._refusal = refusal

    async def run(self, command: OutsideCommand, action: Action, now: float) -> str:  # noqa: ARG002 - the Doer's form
        """Do what ``do`` says."""
        async with Outward(
            self._refusal, timeout_s=command.timeout_s, verify=_trusted(command), step_s=command.timeout_s
        ) as outward:
            cluster = _Cluster(outward, command, self._token(command))
            if command.do == "restart":
                return await cluster.restart(now)
            if command.do == "scale":
                return await cluster.scale(int(command.get("replicas")))
            return await cluster.undo()

    def _token(self, command: OutsideCommand) -> str:
        if variable := command.get("token_env"):
            token = self._secret(variable)
        else:
            file = Path(command.get("token_file") or _ACCOUNT / "token")
            try:
                token = file.read_text("utf-8").strip()  # read anew each time: tokens are rotated
            except OSError as error:
                raise RemedyError(f"the token in {file} cannot be read: {error.strerror}") from error
        if not token:
            raise RemedyError("there is no token for the cluster", remedy="set token_env or token_file")
        return token


class _Cluster:
    """One deployment through one API server."""

    def __init__(self, outward: Outward, command: OutsideCommand, token: str) -> None:
        self._outward = outward
        self._token = token
        self._server = (command.get("api") or "https://kubernetes.default.svc").rstrip("/")
        self._namespace = f"/apis/apps/v1/namespaces/{quote(command.get('namespace') or 'default', safe='')}"
        self._path = f"{self._namespace}/deployments/{quote(command.get('deployment'), safe='')}"

    async def restart(self, now: float) -> str:
        """New pods of the same template, one after the other as the deployment's strategy says."""
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        annotations = {"kubectl.kubernetes.io/restartedAt": at}
        patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        await self._patch(self._path, "application/strategic-merge-patch+json", patch)
        return "Kubernetes restarts the pods one after the other."

    async def scale(self, replicas: int) -> str:
        """So many pods."""
        before = (await self._get(f"{self._path}/scale"))["spec"].get("replicas", 0)
        await self._patch(f"{self._path}/scale", "application/merge-patch+json", {"spec": {"replicas": replicas}})
        return f"Kubernetes goes from {before} to {replicas} replicas."

    async def undo(self) -> str:
        """The template of the newest replica set before the one in force."""
        deployment = await self._get(self._path)
        current = int(deployment["metadata"].get("annotations", {}).get(_REVISION, "0"))
        labels = deployment["spec"]["selector"].get("matchLabels", {})
        selector = quote(",".join(f"{name}={value}" for name, value in labels.items()), safe="")
        found = await self._get(f"{self._namespace}/replicasets?labelSelector={selector}&limit=100")
        owned = [one for one in found["items"] if _owner(one) == deployment["metadata"]["uid"]]
        earlier = [one for one in owned if 0 < _revision(one) < current]
        if not earlier:
            raise RemedyError("there is no earlier release of the deployment to go back to")
        chosen = max(earlier, key=_revision)
        template = chosen["spec"]["template"]
        template["metadata"].get("labels", {}).pop(_HASH, None)
        guard = f"/metadata/annotations/{_REVISION.replace('~', '~0').replace('/', '~1')}"
        patch = [
            {"op": "test", "path": guard, "value": str(current)},  # somebody else may deploy at this moment
            {"op": "replace", "path": "/spec/template", "value": template},
        ]
        await self._patch(self._path, "application/json-patch+json", patch)
        return f"Kubernetes goes back from revision {current} to {_revision(chosen)}."

    async def _get(self, path: str) -> Any:
        try:
            answer = await self._exchange("GET", path, "application/json", None)
        except OutwardError as error:
            raise RemedyError(str(error)) from error  # nothing was asked of it yet
        self._judge(answer)
        try:
            return msgspec.json.decode(answer.body)
        except msgspec.DecodeError as error:
            raise RemedyError("the cluster answered something that is not JSON, or far too much of it") from error

    async def _patch(self, path: str, media_type: str, patch: object) -> None:
        try:
            answer = await self._exchange("PATCH", f"{path}?fieldManager=sentinelstack", media_type, patch)
        except OutwardError as error:
            raise (UnknownOutcomeError if error.reached else RemedyError)(str(error)) from error
        self._judge(answer)

    async def _exchange(self, method: str, path: str, media_type: str, value: object) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "Content-Type": media_type}
        body = None if value is None else msgspec.json.encode(value)
        return await self._outward.exchange(
            method, self._server + path, headers=headers, most_bytes=_MOST_BYTES, body=body
        )

    def _judge(self, answer: Answer) -> None:
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return
        hints: dict[int, str] = {
            HTTPStatus.UNAUTHORIZED: "the token is not taken",
            HTTPStatus.FORBIDDEN: "the service account may not do this; give it get and patch on the deployment",
            HTTPStatus.NOT_FOUND: "there is no such deployment in that namespace",
            HTTPStatus.UNPROCESSABLE_ENTITY: "somebody else changed the deployment at the same moment",
        }
        why = hints.get(answer.status, "")
        raise RemedyError(f"the cluster answered {answer.status}" + (f": {why}" if why else ""))


def _trusted(command: OutsideCommand) -> ssl.SSLContext:
    """The cluster's own authority, as every pod finds it, or the one that is configured."""
    file = command.get("ca_file")
    if not file and not command.get("api") and (_ACCOUNT / "ca.crt").exists():
        file = str(_ACCOUNT / "ca.crt")
    try:
        return ssl.create_default_context(cafile=file or None)
    except (OSError, ssl.SSLError) as error:
        raise RemedyError(f"the certificates in {file} cannot be read") from error


def _revision(replica_set: Any) -> int:
    return int(replica_set["metadata"].get("annotations", {}).get(_REVISION, "0"))


def _owner(replica_set: Any) -> str:
    owners = replica_set["metadata"].get("ownerReferences", [])
    return next((str(one["uid"]) for one in owners if one.get("controller")), "")
