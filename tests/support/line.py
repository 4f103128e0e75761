"""A network line between a client and a service on this machine, which a test can cut or stall."""

import contextlib
import selectors
import socket
import threading
from typing import Self

from tests.support.parts import free_port


class Line:
    """Forwards connections to a port of 127.0.0.1 in a thread of its own."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._is_cut = self._is_stalled = self._is_abandoned = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def cut(self) -> None:
        """End all connections and refuse new ones until `restore`."""
        self._is_cut = True

    def stall(self) -> None:
        """Forward nothing until `restore`; connections stay open."""
        self._is_stalled = True

    def abandon(self) -> None:
        """Forward nothing more of the connections that are open, without ending them."""
        self._is_abandoned = True

    def restore(self) -> None:
        """Forward again."""
        self._is_cut = self._is_stalled = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        for each in (*self._peers, self._listener):
            each.close()
        self._selector.close()

    def _forward(self) -> None:
        while not self._stopped.is_set():
            self._obey()
            for key, _ in [] if self._is_stalled else self._selector.select(0.02):
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if source is self._listener:
                    self._accept()
                elif source in self._peers:
                    self._pass_on(source)

    def _obey(self) -> None:
        if self._is_stalled:
            self._stopped.wait(0.02)
        if self._is_cut:
            for each in list(self._peers):
                self._end(each)
        if self._is_abandoned:
            self._is_abandoned = False
            for each in self._peers:
                self._selector.unregister(each)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            if self._is_cut:
                raise ConnectionRefusedError
            service = socket.create_connection(("127.0.0.1", self._target), timeout=30)
        except OSError:
            client.close()
            return
        for one, other in ((client, service), (service, client)):
            one.settimeout(5)
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        try:
            received = source.recv(65_536)
            if received:
                self._peers[source].sendall(received)
                return
        except OSError:
            pass
        self._end(source)

    def _end(self, one: socket.socket) -> None:
        for each in (one, self._peers.get(one)):
            if each is not None and self._peers.pop(each, None) is not None:
                with contextlib.suppress(KeyError):  # abandoned
                    self._selector.unregister(each)
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
