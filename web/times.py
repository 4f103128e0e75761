"""Times in a query string: RFC 3339 or epoch, as in a reading."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator

from contract.errors import PayloadError
from contract.readings import parse_time

_NUMBER = re.compile(r"-?\d+(\.\d*)?")


def _moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    # In a query string a plus sign that was not escaped arrives as a blank.
    text = value.strip().replace(" ", "+") if "T" in value else value.strip()
    try:
        return parse_time(float(text) if _NUMBER.fullmatch(text) else text)
    except PayloadError as error:
        raise ValueError(error.problems[0][1]) from error


Moment = Annotated[datetime, BeforeValidator(_moment)]
