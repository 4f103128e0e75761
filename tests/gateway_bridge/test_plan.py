"""The planner covers all values at the least cost; the decoder reads all types and word orders."""

import itertools
import math
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.quantities import CORE_SET, DEFAULT_SET
from gateway_bridge.meter.plan import Block, plan_blocks
from gateway_bridge.meter.state import Layout
from gateway_bridge.models import MODELS
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.models.model import Register, float32

SDM630 = MODELS["sdm630"]
LINE = LineCost()
COSTS = st.builds(
    LineCost,
    baud=st.sampled_from([2400, 9600, 19200, 38400]),
    turnaround_ms=st.floats(0, 100),
    pause_ms=st.floats(0, 100),
)
ADDRESSES = st.sets(st.integers(0, 200).map(lambda n: 2 * n), min_size=1, max_size=60)
TYPES = st.sampled_from(["int16", "uint16", "int32", "uint32", "float32", "int64"])


@st.composite
def mixed(draw: st.DrawFn) -> list[Register]:
    """Values of different widths, at odd and even addresses, with holes between them."""
    values: list[Register] = []
    for type_, hole in draw(st.lists(st.tuples(TYPES, st.integers(0, 30)), min_size=1)):
        values.append(Register((values[-1].end if values else 0) + hole, type_))  # type: ignore[arg-type]
    return values


def floats(addresses: Iterable[int]) -> list[Register]:
    return [Register(address) for address in addresses]


def contiguous(addresses: set[int], limit: int) -> list[Block]:
    """The plan that reads across no gap."""
    blocks: list[Block] = []
    for address in sorted(addresses):
        if blocks and blocks[-1].end == address and blocks[-1].count + 2 <= limit:
            blocks[-1] = Block(blocks[-1].address, blocks[-1].count + 2)
        else:
            blocks.append(Block(address, 2))
    return blocks


@given(ADDRESSES, COSTS, st.sampled_from([2, 10, 20, 50, 80]))
def test_a_plan_covers_all_within_the_limit_and_is_never_worse_than_simpler_plans(
    addresses: set[int], cost: LineCost, limit: int
) -> None:
    plan = plan_blocks(floats(addresses), cost, limit)

    assert all(any(b.address <= a and a + 2 <= b.end for b in plan) for a in addresses)
    assert all(b.count <= limit and b.count % 2 == 0 and b.address % 2 == 0 for b in plan)
    singles = [Block(address, 2) for address in addresses]
    for simpler in (singles, contiguous(addresses, limit)):
        assert cost.total_ms(plan) <= cost.total_ms(simpler) + 1e-6


@given(ADDRESSES, COSTS, st.data())
def test_no_way_of_cutting_is_cheaper_than_the_plan(
    addresses: set[int], cost: LineCost, data: st.DataObject
) -> None:
    wanted = sorted(addresses)
    cuts = data.draw(st.sets(st.integers(1, len(wanted))))
    edges = sorted({0, len(wanted)} | cuts)
    parts = [wanted[a:b] for a, b in itertools.pairwise(edges)]
    other = [Block(part[0], part[-1] + 2 - part[0]) for part in parts]

    if all(block.count <= 80 for block in other):
        assert (
            cost.total_ms(plan_blocks(floats(addresses), cost, 80)) <= cost.total_ms(other) + 1e-6
        )


@given(mixed(), COSTS, st.sampled_from([4, 10, 50, 125]), st.data())
def test_a_plan_of_different_widths_covers_all_and_cuts_no_value(
    values: list[Register], cost: LineCost, limit: int, data: st.DataObject
) -> None:
    plan = plan_blocks(values, cost, limit)

    assert all(any(block.holds(value) for block in plan) for value in values)
    assert all(block.count <= limit for block in plan)
    cuts = data.draw(st.sets(st.integers(1, len(values))))
    parts = [values[a:b] for a, b in itertools.pairwise(sorted({0, len(values)} | cuts))]
    other = [Block(part[0].address, part[-1].end - part[0].address) for part in parts]
    if all(block.count <= limit for block in other):
        assert cost.total_ms(plan) <= cost.total_ms(other) + 1e-6


def test_a_sum_is_read_with_its_parts_and_a_value_longer_than_the_limit_alone() -> None:
    parts = [Register(address, "int32") for address in (12, 14, 16)]
    total = Register(12, "int32", parts=3)

    assert plan_blocks([*parts, total], LINE, 50) == (Block(12, 6),)
    assert plan_blocks([*parts, total, Register(40, "int16")], LINE, 2) == (
        Block(12, 6),
        Block(40, 1),
    )


