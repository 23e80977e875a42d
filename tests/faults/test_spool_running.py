"""What a running gateway makes of a broken spool: set aside what cannot be read, drop what has no room, count both."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import msgspec

from gateway.collect import frames, segments
from gateway.domain.traffic import BatchHeader
from tests import running, servers
from tests.collect_rows import row
from tests.scenarios import shop

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "another-0123456789abcdef-7"  # a worker's life that ended


def batch(first: int, rows: list[tuple[object, ...]]) -> bytes:
    header = BatchHeader(worker=STREAM, first_sequence=first, count=len(rows), dropped=0, counters={})
    return bytes(frames.encode(header, rows))


def test_what_cannot_be_read_is_set_aside_and_the_rest_is_stored(tmp_path: Path) -> None:
    with running.origin() as origin, running.gateway(tmp_path, running.config(origin.port)) as gateway:
        spool = gateway.run_dir / "spool"
        good = batch(0, [row(id="good-1"), row(id="good-2"), row(id="good-3", status="no number")])
        torn = bytearray(batch(3, [row(id="bad-1"), row(id="bad-2")]))
        torn[-5] ^= 0xFF
        new = spool / "broken.tmp"
        new.write_bytes(good + bytes(torn))
        new.rename(spool / segments.segment_name(STREAM, 1))

        def stored() -> set[str]:
            return {record["id"] for record in gateway.records()}

        gateway.wait(lambda: {"good-1", "good-2"} <= stored(), 10, "what can be read is stored")
        assert httpx2.get(f"{gateway.url}/after").status_code == 200
        gateway.wait(lambda: any(one["path"] == "/after" for one in gateway.records()), 10, "and so is what follows")
        gateway.wait(
            lambda: not (spool / segments.segment_name(STREAM, 1)).exists(), 10, "the segment is out of the way"
        )
        gateway.wait(
            lambda: shop.metric(gateway, 'sentinel_records_total{outcome="poisoned"}') == 1, 5, "the row is counted"
        )
        aside = {path.name: path.read_bytes() for path in (spool / "poison").iterdir()}
        assert any(good + bytes(torn) == content for content in aside.values()), "the broken segment is kept whole"
        rows = [content for name, content in aside.items() if name.endswith(".rows")]
        assert [one[0] for one in msgspec.msgpack.decode(rows[0])] == ["good-3"]
        assert stored().isdisjoint({"bad-1", "bad-2", "good-3"})
        log = gateway.log.read_text()
        assert "spool.corrupt" in log
        assert "ship.poisoned" in log
        assert "Traceback" not in log


def test_a_spool_without_room_drops_the_oldest_counts_them_and_nobody_waits(tmp_path: Path) -> None:
    with servers.postgres_server() as database, running.origin() as origin:
        text = running.config(origin.port, more='[log]\nspool_max = "1MiB"\n')
        gateway = running.Gateway(tmp_path, text, {"SENTINEL_STORE__URL": database.url})
        try:
            assert gateway.sentinel("migrate", "up", "-c", str(gateway.config)).returncode == 0
            gateway.start()
            database.stop()
            gateway.wait(lambda: not gateway.ready(), 20, "the store is away")
            path = "/" + "x" * 1500  # a record of about 2 KiB

            def caller(_number: int) -> set[int]:
                with httpx2.Client(base_url=gateway.url) as client:
                    return {client.get(path).status_code for _ in range(200)}

            with ThreadPoolExecutor(4) as callers:
                assert set().union(*callers.map(caller, range(4))) == {200}
            held = sum(one.size for stream in segments.listing(gateway.run_dir / "spool").values() for one in stream)
            assert held <= 1.3 * 1024 * 1024
            database.start()
            gateway.wait(gateway.ready, 40, "the store is back")

            def counted(outcome: str) -> float:
                return shop.metric(gateway, f'sentinel_records_total{{outcome="{outcome}"}}')

            gateway.wait(lambda: counted("stored") + counted("dropped") == 800, 20, "each is stored or counted")
            assert counted("dropped") > 0
            assert counted("stored") > 200
            assert "spool.segment_dropped" in gateway.log.read_text()
        finally:
            gateway.close()
