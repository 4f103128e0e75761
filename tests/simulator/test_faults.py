"""Every fault of the simulator does what its name says, and stops when it is switched off."""

import asyncio
import contextlib
import math
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from gateway_bridge.models import MODELS
from simulator import LineTiming, Simulator
from simulator.device import SimulatedMeter, miswiring
from simulator.faults import FAULTS, SimulatorError, kind_of
from tests.support.modbus import Master, floats, tcp

NO_WIRE = LineTiming(baud=0, reply_timeout_s=0.05)
VOLTS_RTU = bytes.fromhex("01 04 00 00 00 04 F1 C9")

NOW = 1_773_700_000
Watts = Sequence[float]
Story = Callable[[Simulator, Master], Awaitable[None]]


def play(story: Story, framing: str = "tcp", timing: LineTiming = NO_WIRE) -> None:
    """Connect a master to a simulator whose meter 1 measures 230.5 V on L1 and 2 V on L2."""

    async def run() -> None:
        simulator = Simulator(framing=framing, timing=timing)  # type: ignore[arg-type]
        async with simulator, Master(simulator.port) as master:
            simulator.set(1, "voltage_l1", 230.5)
            simulator.set(1, "voltage_l2", 2.0)
            await story(simulator, master)

    asyncio.run(run())


GOOD = "0001 0000 000B 01 04 08 43668000 40000000"


@pytest.mark.parametrize(
    ("fault", "number", "answer"),
    [
        ("exception", 4, "0001 0000 0003 01 84 04"),
        ("nan", None, "0001 0000 000B 01 04 08 7FC00000 7FC00000"),
        ("inf", None, "0001 0000 000B 01 04 08 7F800000 7F800000"),
        ("zero", None, "0001 0000 000B 01 04 08 00000000 00000000"),
        ("wrong-function", None, "0001 0000 000B 01 03 08 43668000 40000000"),
        ("wrong-unit", None, "0001 0000 000B 02 04 08 43668000 40000000"),
        ("fewer", 2, "0001 0000 0007 01 04 04 43668000"),
        ("more", 2, "0001 0000 000F 01 04 0C 43668000 40000000 3F800000"),
        ("byte-count", 4, "0001 0000 000B 01 04 0C 43668000 40000000"),
        ("wrong-transaction", None, "0002 0000 000B 01 04 08 43668000 40000000"),
        ("transaction-0", None, "0000 0000 000B 01 04 08 43668000 40000000"),
        ("protocol", 7, "0001 0007 000B 01 04 08 43668000 40000000"),
        ("duplicate", None, GOOD + GOOD),
        ("limit", 2, "0001 0000 0003 01 84 02"),
    ],
)
def test_an_answer_is_damaged_as_named(fault: str, number: float | None, answer: str) -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, fault, number)
        assert await master.ask(tcp(1, 0, 4)) == bytes.fromhex(answer)
        simulator.mend(1, fault)
        assert await master.ask(tcp(1, 0, 4)) == bytes.fromhex(GOOD)

    play(story)


def test_bad_crc_differs_from_the_good_frame_in_its_crc_only() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        good = await master.ask(VOLTS_RTU)
        simulator.fault(1, "bad-crc")
        bad = await master.ask(VOLTS_RTU)
        assert good[:-2] == bad[:-2]
        assert good[-2:] != bad[-2:]

    play(story, framing="rtu")


def test_dead_is_silence_and_the_line_is_blocked_for_the_gateways_timeout() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "dead")
        assert await master.ask(tcp(1, 0, 4), timeout_s=0.1) == b""
        assert simulator.statistics.busy_s == pytest.approx(0.05)

    play(story)


def test_slow_delays_the_answer_and_the_requests_behind_it() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "slow", 0.2)
        begin = time.monotonic()
        async with Master(simulator.port) as other:
            first = asyncio.create_task(master.ask(tcp(1, 0, 4)))
            await asyncio.sleep(0)
            assert await other.ask(tcp(2, 0, 4))
            assert await first == bytes.fromhex(GOOD)
        assert time.monotonic() - begin >= 0.2

    play(story, timing=LineTiming(baud=0))


def test_a_meter_slower_than_the_gateway_waits_is_silent() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "slow", 1)
        assert await master.ask(tcp(1, 0, 4), timeout_s=0.2) == b""

    play(story)


def test_strict_holes_refuses_a_block_over_an_undefined_register() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "strict-holes")
        assert (await master.ask(tcp(1, 0x2A, 4)))[7:] == b"\x84\x02"
        assert len(await master.ask(tcp(1, 0, 0x2C))) == 9 + 88

    play(story)


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_twin_meters_collide_or_answer_in_turns(framing: str) -> None:
    request = VOLTS_RTU if framing == "rtu" else tcp(1, 0, 4)

    async def story(simulator: Simulator, master: Master) -> None:
        good = await master.ask(request)
        simulator.fault(1, "twin")
        answers = [await master.ask(request, timeout_s=0.1) for _ in range(24)]
        other = [a for a in answers if a not in (good, b"")]
        assert good in answers
        assert other
        assert (b"" in answers) == (framing == "tcp")

    play(story, framing=framing)


