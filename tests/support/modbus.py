"""A Modbus master of a few lines for tests: it shares no code with bridge or simulator."""

import asyncio
import struct
from types import TracebackType
from typing import Self


def tcp(unit: int, address: int, count: int, *, transaction: int = 1, function: int = 4) -> bytes:
    """Return a Modbus TCP request to read registers."""
    return struct.pack(">HHHBBHH", transaction, 0, 6, unit, function, address, count)


def floats(answer: bytes) -> tuple[float, ...]:
    """Return the values of a Modbus TCP answer, the more significant register first."""
    return struct.unpack(f">{answer[8] // 4}f", answer[9:])


class Master:
    """One connection; `receive` returns what arrives, `b""` when nothing does in time."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.writer.close()

    async def ask(self, request: bytes, timeout_s: float = 2) -> bytes:
        """Send a request and return the first bytes that arrive."""
        self.writer.write(request)
        return await self.receive(timeout_s)

    async def receive(self, timeout_s: float = 2) -> bytes:
        """Return the next bytes that arrive."""
        try:
            return await asyncio.wait_for(self.reader.read(1000), timeout_s)
        except TimeoutError:
            return b""

    async def closed(self, timeout_s: float = 2) -> str:
        """Return how the other side ended the connection: 'close' or 'reset'; '' if it did not."""
        try:
            while await asyncio.wait_for(self.reader.read(1000), timeout_s):
                pass
        except TimeoutError:
            return ""
        except ConnectionResetError:
            return "reset"
        return "close"
