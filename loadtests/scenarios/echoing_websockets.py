"""WebSockets that echo text and binary of many sizes, ping, and are closed and opened again.

Run by `sentinel loadtest websocket`, or by hand:
locust -f loadtests/scenarios/echoing_websockets.py --headless --host URL
The service behind must send every message back.
"""

from __future__ import annotations

import random
import time

import websocket as client
from locust import User, constant, task

from gateway.loadtest import judging
from gateway.loadtest.watching import Watch

SIZES = (0, 1, 125, 126, 4_000, 65_535, 65_536, 70_000)  # around the lengths at which a frame's head changes
MESSAGES = 20  # per connection
TIMEOUT_S = 10.0
OPENED, ECHOED, CLOSED = "opened", "echoed", "closed"
NORMAL = 1000


def judge(seen: Watch) -> list[judging.Check]:
    """What must hold of WebSockets."""
    echoed = seen.seen.group(ECHOED).requests
    return [
        judging.none_failed(seen.seen),
        judging.all_true("every message comes back as it was sent", seen.counts.get("identical", 0), echoed),
        judging.all_true(
            "every close is answered in order", seen.counts.get("closed well", 0), seen.seen.group(CLOSED).requests
        ),
    ]


watch = Watch(judge)


class Talker(User):
    """Opens, talks, closes."""

    wait_time = constant(0.01)

    @task
    def conversation(self) -> None:
        """One connection with its messages."""
        url = (self.host or "").replace("http", "ws", 1) + watch.settings.websocket_path
        headers = [f"{name}: {value}" for name, value in watch.settings.bearer(f"talker-{id(self)}").items()]
        began_s = time.time()
        try:
            socket = client.create_connection(url, timeout=TIMEOUT_S, header=headers)
        except (OSError, client.WebSocketException) as error:
            watch.add(OPENED, began_s, 0, f"{type(error).__name__}: {error}")
            return
        watch.add(OPENED, began_s, 0)
        try:
            for _ in range(MESSAGES):
                self.one(socket)
            socket.ping("still there")
            began_s = time.time()
            self.close(socket, began_s)
        except (OSError, client.WebSocketException) as error:
            watch.add(ECHOED, began_s, 0, f"{type(error).__name__}: {error}")
        finally:
            socket.shutdown()

    def one(self, socket: client.WebSocket) -> None:
        """One message and its echo."""
        size = random.choice(SIZES)
        text = random.random() < 0.5  # noqa: PLR2004 - half of them
        sent = random.choice("aß€🛡") * size if text else random.randbytes(size)
        began_s = time.time()
        if isinstance(sent, str):
            socket.send(sent)
        else:
            socket.send_binary(sent)
        came = socket.recv()
        same = came == sent
        watch.count("identical", int(same))
        watch.add(ECHOED, began_s, 2 * size, "" if same else "what came back is not what was sent")

    def close(self, socket: client.WebSocket, began_s: float) -> None:
        """Close, and read on until the other side's close frame."""
        socket.send_close(NORMAL, b"done")
        while True:
            opcode, data = socket.recv_data(control_frame=True)
            if opcode == client.ABNF.OPCODE_CLOSE:
                break
        good = int.from_bytes(data[:2], "big") == NORMAL
        watch.count("closed well", int(good))
        watch.add(CLOSED, began_s, 0, "" if good else f"closed with {data[:2].hex()}")
