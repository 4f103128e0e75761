"""Readings of the utility's own meter that a person enters: payloads of `meters/<id>/utility`."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from contract.errors import PayloadError
from contract.quantities import ENERGY
from contract.readings import MAX_PAYLOAD_BYTES
from contract.times import format_time
from contract.validation import TIME_SCHEMA, payload_error, read_time

EARLIEST_YEAR = 1970
Register = Literal["import", "export"]
Kwh = Annotated[float, Field(strict=True, ge=ENERGY.lowest, le=ENERGY.highest, allow_inf_nan=False)]


def _time(value: object) -> object:
    expected = f"should be a time from {EARLIEST_YEAR} on"
    return read_time(value, lambda ts: ts.year >= EARLIEST_YEAR, expected)


Time = Annotated[
    datetime, BeforeValidator(_time), PlainSerializer(format_time), WithJsonSchema(TIME_SCHEMA)
]


class UtilityEntry(BaseModel):
    """What the utility's meter showed at `ts`; one of a time that has one replaces it."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    ts: Time
    direction: Register = Field("import", alias="register")
    value: Kwh | None = Field(description="In kWh; null removes the entry of this time.")

    @property
    def exported(self) -> bool:
        """Whether it is the register of what is fed in."""
        return self.direction == "export"

    def encode(self) -> str:
        """Return the compact JSON of the contract."""
        return self.model_dump_json(by_alias=True)


def decode_utility(payload: bytes | str) -> UtilityEntry:
    """Return the entry in a payload; raises PayloadError naming each field that is wrong."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError("too_large", [("", f"more than {MAX_PAYLOAD_BYTES} bytes")])
    try:
        return UtilityEntry.model_validate_json(payload)
    except ValidationError as error:
        raise payload_error(error) from error
