"""What the transport replaces in pymodbus is still needed. A failure here means: fixed upstream.

Then check the release notes and remove the replacement from gateway_bridge/modbus/transport.py.
"""

import asyncio
import contextlib
import inspect
import struct
from collections.abc import AsyncIterator, Callable

import pymodbus
import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException
from pymodbus.framer import FramerType
from pymodbus.logging import Log
from pymodbus.pdu import ModbusPDU
from pymodbus.transaction import TransactionManager

from gateway_bridge.modbus import transport
from simulator.frames import encode_rtu

TIMEOUT_S = 0.2
PDU = bytes([4, 8]) + bytes(8)
"""Four registers, as function 4 returns them."""
Answer = Callable[[bytes], bytes]


@contextlib.asynccontextmanager
async def plain_client(
    answer: Answer, framer: FramerType = FramerType.SOCKET
) -> AsyncIterator[AsyncModbusTcpClient]:
    """Pymodbus as it is, connected to a gateway that gives this answer to each request."""
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while request := await reader.read(100):
                writer.write(answer(request))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = AsyncModbusTcpClient(
        "127.0.0.1", port=port, framer=framer, timeout=TIMEOUT_S, retries=0, reconnect_delay=0
    )
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()
        await closed.wait()
        server.close()


def read(answer: Answer, framer: FramerType = FramerType.SOCKET) -> ModbusPDU:
    """What pymodbus returns for four registers of unit 1."""

    async def story() -> ModbusPDU:
        async with plain_client(answer, framer) as client:
            return await client.read_input_registers(0, count=4, device_id=1)

    return asyncio.run(story())


def tcp(request: bytes, pdu: bytes, *, transaction: int | None = None) -> bytes:
    sent = struct.unpack(">H", request[:2])[0] if transaction is None else transaction
    return struct.pack(">HHHB", sent, 0, len(pdu) + 1, 1) + pdu


def test_the_version_that_the_transport_names_is_installed() -> None:
    assert f"pymodbus {pymodbus.__version__}," in inspect.getdoc(transport)


@pytest.mark.parametrize("pdu", [bytes([4, 4]) + bytes(4), bytes([3, 8]) + bytes(8)])
def test_an_answer_of_another_length_or_function_is_accepted(pdu: bytes) -> None:
    answer = read(lambda request: tcp(request, pdu))

    assert not answer.isError()
    assert (answer.function_code, len(answer.registers)) != (4, 4)


def test_an_answer_with_id_0_is_accepted_at_any_time() -> None:
    assert not read(lambda request: tcp(request, PDU, transaction=0)).isError()


def test_an_undecodable_answer_escapes_into_the_event_loop() -> None:
    escaped: list[Exception] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: escaped.append(context["exception"]))
        async with plain_client(lambda request: tcp(request, bytes([0x63, 0]))) as client:
            with pytest.raises(Exception):  # noqa: B017, PT011 - any error will do
                await client.read_input_registers(0, count=4, device_id=1)

    asyncio.run(story())

    assert escaped


def test_an_rtu_answer_after_stray_bytes_is_lost() -> None:
    stray = bytes([1, 4, 2, 0])

    with pytest.raises(ModbusIOException):
        read(lambda _request: stray + encode_rtu(1, PDU), FramerType.RTU)


def test_a_long_answer_that_comes_twice_is_lost() -> None:
    long_pdu = bytes([4, 160]) + bytes(160)

    with pytest.raises(ModbusIOException):
        read(lambda request: 2 * tcp(request, long_pdu))


def test_the_timeout_waits_for_a_future_in_a_task_of_its_own() -> None:
    assert "asyncio.wait_for(" in inspect.getsource(TransactionManager.execute)


def test_frames_are_kept_for_the_log() -> None:
    assert "cls.frame_dump.append(" in inspect.getsource(Log.transport_dump)
