"""Responses of the REST interface: JSON, and errors as one sentence or a list of invalid fields."""

import json
from typing import Any

from flask import Flask, Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from contract.errors import PayloadError
from contract.validation import plain
from history.errors import StorageError

RETRY_AFTER_S = 5
MOST_PROBLEMS = 100
_SENTENCES = {
    404: "no such address; see /docs",
    405: "method not allowed at this address; see /docs",
    413: "the body is larger than 64 kB",
}


def json_response(text: str | bytes, status: int = 200) -> Response:
    """Return a response whose body is JSON text already."""
    return Response(text, status, content_type="application/json")


def error_response(status: int, detail: str | list[dict[str, Any]]) -> Response:
    """Return a response that describes an error; with 503 the client should try again."""
    if isinstance(detail, str):
        detail = " ".join(detail.split())  # a message of a database driver may have several lines
    response = json_response(json.dumps({"detail": detail}), status)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def invalid_fields(place: str, error: ValidationError) -> Response:
    """Return 422 with each invalid field in a place of a request, and why it is invalid."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return error_response(
        422,
        [
            {"loc": [place, *item["loc"]], "msg": plain(item), "type": item["type"]}
            for item in problems[:MOST_PROBLEMS]
        ],
    )


def invalid_parameter(name: str, text: str) -> Response:
    """Return 422 for a parameter of the query that is invalid beside the others."""
    return error_response(422, [{"loc": ["query", name], "msg": text, "type": "value_error"}])


def invalid_reading(error: PayloadError, *place: str | int) -> Response:
    """Return 422 for fields that are valid each and do not make a reading, in a place of a list."""
    return error_response(
        422,
        [
            {
                "loc": ["body", *place, *filter(None, [field])],
                "msg": text,
                "type": error.reason,
            }
            for field, text in error.problems
        ],
    )


def init_app(app: Flask) -> None:
    """Answer every error with JSON: no traceback, no HTML for a program."""
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(StorageError, _storage_error)


def http_error(error: HTTPException) -> Response:
    """Return the JSON that describes an error of the framework."""
    if isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    response = error_response(status, _SENTENCES.get(status) or error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _storage_error(error: StorageError) -> Response:
    return error_response(503, str(error))