@pytest.mark.parametrize(
    ("names", "blocks", "total_ms"),
    [
        (CORE_SET, [Block(0, 74)], 231),
        (DEFAULT_SET, [Block(0, 76)], 236),
        (tuple(SDM630.registers), None, 775),
    ],
    ids=["core", "default", "all"],
)
def test_an_sdm630_at_9600_baud_takes_as_few_requests_as_measured(
    names: tuple[str, ...], blocks: list[Block] | None, total_ms: float
) -> None:
    plan = plan_blocks([SDM630.registers[name] for name in names], LINE, SDM630.limit)

    assert len(plan) == (len(blocks) if blocks else 4)
    assert blocks is None or list(plan) == blocks
    assert LINE.total_ms(plan) == pytest.approx(total_ms, rel=0.02)


def test_values_that_belong_together_share_a_block_even_where_two_are_cheaper() -> None:
    fast = LineCost(turnaround_ms=0, pause_ms=0)
    wanted = floats((0, 2, 60, 62, 76))

    assert len(plan_blocks(wanted, fast, 80)) > 1
    kept = plan_blocks(wanted, fast, 80, together=floats((0, 62)))
    assert Block(0, 64) in kept


def test_values_too_far_apart_for_one_block_are_read_in_several() -> None:
    plan = plan_blocks(floats((0, 100)), LINE, 80, together=floats((0, 100)))

    assert plan == (Block(0, 2), Block(100, 2))


def test_a_forbidden_block_is_avoided_but_every_value_still_read() -> None:
    wanted = floats((0, 2, 6, 8))

    plan = plan_blocks(wanted, LINE, 80, allowed=lambda b: not b.address <= 4 < b.end)

    assert plan == (Block(0, 4), Block(6, 4))


@pytest.mark.parametrize("low_word_first", [False, True])
def test_floats_are_read_in_either_word_order(low_word_first: bool) -> None:
    answer = struct.pack(">ff", 230.5, -1.25)
    if low_word_first:
        answer = b"".join(answer[i + 2 : i + 4] + answer[i : i + 2] for i in (0, 4))

    layout = Layout(Block(10, 4), float32({"voltage": 10, "power": 12}))
    values = layout.decode(answer, low_word_first=low_word_first)

    assert values == {"voltage": 230.5, "power": -1.25}


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_a_finite_number_is_left_out(nonsense: float) -> None:
    answer = struct.pack(">ff", nonsense, 1.0)
    layout = Layout(Block(0, 4), float32({"voltage": 0, "power": 2, "energy": 72}))

    assert layout.decode(answer) == {"power": 1.0}


@pytest.mark.parametrize(
    ("register", "answer", "value"),
    [
        (Register(0, "int16", 1000), "FF38", -0.2),
        (Register(0, "uint16"), "FFFE", 65534),
        (Register(0, "int32", 10), "FFFF FFF6", -1.0),
        (Register(0, "uint32", 1000), "0001 0000", 65.536),
        (Register(0, "int64"), "FFFF FFFF FFFF FFFE", -2),
        (Register(0, "uint64", 1000), "0000 0001 0000 0000", 4294967.296),
        (Register(0, "float32", 0.001), "3FC0 0000", 1500),
        (Register(0, "int32", 10, parts=2), "0000 0064 FFFF FFFB", 9.5),
    ],
)
@pytest.mark.parametrize("low_word_first", [False, True])
def test_integers_are_read_with_sign_and_scale_in_either_word_order(
    register: Register, answer: str, value: float, low_word_first: bool
) -> None:
    words = answer.split()
    if low_word_first:
        width = register.width
        words = [w for at in range(0, len(words), width) for w in words[at : at + width][::-1]]

    layout = Layout(Block(0, register.count), {"power": register})

    read = layout.decode(bytes.fromhex("".join(words)), low_word_first=low_word_first)
    assert read == {"power": pytest.approx(value)}


def test_values_of_all_widths_are_read_from_one_answer_across_what_is_not_wanted() -> None:
    registers = {
        "power_factor": Register(11, "int16", 1000),
        "power": Register(13, "int32", 10),
        "energy": Register(15, "int32", 10),
        "energy_import": Register(15, "int32", 10),
        "voltage": Register(40),
    }
    answer = bytes.fromhex("AAAA 03E8 BBBB 4E20 0000 0005 0001 CCCC")

    values = Layout(Block(10, 8), registers).decode(answer, low_word_first=True)

    assert values == {
        "power_factor": 1.0, "power": 2000.0, "energy": 6554.1, "energy_import": 6554.1,
    }  # fmt: skip


@pytest.mark.parametrize("answer", ["FFFF 7FFF 000A 0000", "000A 0000 FFFF 7FFF"])
def test_a_value_that_the_meter_calls_missing_is_left_out_and_so_is_its_sum(answer: str) -> None:
    registers = {
        "current": Register(0, "int32", 1000, 0x7FFFFFFF, parts=2),
        "frequency": Register(0, "int32", 1000, 0x7FFFFFFF),
    }
    layout = Layout(Block(0, 4), registers)

    values = layout.decode(bytes.fromhex(answer), low_word_first=True)

    assert values == ({} if answer.startswith("FFFF") else {"frequency": 0.01})
