"""Parameters that several endpoints of the REST interface share."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from contract.errors import PayloadError
from contract.times import parse_time

_NUMBER = re.compile(r"-?\d+(\.\d*)?")


class MeterPath(BaseModel):
    """The meter in the path."""

    meter_id: str = Field(description="The meter's id on MQTT.")


def _moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    # In a query string an unescaped plus sign arrives as a space.
    text = value.strip().replace(" ", "+") if "T" in value else value.strip()
    try:
        return parse_time(float(text) if _NUMBER.fullmatch(text) else text)
    except PayloadError as error:
        raise ValueError(error.problems[0][1]) from error


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A time in a query string: RFC 3339 or epoch, as in a reading."""
