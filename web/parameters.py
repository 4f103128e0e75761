"""Parameters that several endpoints of the REST interface share."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.times import parse_time
from contract.topics import METER_ID
from contract.validation import Id

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
"""Times of a query lie in this period: at the ends of the calendar no time zone can be applied."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.IGNORECASE)
_END_S = int(LATEST.timestamp())

MeterId = Annotated[Id, WithJsonSchema({"type": "string", "pattern": f"^{METER_ID.pattern}$"})]
Order = Literal["desc", "asc"]
"""Newest first, or oldest first."""


class MeterPath(BaseModel):
    """The meter in the path."""

    meter_id: MeterId = Field(description="The meter's id on MQTT.", examples=["1"])


def _moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    # In a query string an unescaped plus sign arrives as a space.
    text = value.strip().replace(" ", "+") if "T" in value else value.strip()
    try:
        moment = parse_time(float(text) if _NUMBER.fullmatch(text) else text)
    except PayloadError as error:
        raise ValueError(error.problems[0][1]) from error
    if not EARLIEST <= moment < LATEST or text.startswith("-"):  # also one that rounds to 1970
        raise ValueError(f"should be from {EARLIEST:%Y} to before {LATEST:%Y} (got {value!r:.60})")
    return moment


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": 0, "exclusiveMaximum": _END_S},
                {"type": "number", "minimum": 1e11, "exclusiveMaximum": _END_S * 1000},
            ]
        }
    ),
]
"""A time in a query string: RFC 3339 or epoch (seconds, milliseconds), as in a reading."""
A_DAY = {"from": ["2026-11-22T00:00:00Z"], "to": ["2026-11-23T00:00:00Z"]}
"""Examples of a period."""


def listed(known: Collection[str], kind: str, value: object) -> object:
    """Return the names in a list separated by commas; raises ValueError for an unknown one."""
    if not isinstance(value, str):
        return value
    names = [name for name in value.split(",") if name]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None or not names:
        raise ValueError(f"unknown {kind} {unknown or ''!r:.60}")
    return tuple(dict.fromkeys(names))


def list_schema(known: Collection[str]) -> dict[str, Any]:
    """Return the JSON schema of such a list."""
    return {"type": "array", "items": {"type": "string", "enum": [*known]}, "minItems": 1}


Quantities = Annotated[
    tuple[str, ...],
    BeforeValidator(partial(listed, BY_NAME, "quantity")),
    WithJsonSchema(list_schema(BY_NAME)),
]
"""Names of quantities, separated by commas."""
