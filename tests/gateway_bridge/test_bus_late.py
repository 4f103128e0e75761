"""Late responses that bear the ids of their requests: nothing is waited out, nothing is wrong."""

import asyncio
import contextlib
import logging
import struct
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from gateway_bridge.address import TcpAddress
from gateway_bridge.modbus.errors import MeterFault
from gateway_bridge.modbus.transport import Second, Transport
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.poller import GatewayPoller
from simulator.bus import LineTiming
from simulator.simulator import Simulator
from tests.support.leaping import run_leaping
from tests.support.polling import Received, gateway_at, pin, polling, until

LINE = LineTiming(baud=38400)
INTERVAL_S = 0.5
SECOND = Second(0.3, lambda: 6)


@contextlib.asynccontextmanager
async def line(
    *units: int, **site: object
) -> AsyncIterator[tuple[Simulator, GatewayPoller, Received]]:
    """Meters behind a gateway that speaks Modbus TCP, read by a poller."""
    simulator = Simulator(units, timing=LINE)
    pin(simulator)
    site = {"interval_s": INTERVAL_S, "timeout_s": 1.0, "cost": LineCost(baud=LINE.baud)} | site
    async with simulator, polling(gateway_at(simulator, **site)) as (poller, received):  # type: ignore[arg-type]
        await until(lambda: all(len(received.of(str(unit))) > 2 for unit in units))
        yield simulator, poller, received


@pytest.mark.parametrize("units", [(1,), (1, 2, 3)])
def test_a_late_response_costs_no_reading_and_is_not_another_clients(
    units: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    seconds = 60

    async def story() -> None:
        async with line(*units) as (simulator, poller, received):
            before = len(received.readings)
            for _ in range(12):
                simulator.fault(None, "late", 1.5, times=1)
                await asyncio.sleep(seconds / 12)
            assert len(received.readings) - before >= len(units) * seconds / INTERVAL_S - 1
            assert [meter.state.timeouts for meter in poller.meters.values()] == [0] * len(units)
            assert not received.wrong()
            assert not poller.line.shared

    run_leaping(story())

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_silent_meter_is_probed_as_soon_as_a_late_response_of_it_arrives() -> None:
    async def story() -> None:
        async with line(1, 2) as (simulator, _, received):
            requests = simulator.statistics.requests
            for late_s in (30.0, 31.0, 32.0):
                simulator.fault(1, "late", late_s, times=1)
                await until(lambda n=requests[1]: requests[1] > n)
                began_s = time.monotonic()
                simulator.fault(1, "dead")
                await asyncio.sleep(began_s + late_s - 0.2 - time.monotonic())
                simulator.mend(1)
                before = len(received.of("1"))
                await until(lambda n=before: len(received.of("1")) > n, timeout_s=60)
                assert time.monotonic() - began_s <= late_s + 1.0
                await asyncio.sleep(300)

    run_leaping(story())


Response = tuple[float, bytes]
"""Seconds until a gateway sends a PDU."""


async def read_from(
    answer: Callable[[int, int], Response | None],
) -> tuple[bytes, datetime, list[datetime]]:
    """Read four registers of a gateway that answers by the number of a request and its count.

    Returns the registers, the time that the transport states, and those of the requests' arrival.
    """
    arrivals: list[datetime] = []
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await reader.readexactly(12)
                arrivals.append(datetime.now(UTC))
                [count] = struct.unpack(">H", request[10:])
                if response := answer(len(arrivals), count):
                    after_s, pdu = response
                    head = request[:4] + struct.pack(">HB", len(pdu) + 1, request[6])
                    loop.call_later(after_s, writer.write, head + pdu)
        writer.close()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    transport = Transport(address, "tcp", timeout_s=1.0)
    await transport.connect()
    try:
        await transport.read(1, 0, 2)  # shows that the responses bear ids
        arrivals_before = len(arrivals)
        registers = await transport.read(1, 0, 4, second=SECOND)
        return registers, transport.sent_at, arrivals[arrivals_before:]
    finally:
        transport.close()
        await closed.wait()
        server.close()


def registers(count: int, value: int) -> bytes:
    return bytes([4, 2 * count]) + bytes([value]) * (2 * count)


def test_a_reading_has_the_time_of_the_request_that_was_answered() -> None:
    def answer(number: int, count: int) -> Response | None:
        return None if number == 2 else (0.1, registers(count, number))

    read, stated, [first, _] = run_leaping(read_from(answer))

    assert read == bytes([3]) * 12
    assert stated > first


def test_the_late_response_to_the_first_request_is_as_good() -> None:
    def answer(number: int, count: int) -> Response | None:
        return {2: (0.35, registers(count, number))}.get(number, (0.1, registers(count, number)))

    read, stated, [first, _] = run_leaping(read_from(answer))

    assert read == bytes([2]) * 8
    assert stated < first


def test_a_gateway_that_refuses_the_second_request_can_still_answer_the_first() -> None:
    def answer(number: int, count: int) -> Response | None:
        if number == 3:
            return 0.01, bytes([0x84, 6])
        return (0.6 if number == 2 else 0.1), registers(count, number)

    read, *_ = run_leaping(read_from(answer))

    assert read == bytes([2]) * 8


def test_the_first_response_under_the_second_id_is_rejected() -> None:
    """Some gateways take the meter's late response for that to the next request."""

    def answer(number: int, count: int) -> Response | None:
        return None if number == 2 else (0.1, registers(4 if number == 3 else count, number))

    with pytest.raises(MeterFault, match="4 registers instead of 6"):
        run_leaping(read_from(answer))


def test_a_meter_that_is_late_with_every_response_is_offline_and_delays_no_neighbour() -> None:
    async def story() -> None:
        async with line(1, 2) as (simulator, poller, received):
            simulator.fault(1, "late", 1.5)
            await asyncio.sleep(10)
            before = len(received.of("1")), len(received.of("2"))
            await asyncio.sleep(60)
            assert len(received.of("1")) == before[0]
            assert len(received.of("2")) - before[1] >= 0.95 * 60 / INTERVAL_S
            assert poller.meters["1"].state.online is False
            simulator.mend(1)
            await until(lambda: len(received.of("1")) > before[0], timeout_s=20)
            assert not received.wrong()

    run_leaping(story())
