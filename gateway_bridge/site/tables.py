"""The tables of the meters file: which keys there are, and what each may be."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contract.quantities import BY_NAME
from contract.validation import Id
from gateway_bridge.address import BAUDS, MODBUS_PORT, Address, SerialLine, parse_address
from gateway_bridge.models import MODELS
from gateway_bridge.models.model import WIRINGS
from gateway_bridge.settings import HIGHEST_UNIT, QuantityWords
from service.settings import Port
from service.spelling import did_you_mean

WORD_ORDERS = ("auto", "high-first", "low-first")


def _one_of(*choices: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"should be one of {', '.join(choices)}{did_you_mean(value, choices)}")
        return value

    return AfterValidator(check)


def _baud(value: int) -> int:
    if value not in BAUDS:
        raise ValueError(f"should be one of {', '.join(map(str, BAUDS))}")
    return value


def _address(value: str) -> str:
    parse_address(value)
    return value


Name = Annotated[str, Field(min_length=1, max_length=100)]
Seconds = Annotated[float, Field(ge=0.1, le=86_400)]
Quantities = Annotated[QuantityWords, Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MeterTable(_Table):
    """One [[gateway.meter]]; what is left out is as the gateway has it, or as is usual."""

    unit: int = Field(ge=1, le=HIGHEST_UNIT)
    id: Id | None = None
    name: Name | None = None
    model: Annotated[str, _one_of(*MODELS)] = "sdm630"
    wiring: Annotated[str, _one_of(*WIRINGS)] | None = None
    invert: bool = False
    interval: Seconds | None = None
    slow_interval: Seconds | None = None
    quantities: Quantities | None = None
    max_current: float | None = Field(None, gt=0, le=100_000)
    max_voltage: float | None = Field(None, gt=0, le=1_000_000)
    word_order: Annotated[str, _one_of(*WORD_ORDERS)] = "auto"

    @property
    def meter_id(self) -> str:
        """What the meter is called on the bus: its unit id, unless the table says otherwise."""
        return self.id or str(self.unit)

    @model_validator(mode="after")
    def _fits_its_model(self) -> Self:
        model = MODELS[self.model]
        if self.wiring and self.wiring not in model.wirings:
            raise ValueError(f"wiring: {model.title} knows {', '.join(model.wirings)}")
        for word in self.quantities or ():
            if word in BY_NAME and word not in model.registers:
                raise ValueError(f"quantities: {model.title} has no {word}")
        return self


class GatewayTable(_Table):
    """One [[gateway]] and the meters on its line."""

    name: Id | None = None
    address: Annotated[str, AfterValidator(_address)] | None = None
    host: Annotated[str, AfterValidator(_address)] | None = None
    port: Port | None = None
    framing: Literal["auto", "tcp", "rtu"] | None = None
    baud: Annotated[int, AfterValidator(_baud)] | None = None
    timeout: float | None = Field(None, ge=0.05, le=60)
    interval: Seconds | None = None
    slow_interval: Seconds | None = None
    quantities: Quantities | None = None
    meter: list[MeterTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _says_where_it_is(self) -> Self:
        if (self.address is None) == (self.host is None):
            raise ValueError('address: give either address = "192.168.1.100:502" or host and port')
        if self.port is not None and (self.address or ":" in (self.host or "")):
            raise ValueError("port: is in the address already")
        if isinstance(self.where, SerialLine):
            if self.framing == "tcp":
                raise ValueError("framing: a serial line speaks rtu; leave it out")
            if self.baud:
                raise ValueError("baud: belongs into the address, as in serial:///dev/x?baud=9600")
        return self

    @property
    def where(self) -> Address:
        """The address of the line."""
        return parse_address(self.address or self.host or "", self.port or MODBUS_PORT)


class MetersFile(_Table):
    """The whole file: its gateways."""

    gateway: list[GatewayTable] = Field(min_length=1)
