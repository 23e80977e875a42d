"""Who is measured beside whom, and how each is started to do the same work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from loadtests import lab

HAPROXY, NGINX, PLAIN = "haproxy", "nginx+lua", "starlette+httpx2"
LANE, ASGI = "sentinelstack", "sentinelstack asgi"
COMPILED, COMPILED_ASGI = "compiled", "compiled asgi"  # the same, as `make compiled` built it
ALL = (HAPROXY, NGINX, PLAIN, LANE, COMPILED, ASGI, COMPILED_ASGI)
PEERS = (HAPROXY, NGINX)  # those whose ratio is a column
BUILD = Path(__file__).parents[1] / "build/compiled"
START_S = 40.0


class Contender(NamedTuple):
    """Who is measured."""

    name: str
    port: int
    process: lab.Process


def usable() -> tuple[str, ...]:
    """Who can take part here: the compiled ones once they are built."""
    return ALL if BUILD.is_dir() else tuple(name for name in ALL if name not in {COMPILED, COMPILED_ASGI})


def programs(names: list[str]) -> list[str]:
    """What must be installed for these."""
    return ["nginx", "redis-server", "wrk", *(["haproxy"] if HAPROXY in names else [])]


def start(stage: lab.Lab, names: list[str], path: str, workers: int) -> list[Contender]:
    """Start these in their order, and wait until each does its work.

    One worker has processor 0 to itself; several share all there are with the load.

    Raises:
        lab.StartError: somebody did not, with the end of what it said.
    """
    cpu = lab.CONTENDER_CPU if workers == 1 else f"0-{(os.cpu_count() or 1) - 1}"
    started = [Contender(name, *_one(stage, name, cpu, workers)) for name in ALL if name in names]
    for contender in started:
        lab.wait_until_serving(contender.process, contender.port, path, within_s=START_S)
    return started


def _one(stage: lab.Lab, name: str, cpu: str, workers: int) -> tuple[int, lab.Process]:
    port = lab.free_port()
    if name == HAPROXY:
        command = ["haproxy", "-db", "-f", stage.render("haproxy.cfg", port, workers=workers)]
        return port, stage.start(name, command, cpu=cpu)
    if name == NGINX:
        command = ["nginx", "-p", stage.folder, "-c", stage.render("lua.nginx.conf", port, workers=workers)]
        env = {"BENCH_SECRET": lab.SECRET, "BENCH_REDIS_PORT": str(stage.redis_port)}
        return port, stage.start(name, command, cpu=cpu, env=env)
    if name == PLAIN:
        return port, stage.start_gateway(port, name="plain_starlette", cpu=cpu, WORKERS=str(workers))
    more = {"WORKERS": str(workers), "DRIVER": "asgi" if name in {ASGI, COMPILED_ASGI} else "lane"}
    if name in {COMPILED, COMPILED_ASGI}:
        more["BUILD"] = str(BUILD)
    return port, stage.start_gateway(port, cpu=cpu, **more)
