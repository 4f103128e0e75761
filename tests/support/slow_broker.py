"""A broker that accepts connections and subscriptions, and acknowledges the latter when told to."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

CONNECT, SUBSCRIBE = 1, 8
CONNACK = b"\x20\x02\x00\x00"


class SlowBroker:
    """Serves one client; `acknowledge` answers its subscription."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.subscribed = threading.Event()
        self._may_answer = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def acknowledge(self) -> None:
        """Answer the subscription."""
        self._may_answer.set()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as client:
            while packet := client.recv(4096):
                if packet[0] >> 4 == CONNECT:
                    client.sendall(CONNACK)
                elif packet[0] >> 4 == SUBSCRIBE:
                    self.subscribed.set()
                    self._may_answer.wait()
                    client.sendall(b"\x90\x03" + packet[2:4] + b"\x00")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.acknowledge()
        self._listener.close()
