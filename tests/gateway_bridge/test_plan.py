"""The planner covers what is wanted at the least cost; the decoder reads both word orders."""

import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.quantities import CORE_SET, DEFAULT_SET
from gateway_bridge.meter.plan import Block, decode, plan_blocks
from gateway_bridge.models import MODELS
from gateway_bridge.models.line_cost import LineCost

SDM630 = MODELS["sdm630"]
LINE = LineCost()
COSTS = st.builds(
    LineCost,
    baud=st.sampled_from([2400, 9600, 19200, 38400]),
    turnaround_ms=st.floats(0, 100),
    pause_ms=st.floats(0, 100),
)
ADDRESSES = st.sets(st.integers(0, 200).map(lambda n: 2 * n), min_size=1, max_size=60)


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
    plan = plan_blocks(addresses, cost, limit)

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
        assert cost.total_ms(plan_blocks(addresses, cost, 80)) <= cost.total_ms(other) + 1e-6


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


def test_values_to_be_compared_share_a_block_even_where_two_are_cheaper() -> None:
    fast = LineCost(turnaround_ms=0, pause_ms=0)
    wanted = (0, 2, 60, 62, 76)

    assert len(plan_blocks(wanted, fast, 80)) > 1
    kept = plan_blocks(wanted, fast, 80, together=(0, 62))
    assert Block(0, 64) in kept


def test_values_too_far_apart_for_one_block_are_read_in_several() -> None:
    plan = plan_blocks((0, 100), LINE, 80, together=(0, 100))

    assert plan == (Block(0, 2), Block(100, 2))


def test_a_forbidden_block_is_avoided_but_every_value_still_read() -> None:
    plan = plan_blocks((0, 2, 6, 8), LINE, 80, allowed=lambda b: not b.address <= 4 < b.end)

    assert plan == (Block(0, 4), Block(6, 4))


@pytest.mark.parametrize("low_word_first", [False, True])
def test_floats_are_read_in_either_word_order(low_word_first: bool) -> None:
    answer = struct.pack(">ff", 230.5, -1.25)
    if low_word_first:
        answer = b"".join(answer[i + 2 : i + 4] + answer[i : i + 2] for i in (0, 4))

    values = decode(
        answer, Block(10, 4), {"voltage": 10, "power": 12}, low_word_first=low_word_first
    )

    assert values == {"voltage": 230.5, "power": -1.25}


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_is_left_out(nonsense: float) -> None:
    answer = struct.pack(">ff", nonsense, 1.0)

    assert decode(answer, Block(0, 4), {"voltage": 0, "power": 2, "energy": 72}) == {"power": 1.0}
