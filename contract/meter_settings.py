"""The settings of a meter: role, parent, name for people, counters of the bill, serial number.

`meters/<id>/info` has those of the meters file or of a device, `meters/<id>/set` those of a person,
which take precedence.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from contract.errors import PayloadError
from contract.readings import MAX_PAYLOAD_BYTES
from contract.validation import ID_SCHEMA, Id, payload_error

LONGEST_NAME = 100
LONGEST_SERIAL = 64


class Role(StrEnum):
    """What is behind a meter."""

    GRID = "grid"
    PRODUCTION = "production"
    STORAGE = "storage"
    CONSUMER = "consumer"


class Billing(StrEnum):
    """Which counters are the bill: the meter's own, or import and export netted across phases."""

    PER_PHASE = "per_phase"
    NETTED = "netted"


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


def _text(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return str(value) if is_number else value


Serial = Annotated[
    str,
    BeforeValidator(_text),
    Field(min_length=1, max_length=LONGEST_SERIAL),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": LONGEST_SERIAL},
                {"type": "integer", "minimum": 0, "maximum": 10**LONGEST_SERIAL - 1},
            ]
        }
    ),
]
"""A serial number; a whole number is taken as its text."""


class MeterSettings(BaseModel):
    """The settings of a meter; None where nothing is set.

    `parent` is the id of the meter through which the energy of this one flows.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    role: Role | None = Field(None, strict=False, description="What is behind the meter.")
    parent: Annotated[Id, WithJsonSchema(ID_SCHEMA)] | None = Field(
        None, description="Id of the meter that also measures what this one measures."
    )
    name: Name | None = Field(None, description="Name for people.")
    billing: Billing | None = Field(
        None,
        strict=False,
        description="Counters of the bill: the meter's own, or netted across phases.",
    )
    serial: Serial | None = Field(None, description="Serial number, for statements.")


def decode_settings(payload: bytes | str) -> MeterSettings:
    """Return the settings in a JSON payload; raises PayloadError naming each field that is wrong.

    `model_fields_set` has the keys of the payload.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError("too_large", [("", f"more than {MAX_PAYLOAD_BYTES} bytes")])
    try:
        return MeterSettings.model_validate_json(payload)
    except ValidationError as error:
        raise payload_error(error) from error


def cycle(parents: Mapping[str, str | None], meter_id: str) -> list[str] | None:
    """Return a meter, its parents, and it again; None where they do not lead back to it."""
    path = [meter_id]
    while (parent := parents.get(path[-1])) and parent not in path:
        path.append(parent)
    return [*path, meter_id] if parent == meter_id else None