@pytest.mark.parametrize(("fault", "number", "change"), [
    ("counter-back", 3, -3.0), ("jump", 1000, 1000.0),
])  # fmt: skip
def test_counters_jump_as_named_and_gauges_stay(fault: str, number: float, change: float) -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.set(1, "energy_import", 5000)
        simulator.set(1, "frequency", 50)
        simulator.fault(1, fault, number)
        assert floats(await master.ask(tcp(1, 0x46, 4))) == (50, 5000 + change)

    play(story)


def test_counter_zero_leaves_the_gauges_alone() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.set(1, "frequency", 50)
        simulator.fault(1, "counter-zero")
        assert floats(await master.ask(tcp(1, 0x46, 6))) == (50, 0, 0)

    play(story)


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("reversed-ct", lambda p, _q: (-p[0], p[1], p[2])),
        ("ct-ratio", lambda p, _q: (0.2 * p[0], 0.2 * p[1], 0.2 * p[2])),
        (
            "swapped-cts",
            lambda p, q: (-p[1] / 2 - q[1] * 3**0.5 / 2, -p[0] / 2 + q[0] * 3**0.5 / 2, p[2]),
        ),
    ],
)
def test_wrong_wiring_shows_in_the_power_of_the_phases(
    fault: str, change: Callable[[Watts, Watts], Watts]
) -> None:
    right = SimulatedMeter(1, MODELS["sdm630"])
    simulator = Simulator()
    simulator.fault(1, fault)

    seen = right.measure(NOW, miswiring(1, simulator.bus.faults))

    true = right.measure(NOW)
    watts, vars_ = (
        [true[f"{sort}_l{n}"] for n in (1, 2, 3)] for sort in ("power", "reactive_power")
    )
    assert [seen[f"power_l{n}"] for n in (1, 2, 3)] == pytest.approx(change(watts, vars_))
    assert seen["power"] == pytest.approx(sum(seen[f"power_l{n}"] for n in (1, 2, 3)))


def test_late_comes_after_the_answer_to_the_next_request() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "late", 0.15, times=1)
        assert await master.ask(tcp(1, 0, 4), timeout_s=0.05) == b""
        assert (await master.ask(tcp(1, 4, 2, transaction=2)))[:2] == b"\x00\x02"
        assert await master.receive() == bytes.fromhex(GOOD)

    play(story)


def test_late_after_next_comes_when_the_next_request_is_sent() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "late-after-next", times=1)
        assert await master.ask(tcp(1, 0, 4), timeout_s=0.1) == b""
        answers = await master.ask(tcp(1, 4, 2, transaction=2))
        while len(answers) < 17 + 13:
            answers += await master.receive()
        assert answers[:17] == bytes.fromhex(GOOD)
        assert answers[17:19] == b"\x00\x02"

    play(story)


def test_stale_gives_the_values_of_the_request_before_under_a_good_header() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        await master.ask(tcp(1, 0, 2))
        simulator.fault(1, "stale")
        stale = await master.ask(tcp(1, 2, 2, transaction=2))
        assert stale[:2] == b"\x00\x02"
        assert floats(stale) == (230.5,)

    play(story)


def test_split_sends_the_halves_apart() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "split", 0.1)
        first = await master.ask(tcp(1, 0, 4))
        begin = time.monotonic()
        second = await master.receive()
        assert first + second == bytes.fromhex(GOOD)
        assert time.monotonic() - begin > 0.05

    play(story)


def test_garbage_precedes_the_answer() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "garbage", 5)
        answer = await master.ask(tcp(1, 0, 4))
        assert (len(answer), answer[5:]) == (5 + 17, bytes.fromhex(GOOD))

    play(story)


@pytest.mark.parametrize("fault", ["close", "reset"])
def test_the_connection_ends_instead_of_an_answer(fault: str) -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, fault)
        master.writer.write(tcp(1, 0, 4))
        assert await master.closed() == fault

    play(story)


def test_refuse_closes_the_port_and_mending_opens_it_again() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "refuse")
        assert await master.closed() == "reset"
        with pytest.raises(ConnectionRefusedError):
            async with Master(simulator.port):
                pass
        simulator.mend(None, "refuse")
        async with Master(simulator.port) as again:
            assert await again.ask(tcp(1, 0, 4)) == bytes.fromhex(GOOD)

    play(story)


def test_refuse_can_be_switched_on_and_off_quickly() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        for _ in range(3):
            simulator.fault(None, "refuse")
            simulator.mend(None, "refuse")
            simulator.mend(None)
        assert await master.closed() == "reset"
        async with Master(simulator.port) as again:
            assert await again.ask(tcp(1, 0, 4)) == bytes.fromhex(GOOD)

    play(story)


def test_accept_reset_resets_each_new_connection() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "accept-reset")
        async with Master(simulator.port) as second:
            assert await second.closed() == "reset"
        assert await master.ask(tcp(1, 0, 4)) == bytes.fromhex(GOOD)

    play(story)


def test_silent_accepts_requests_and_sends_nothing() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "silent")
        assert await master.ask(tcp(1, 0, 4), timeout_s=0.1) == b""
        assert simulator.statistics.requests == {}

    play(story)


