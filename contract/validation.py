"""What pydantic has to say, in the words that a person reads in a log or in an answer."""

from pydantic_core import ErrorDetails

_PLAIN = {
    "int_parsing": "should be a whole number",
    "float_parsing": "should be a number",
    "bool_parsing": "should be true or false",
    "model_type": "should be an object",
}


def plain(problem: ErrorDetails) -> str:
    """Return what is wrong with one field, to stand after the field's name."""
    text = _PLAIN.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return text.replace("Input should", "should")
