"""Types of responses that several endpoints share, for their description."""

from datetime import datetime
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from contract.quantities import QUANTITIES, Quantity


def _number(quantity: Quantity) -> Any:
    unit = quantity.kind.unit
    description = f"{quantity.label} in {unit}" if unit else quantity.label
    return NotRequired[Annotated[float, Field(description=description)]]


_FIELDS: dict[str, Any] = {
    "ts": Annotated[datetime, Field(description="The time of measurement, in UTC.")],
    "meter_id": str,
    "seq": NotRequired[Annotated[int, Field(description="Only of live readings.")]],
} | {quantity.name: _number(quantity) for quantity in QUANTITIES}

ReadingRow: Any = TypedDict("Reading", _FIELDS)  # type: ignore[misc]
"""A reading: what the meter has measured at that time; other quantities are absent."""
