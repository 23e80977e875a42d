"""AWS through boto3: start an ECS service anew, set an Auto Scaling group's size, or end its unhealthy instance.

boto3 is an extra, imported when the first such command runs; credentials come by its own chain (role, environment).
Its calls block, so they run in a thread; it is told to try once and to give up within the command's timeout.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from gateway.errors import RemedyError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.plan import Action
    from gateway.domain.policy import OutsideCommand

    Client = Callable[[str, OutsideCommand], Any]  # service, such as "ecs" → client

# What botocore raises when no answer came: the request may have been carried out.
_NO_ANSWER = frozenset({"ReadTimeoutError", "ConnectionClosedError", "ResponseStreamingError"})
_HEALTHY = "Healthy"


class RunAws:
    """Doer of ``kind = "aws"``.

    Args:
        client: makes the client of a service; by default boto3's.
        failures: what its calls raise; by default botocore's two roots.
    """

    def __init__(self, client: Client | None = None, failures: tuple[type[Exception], ...] = ()) -> None:
        self._client = client or boto3_client
        self._failures = failures

    async def run(self, command: OutsideCommand, action: Action, now: float) -> str:  # noqa: ARG002 - the Doer's form
        """Do what ``do`` says."""
        do = {"redeploy": self._redeploy, "capacity": self._capacity, "terminate": self._terminate}[command.do]
        try:
            async with asyncio.timeout(command.timeout_s + 5):
                return await asyncio.to_thread(do, command)
        except TimeoutError as error:
            raise UnknownOutcomeError(f"AWS did not answer within {command.timeout_s:g} s") from error

    def _redeploy(self, command: OutsideCommand) -> str:
        cluster, service = command.get("cluster"), command.get("service")
        ecs = self._client("ecs", command)
        self._called(lambda: ecs.update_service(cluster=cluster, service=service, forceNewDeployment=True))
        return f"ECS starts the tasks of {service} anew, one after the other."

    def _capacity(self, command: OutsideCommand) -> str:
        group, wanted = command.get("group"), int(command.get("capacity"))
        scaling = self._client("autoscaling", command)
        self._called(
            lambda: scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=wanted, HonorCooldown=True)
        )
        return f"The group {group} goes to {wanted} instances."

    def _terminate(self, command: OutsideCommand) -> str:
        group = command.get("group")
        scaling = self._client("autoscaling", command)
        found = self._called(lambda: scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group]), reads=True)
        groups = found.get("AutoScalingGroups", [])
        instances = groups[0].get("Instances", []) if groups else []
        ill = [one["InstanceId"] for one in instances if one.get("HealthStatus") != _HEALTHY]
        if len(ill) != 1:
            raise RemedyError(f"the group {group} has {len(ill)} unhealthy instances; one is ended where there is one")
        self._called(
            lambda: scaling.terminate_instance_in_auto_scaling_group(
                InstanceId=ill[0], ShouldDecrementDesiredCapacity=False
            )
        )
        return f"The unhealthy instance {ill[0]} of {group} is ended and replaced."

    def _called(self, call: Callable[[], Any], *, reads: bool = False) -> Any:
        failures = self._failures or _botocore_failures()
        try:
            return call()
        except failures as error:
            kind = type(error).__name__
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            if kind in _NO_ANSWER and not reads:
                raise UnknownOutcomeError(f"AWS gave no answer ({kind})") from error
            raise RemedyError(f"AWS refused: {code or kind}") from error


def _botocore_failures() -> tuple[type[Exception], ...]:
    found = importlib.import_module("botocore.exceptions")
    return (found.BotoCoreError, found.ClientError)


def boto3_client(service: str, command: OutsideCommand) -> Any:
    """A client that asks once and does not wait longer than the command may take."""
    try:
        boto3 = importlib.import_module("boto3")
        configured = importlib.import_module("botocore.config").Config(
            connect_timeout=min(5.0, command.timeout_s),
            read_timeout=command.timeout_s,
            retries={"total_max_attempts": 1},
        )
    except ImportError as error:
        raise RemedyError("boto3 is not installed", remedy="pip install boto3") from error
    return boto3.client(service, region_name=command.get("region"), config=configured)
