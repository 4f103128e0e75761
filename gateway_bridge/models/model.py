"""What the bridge knows about a meter model: which register holds which quantity, and how."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from contract.quantities import BY_NAME

WIRINGS = ("3p4w", "3p3w", "1p2w")
"""Three phases with neutral, three phases without, one phase: the makers' abbreviations."""

HOLDING, INPUT = 3, 4
"""The function codes that read registers."""

SAME_REGISTER = frozenset({"energy", "energy_import"})
"""Quantities that may share a register: the core name `energy` is the imported energy."""

RegisterType = Literal[
    "float32", "int16", "uint16", "int32", "uint32", "int64", "uint64", "text"
]  # fmt: skip
WordOrder = Literal["high-first", "low-first"]

STRUCT_CODES: Mapping[RegisterType, str] = {
    "float32": "f", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "int64": "q", "uint64": "Q",
}  # fmt: skip
"""The code of each type of number in the module `struct`."""

_WIDTHS: Mapping[RegisterType, int] = {
    "float32": 2, "int16": 1, "uint16": 1, "int32": 2, "uint32": 2,
    "int64": 4, "uint64": 4, "text": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Register:
    """Where a value is, and how it is written there.

    `address` is the one on the wire, counted from 0. An integer holds `per_unit` counts for each
    unit of the catalogue: 10 where the manual says "Volt*10". It is `missing` where the meter has
    no value. A value of several `parts` is the sum of as many adjacent ones, or a text of as many
    registers.
    """

    address: int
    type: RegisterType = "float32"
    per_unit: float = 1
    missing: int | None = None
    parts: int = 1
    width: int = field(init=False, repr=False, compare=False)
    """The number of registers in one part."""
    count: int = field(init=False, repr=False, compare=False)
    """The number of registers in the value."""
    end: int = field(init=False, repr=False, compare=False)
    """The first register after the value."""

    def __post_init__(self) -> None:
        """Store what every plan asks for a thousand times."""
        width = _WIDTHS[self.type]
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "count", width * self.parts)
        object.__setattr__(self, "end", self.address + self.count)

    @property
    def is_plain_float(self) -> bool:
        """Whether the float in the register is the value itself."""
        return self.type == "float32" and self.parts == 1 and self.per_unit == 1

    def elements(self) -> tuple["Register", ...]:
        """Return the registers of the parts, without their scale."""
        if self.is_plain_float:
            return (self,)
        begins = range(self.address, self.end, self.width)
        return tuple(Register(begin, self.type) for begin in begins)


def float32(addresses: Mapping[str, int]) -> dict[str, Register]:
    """Return registers of type float32 at these addresses."""
    return {name: Register(address) for name, address in addresses.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """One meter model.

    `functions` are the function codes that read `registers`; the bridge uses the first. A request
    reads at most `limit` registers, and starts and ends at a multiple of `alignment`.
    `word_order` is the order of the registers of a value, None where a menu of the meter decides.
    `absent` names, for each wiring that the model supports, the quantities it lacks there: their
    registers answer 0, which is not a measurement.

    `serial_number` and `system_type` are holding registers, None where the model lacks them;
    `system_types` has the wiring for each value of the latter. Holding register
    `code_register`, read alone, answers `code`, a number for the model; None where that is not
    documented. `max_current_a` is the most that the meter can measure in a phase. With
    `signed_currents` a current is negative while its phase exports.
    """

    name: str
    maker: str
    title: str
    manual: str
    registers: Mapping[str, Register]
    absent: Mapping[str, frozenset[str]] = field(default_factory=lambda: {"3p4w": frozenset()})
    functions: tuple[int, ...] = (INPUT,)
    limit: int = 80
    alignment: int = 1
    word_order: WordOrder | None = "high-first"
    serial_number: Register | None = None
    system_type: Register | None = None
    system_types: Mapping[float, str] = field(default_factory=dict)
    code_register: int | None = None
    code: int | None = None
    max_current_a: float = 100.0
    signed_currents: bool = False

    def __post_init__(self) -> None:
        """Check the table; raises ValueError that names model and row."""
        for name, register in self.registers.items():
            self._check_row(name, register)
        self._check_overlaps()
        for wiring, names in self.absent.items():
            if wiring not in WIRINGS:
                expected = ", ".join(WIRINGS)
                raise ValueError(f"{self.name}: unknown wiring {wiring!r}, not one of {expected}")
            self._check_known(names)
        if self.limit < 1 or self.limit % self.alignment:
            raise ValueError(
                f"{self.name}: a limit of {self.limit} registers is not a multiple of"
                f" {self.alignment}"
            )
        object.__setattr__(self, "registers", MappingProxyType(dict(self.registers)))
        object.__setattr__(self, "absent", MappingProxyType(dict(self.absent)))
        object.__setattr__(self, "system_types", MappingProxyType(dict(self.system_types)))

    @property
    def wirings(self) -> tuple[str, ...]:
        """The wirings that the model supports; the first is the usual one."""
        return tuple(self.absent)

    @property
    def probe(self) -> Register:
        """The register to read to find out whether the meter responds."""
        return min(self.registers.values(), key=lambda register: (register.address, register.count))

    def quantities(self, wiring: str | None = None) -> tuple[str, ...]:
        """Return the quantities of a meter in this wiring, in the order of the table.

        The default is the usual wiring. Raises ValueError for a wiring that the model lacks.
        """
        chosen = wiring or self.wirings[0]
        if chosen not in self.absent:
            raise ValueError(
                f"{self.title} supports the wirings {', '.join(self.wirings)}, not {chosen}"
            )
        return tuple(name for name in self.registers if name not in self.absent[chosen])

    def _check_row(self, name: str, register: Register) -> None:
        if name not in BY_NAME:
            raise ValueError(f"{self.name}: {name!r} is not in the catalogue")
        where = f"{self.name}: {name} at 0x{register.address:04X}"
        if register.type == "text":
            raise ValueError(f"{where}: a quantity is not a text")
        if register.address % self.alignment:
            raise ValueError(f"{where}: not a multiple of {self.alignment}")
        if register.address < 0 or register.end > 0x10000:
            raise ValueError(f"{where}: beyond the last register")
        if register.count > self.limit:
            raise ValueError(f"{where}: longer than a request, {self.limit} registers")

    def _check_overlaps(self) -> None:
        """Check that no two quantities share a register, unless one is the sum of others."""
        taken: dict[int, tuple[str, Register]] = {}
        for name, register in self.registers.items():
            for element in register.elements():
                for address in range(element.address, element.end):
                    other, theirs = taken.setdefault(address, (name, element))
                    shared = {name, other} <= SAME_REGISTER or max(
                        register.parts, self.registers[other].parts
                    ) > 1
                    if other != name and not (shared and theirs == element):
                        raise ValueError(f"{self.name}: {name} and {other} both at 0x{address:04X}")

    def _check_known(self, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - set(self.registers))
        if unknown:
            raise ValueError(f"{self.name}: absent quantity {unknown[0]!r} has no register")
