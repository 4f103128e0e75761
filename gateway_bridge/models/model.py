"""What the bridge knows of a meter model: which register holds which quantity."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from contract.quantities import BY_NAME

WIRINGS = ("3p4w", "3p3w", "1p2w")
"""Three phases with neutral, three phases without, one phase: as the makers abbreviate them."""

METER_CODE = 0xFC02
"""Holding register, one only: a number for the model, where its firmware has it."""

SAME_REGISTER = frozenset({"energy", "energy_import"})
"""Quantities that may share a register: the core name `energy` is the imported energy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """One meter model: input registers (function 4), each a float32 in two registers.

    Addresses are those on the wire, counted from 0; the more significant register comes first.
    `absent` names, for each wiring the model knows, the quantities it does not have there: their
    registers answer 0, which is no measurement. `limit` is how many registers one request may
    ask for. `serial_number` (uint32) and `system_type` (float32: 1 = 1p2w, 2 = 3p3w, 3 = 3p4w)
    are holding registers (function 3), None where the model lacks them. `code` is what the model
    answers at METER_CODE, None where that is not documented. `max_current_a` is the most that it
    can measure in a phase.
    """

    name: str
    maker: str
    title: str
    manual: str
    registers: Mapping[str, int]
    absent: Mapping[str, frozenset[str]] = field(default_factory=lambda: {"3p4w": frozenset()})
    limit: int = 80
    serial_number: int | None = 0xFC00
    system_type: int | None = 0x000A
    code: int | None = None
    max_current_a: float = 100.0

    def __post_init__(self) -> None:
        """Refuse a table that cannot be right; raises ValueError naming model and row."""
        for name, address in self.registers.items():
            self._check_row(name, address)
        self._check_overlaps()
        for wiring, names in self.absent.items():
            if wiring not in WIRINGS:
                raise ValueError(f"{self.name}: wiring {wiring!r} is none of {', '.join(WIRINGS)}")
            self._check_known(names)
        if self.limit < 2 or self.limit % 2:
            raise ValueError(f"{self.name}: a limit of {self.limit} registers is not even")
        object.__setattr__(self, "registers", MappingProxyType(dict(self.registers)))
        object.__setattr__(self, "absent", MappingProxyType(dict(self.absent)))

    @property
    def wirings(self) -> tuple[str, ...]:
        """The wirings this model can be installed in; the first is the usual one."""
        return tuple(self.absent)

    def quantities(self, wiring: str | None = None) -> tuple[str, ...]:
        """Return the quantities a meter has in this wiring, in the order of the table.

        Without a wiring, in the usual one. Raises ValueError for a wiring it cannot have.
        """
        chosen = wiring or self.wirings[0]
        if chosen not in self.absent:
            raise ValueError(
                f"{self.title} knows the wirings {', '.join(self.wirings)}, not {chosen}"
            )
        return tuple(name for name in self.registers if name not in self.absent[chosen])

    def _check_row(self, name: str, address: int) -> None:
        if name not in BY_NAME:
            raise ValueError(f"{self.name}: {name!r} is not in the catalogue")
        if address % 2:
            raise ValueError(f"{self.name}: {name} at odd address 0x{address:04X}")
        if not 0 <= address <= 0xFFFE:
            raise ValueError(f"{self.name}: {name} at 0x{address:X}, beyond the last register")

    def _check_overlaps(self) -> None:
        taken: dict[int, str] = {}
        for name, address in self.registers.items():
            other = taken.setdefault(address, name)
            if other != name and not {name, other} <= SAME_REGISTER:
                raise ValueError(f"{self.name}: {name} and {other} both at 0x{address:04X}")

    def _check_known(self, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - set(self.registers))
        if unknown:
            raise ValueError(f"{self.name}: absent quantity {unknown[0]!r} has no register")