def test_client_limit_closes_the_newest_connection_and_kick_the_oldest() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "client-limit", 1)
        async with Master(simulator.port) as second:
            assert await second.closed() == "close"
        simulator.mend(None)
        simulator.fault(None, "kick", 1)
        async with Master(simulator.port) as third:
            assert await master.closed() == "close"
            assert await third.ask(tcp(1, 0, 4)) == bytes.fromhex(GOOD)

    play(story)


def test_idle_close_ends_a_quiet_connection() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "idle-close", 0.2)
        assert await master.closed() == "close"

    play(story)


def test_queue_full_answers_busy() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "queue-full", 1)
        simulator.fault(1, "dead")
        master.writer.write(b"".join(tcp(1, 0, 4, transaction=n) for n in (1, 2, 3, 4)))
        assert (await master.receive())[7:9] == b"\x84\x06"

    play(story)


def test_unsolicited_bytes_arrive_without_a_request() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "unsolicited", 0.1)
        assert await master.receive() == b"ZLAN!"

    play(story)


def test_cache_answers_repeats_faster_than_the_wire() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "cache", 2)
        slow_s = await _asked_s(master, tcp(1, 0, 4))
        await _asked_s(master, tcp(1, 4, 4))
        fast_s = min([await _asked_s(master, tcp(1, 0, 4)) for _ in range(5)])
        assert fast_s < 0.02 < slow_s
        simulator.mend(None, "cache")
        assert await _asked_s(master, tcp(1, 0, 4)) > 0.02

    play(story, timing=LineTiming(baud=38400))


def test_cache_follows_the_meter_by_asking_it_again() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "cache", 2)
        await master.ask(tcp(1, 0, 2))
        simulator.set(1, "voltage_l1", 231.5)
        seen = [floats(await master.ask(tcp(1, 0, 2)))[0] for _ in range(40)]
        assert seen[0] == 230.5
        assert seen[-1] == 231.5

    play(story, timing=LineTiming(baud=38400))


def test_cache_forgets_commands_that_no_client_sends() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "cache", 0.03)
        await _asked_s(master, tcp(1, 0, 4))
        await _asked_s(master, tcp(1, 4, 4))
        assert await _asked_s(master, tcp(1, 0, 4)) > 0.02

    play(story, timing=LineTiming(baud=38400))


def test_to_all_gives_every_client_every_answer() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, "to-all")
        async with Master(simulator.port) as other:
            assert await other.ask(tcp(2, 0, 2))
            assert (await master.receive())[6] == 2

    play(story)


def test_a_fault_of_the_gateway_strikes_all_meters_and_one_of_a_meter_only_that() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(2, "exception", 4)
        assert (await master.ask(tcp(1, 0, 4))) == bytes.fromhex(GOOD)
        simulator.fault(None, "exception", 6)
        assert (await master.ask(tcp(1, 0, 4)))[7:] == b"\x84\x06"
        assert (await master.ask(tcp(2, 0, 4)))[7:] == b"\x84\x04"

    play(story)


def test_a_fault_strikes_a_number_of_times() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "zero", times=2)
        zeros = [floats(await master.ask(tcp(1, 0, 2))) == (0.0,) for _ in range(4)]
        assert zeros == [True, True, False, False]

    play(story)


def test_a_fault_strikes_its_share_of_requests() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "zero", share=0.3)
        zeros = [floats(await master.ask(tcp(1, 0, 2))) == (0.0,) for _ in range(300)]
        assert 50 < sum(zeros) < 130

    play(story)


def test_the_statistics_keep_what_was_truly_measured() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(1, "wrong-function")
        await master.ask(tcp(1, 0, 4))
        assert simulator.statistics.served[-1].data == struct.pack(">ff", 230.5, 2)

    play(story)


def test_what_no_float32_can_hold_is_sent_as_infinite() -> None:
    async def story(simulator: Simulator, master: Master) -> None:
        simulator.set(1, "power", -1e300)
        assert floats(await master.ask(tcp(1, 0x34, 2))) == (-math.inf,)

    play(story)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_no_fault_ends_the_simulator_even_at_its_highest_number(name: str, framing: str) -> None:
    request = VOLTS_RTU if framing == "rtu" else tcp(1, 0, 4)

    async def story(simulator: Simulator, master: Master) -> None:
        simulator.fault(None, name, FAULTS[name].highest)
        with contextlib.suppress(ConnectionError):
            await master.ask(request, timeout_s=0.02)
        simulator.mend(None)
        async with Master(simulator.port) as other:
            assert len(await other.ask(request)) in (13, 17)

    play(story, framing=framing)


def test_an_unknown_fault_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SimulatorError, match="unknown fault 'flood'; known: dead, slow, exception"):
        kind_of("flood")


def test_every_fault_is_tried_in_this_file() -> None:
    text = Path(__file__).read_text()

    assert [name for name in FAULTS if f'"{name}"' not in text] == []


async def _asked_s(master: Master, request: bytes) -> float:
    begin = time.monotonic()
    assert await master.ask(request)
    return time.monotonic() - begin
