"""State: what one meter has answered and done, and what it is read for next."""

import math
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from contract.quantities import CORE_SET, DEFAULT_SET
from gateway_bridge.meter.plan import Block, Limits, plan_blocks
from gateway_bridge.meter.plausibility import Gate
from gateway_bridge.models.inversion import turned
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.models.model import STRUCT_CODES, Register
from gateway_bridge.site.site import CORE_NAMES, Meter

EVENTS_KEPT = 5
LONGER_BY = (2, 4)
"""Registers by which a request may be longer than its block."""


class Layout:
    """The quantities in a block, and how to decode them from its answer."""

    def __init__(self, block: Block, registers: Mapping[str, Register]) -> None:
        self.registers = {name: each for name, each in registers.items() if block.holds(each)}
        elements = {
            element.address: element
            for each in self.registers.values()
            for element in each.elements()
        }
        in_order = [elements[address] for address in sorted(elements)]
        places = {element.address: place for place, element in enumerate(in_order)}
        self._struct = _struct(block, in_order)
        self._words = struct.Struct(f">{block.count}H")
        self._exchange = _exchange(block, in_order)
        self._floats: list[tuple[str, int]] = []
        self._numbers: list[tuple[str, slice, float, int | None]] = []
        for name, each in self.registers.items():
            place = places[each.address]
            if each.is_plain_float:
                self._floats.append((name, place))
            else:
                where = slice(place, place + each.parts)
                self._numbers.append((name, where, each.per_unit, each.missing))

    def decode(self, answer: bytes, *, low_word_first: bool = False) -> dict[str, float]:
        """Return {quantity: value} without those that are missing or not a finite number."""
        if low_word_first and self._exchange:
            answer = self._words.pack(*self._exchange(self._words.unpack(answer)))
        raw = self._struct.unpack(answer)
        values = {name: raw[at] for name, at in self._floats if math.isfinite(raw[at])}
        for name, where, per_unit, missing in self._numbers:
            parts = raw[where]
            if missing not in parts and math.isfinite(total := sum(parts) / per_unit):
                values[name] = total
        return values


def _struct(block: Block, elements: Iterable[Register]) -> struct.Struct:
    """Return what unpacks the elements of a block, and skips what is between them."""
    layout, reached = ">", block.address
    for element in elements:
        layout += f"{2 * (element.address - reached)}x{STRUCT_CODES[element.type]}"
        reached = element.end
    return struct.Struct(f"{layout}{2 * (block.end - reached)}x")


