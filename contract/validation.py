"""Validation by pydantic: the type of ids, and error messages that a person can act on."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, ValidationError
from pydantic_core import ErrorDetails

from contract.errors import PayloadError
from contract.times import parse_time
from contract.topics import METER_ID

_PLAIN = {
    "int_parsing": "should be a whole number",
    "float_parsing": "should be a number",
    "bool_parsing": "should be true or false",
    "model_type": "should be an object",
}


def _id(value: object) -> object:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not METER_ID.fullmatch(text):
        raise ValueError(
            "should be 1 to 32 letters, digits, '_' or '-', beginning with a letter or digit"
        )
    return text


ID_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": f"^{METER_ID.pattern}$"},
        {"type": "integer", "minimum": 0, "maximum": 10**32 - 1},
    ]
}
"""The JSON schema of an id in a body."""
Id = Annotated[str, BeforeValidator(_id)]
"""The id of a meter, or the name of a bridge, recorder, group or gateway: one level of a topic.

A whole number is taken as its text.
"""

TIME_SCHEMA = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}
"""The JSON schema of a time in a body."""


def read_time(value: object, is_good: Callable[[datetime], bool], expected: str) -> object:
    """Return a time of a payload; leave what is neither a text nor a number to pydantic.

    Raises ValueError with what was `expected`, unless the time is good.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        ts = parse_time(value)
    except PayloadError as error:
        raise ValueError(error.problems[0][1]) from error
    if not is_good(ts):
        raise ValueError(expected)
    return ts


def plain(problem: ErrorDetails) -> str:
    """Return what is wrong with one field, to stand after the field's name."""
    text = _PLAIN.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return text.replace("Input should", "should").replace("String should", "should")


def payload_error(error: ValidationError, depth: int = 1) -> PayloadError:
    """Return pydantic's error as ours: each field, what was expected, what was received.

    A field is named by the first `depth` parts of its place.
    """
    problems = []
    reason = "bad_value"
    for item in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in item["loc"][:depth])
        if item["type"] == "json_invalid":
            reason = "bad_json"
        elif item["type"] in {"model_type", "dict_type"}:
            reason = "not_an_object"
        text = plain(item)
        if field and isinstance(item["input"], str | int | float):
            text += f" (got {item['input']!r:.60})"
        if (field, text) not in problems:
            problems.append((field, text))
    return PayloadError(reason, problems)