def _exchange(
    block: Block, elements: Iterable[Register]
) -> Callable[[tuple[int, ...]], tuple[int, ...]] | None:
    """Return what reverses the registers of each element; None where each has one only."""
    order = list(range(block.count))
    for element in elements:
        begin, end = element.address - block.address, element.end - block.address
        order[begin:end] = reversed(order[begin:end])
    return None if order == sorted(order) else itemgetter(*order)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a meter is; None where it does not report it."""

    serial: str | None = None
    wiring: str | None = None
    low_word_first: bool = False


@dataclass(slots=True)
class MeterState:
    """What a meter has done since the start.

    `online` is None until a first reading has succeeded or failed.
    """

    online: bool | None = None
    identity: Identity | None = None
    serial: str | None = None
    readings: int = 0
    timeouts: int = 0
    faults: int = 0
    held: int = 0
    """Values held back."""
    values: dict[str, float] = field(default_factory=dict)
    """The last value of each quantity."""
    events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    changed_s: float = field(default_factory=time.monotonic)
    """Time at which `online` changed last."""

    def since_s(self) -> float:
        """Return the seconds since `online` changed."""
        return time.monotonic() - self.changed_s


@dataclass(slots=True)
class PolledMeter:
    """One meter: its settings, its state, and the blocks that are read from it."""

    config: Meter
    cost: LineCost
    state: MeterState = field(default_factory=MeterState)
    gate: Gate = field(init=False)
    limits: Limits = field(init=False)
    live: tuple[Block, ...] = field(init=False)
    slow: tuple[Block, ...] = field(init=False)
    registers: dict[str, Register] = field(init=False)
    _layouts: dict[Block, Layout] = field(init=False)
    _requests: dict[Block, tuple[Block, ...]] = field(init=False)
    _slow_values: dict[str, float] = field(default_factory=dict)
    _refusal: str = ""
    _unreported: list[str] = field(default_factory=list)
    _reported_absent: set[Block] = field(default_factory=set)
    _reported_lacking: set[Block] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate = Gate(self.config.max_current_a, self.config.max_voltage_v)
        self.limits = Limits(self.config.model.limit)
        self.replan()

    @property
    def wiring(self) -> str | None:
        """The wiring by the settings, else by the meter's own report; None where neither has it."""
        reported = self.state.identity.wiring if self.state.identity else None
        wiring = self.config.wiring or reported
        return wiring if wiring in self.config.model.wirings else None

    @property
    def low_word_first(self) -> bool:
        """Whether the less significant register comes first: by the settings, else by the meter."""
        if self.config.low_word_first is not None:
            return self.config.low_word_first
        return self.state.identity is not None and self.state.identity.low_word_first

    def live_names(self) -> frozenset[str]:
        """Return the quantities that have a new value in each reading."""
        return frozenset(name for block in self.live for name in self._layouts[block].registers)

    def busy_share(self) -> float:
        """Return the share of the line's time that this meter takes."""
        live_s, slow_s = (self.cost.total_ms(blocks) / 1000 for blocks in (self.live, self.slow))
        return live_s / self.config.interval_s + slow_s / self.config.slow_interval_s

    def replan(self) -> None:
        """Plan the blocks again, by what is known about the meter now."""
        model = self.config.model
        there = set(model.quantities(self.wiring))
        self.registers = {
            name: model.registers[name]
            for name in self.config.quantities
            if name in there and not self.limits.lacks(model.registers[name])
        }
        live = set(self.config.live & self.registers.keys() or self.registers)
        live_blocks = self._plan(live)
        slow_blocks = self._plan(self.registers.keys() - self._inside(live_blocks))
        blocks = (*live_blocks, *slow_blocks)
        self.live, self.slow = live_blocks, slow_blocks
        self._layouts = {block: Layout(block, self.registers) for block in blocks}
        self._requests = {block: self._requests_for(block) for block in blocks}

    def requests_for(self, block: Block) -> tuple[Block, ...]:
        """Return the requests that bring a block: the block itself, or a little more."""
        return self._requests[block]

    def answered(self, request: Block) -> None:
        """Note a request that was answered."""
        if request not in self.limits.known:
            self.limits.answered(request)

    def cannot_grow(self, block: Block, request: Block) -> None:
        """Note that the meter refuses a request for more than a block."""
        shorter = [each for each in self._requests.get(block, ()) if each.count < request.count]
        self._requests[block] = tuple(shorter) or (block,)

    def introduce(self, identity: Identity) -> tuple[str, ...]:
        """Note which meter responds; return the events to report."""
        state, before = self.state, self.state.serial
        state.identity, state.serial = identity, identity.serial or before
        self.replan()
        if before is None and (found := self.config.other_serial(state.serial)):
            return (found,)
        if before in (None, state.serial):
            return ()
        self.gate.forget()
        self.limits = Limits(self.config.model.limit)
        self.replan()
        return (f"another meter responds now: serial number {state.serial}, previously {before}",)

    def refused(self, block: Block, why: str) -> None:
        """Plan without a block that the meter refused repeatedly.

        A meter that refuses everything is left without `registers`.
        """
        alone = any(Block(each.address, each.count) == block for each in self.registers.values())
        if not self.limits.refused(block, alone=alone):
            return
        if not alone and not self._refusal:
            many = f"refuses {block.count} registers at once; reading fewer from now on ({why})"
            self._refusal, self._unreported = many, [many]
        self.replan()

    def start_over(self) -> None:
        """Forget what the meter refused, so that everything is read again."""
        self.limits, self.state.identity = Limits(self.config.model.limit), None
        self.replan()

    def take_live(
        self, answers: Iterable[tuple[Block, bytes]], now_s: float
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """Return the values to publish from the answers of the live blocks, and events to report.

        The values of the slow blocks since the last reading are added.
        """
        values, events = self._judged(answers, now_s)
        if values:
            values |= self._slow_values
        self._slow_values = {}
        ordered = {name: round(values[name], 3) + 0.0 for name in self.registers if name in values}
        self.state.values |= ordered
        return ordered, (*events, *self._refusals())

    def take_slow(self, block: Block, answer: bytes, now_s: float) -> tuple[str, ...]:
        """Keep the values of a slow block for the next reading; return events to report."""
        values, events = self._judged([(block, answer)], now_s)
        self._slow_values |= values
        return events

    def set_online(self, online: bool) -> None:
        """Record whether the meter is online now."""
        self.state.online, self.state.changed_s = online, time.monotonic()
        if not online:
            self.gate.interrupted()

    def lacks(self, block: Block, why: str) -> tuple[str, ...]:
        """Return an event, once, for a slow block that cannot be read."""
        if block in self._reported_lacking:
            return ()
        self._reported_lacking.add(block)
        return (f"cannot read registers {block.address} to {block.end - 1}: {why}",)

    def missed(self) -> None:
        """Discard the slow values that wait for a reading: they would be of another time."""
        self._slow_values = {}

    def _refusals(self) -> tuple[str, ...]:
        """Return events about what the meter refuses, now that it has answered in full."""
        events, self._unreported = self._unreported, []
        absent = self.limits.absent - self._reported_absent
        if absent:
            self._reported_absent |= absent
            listed = ", ".join(str(block.address) for block in sorted(absent))
            events.append(f"no value at register {listed}: left out from now on")
        return tuple(events)

    def _judged(
        self, answers: Iterable[tuple[Block, bytes]], now_s: float
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        values: dict[str, float] = {}
        expected: list[str] = []
        low_word_first = self.low_word_first
        for block, answer in answers:
            # A held answer may belong to an earlier plan.
            layout = self._layouts.get(block) or Layout(block, self.registers)
            expected += layout.registers
            values |= layout.decode(answer, low_word_first=low_word_first)
        if self.config.inverted:
            values = turned(values, signed_currents=self.config.model.signed_currents)
        verdict = self.gate.judge(values, expected, now_s)
        self.state.held += verdict.held
        return verdict.values, verdict.events

    def _plan(self, names: set[str]) -> tuple[Block, ...]:
        return plan_blocks(
            (self.registers[name] for name in names),
            self.cost,
            self.limits.highest,
            together=self._together(names),
            allowed=self.limits.allows,
        )

    def _requests_for(self, block: Block) -> tuple[Block, ...]:
        last = max(register.end for register in self.config.model.registers.values())
        longer = (Block(block.address, block.count + more) for more in LONGER_BY)
        allowed = (each for each in longer if each.end <= last and self.limits.allows(each))
        return (block, *allowed)

    def _together(self, names: set[str]) -> set[Register]:
        """Return the values that share a block: those of the widest set that one can hold."""
        values: set[Register] = set()
        for group in (DEFAULT_SET, CORE_SET, CORE_NAMES):
            values = {self.registers[name] for name in group if name in names}
            begin = min((value.address for value in values), default=0)
            if max((value.end for value in values), default=0) - begin <= self.limits.highest:
                break
        return values

    def _inside(self, blocks: Iterable[Block]) -> set[str]:
        blocks = list(blocks)
        return {
            name
            for name, register in self.registers.items()
            if any(block.holds(register) for block in blocks)
        }
