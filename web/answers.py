"""How the web service answers: JSON, and where it must say no, one sentence or the wrong fields."""

import json
from typing import Any

from flask import Flask, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from contract.errors import PayloadError
from contract.validation import plain
from history.errors import StorageError

RETRY_AFTER_S = 5
_SENTENCES = {
    404: "nothing is here; see /docs",
    405: "not with this method; see /docs",
    413: "the body is larger than 64 kB",
}


def json_answer(text: str, status: int = 200) -> Response:
    """Return an answer whose body is JSON text already."""
    return Response(text, status, content_type="application/json")


def refusal(status: int, detail: str | list[dict[str, Any]]) -> Response:
    """Return an answer that says what is wrong; 503 asks to come again."""
    if isinstance(detail, str):
        detail = " ".join(detail.split())  # a database driver's words may be several lines
    answer = json_answer(json.dumps({"detail": detail}), status)
    if status == 503:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def wrong_fields(error: ValidationError) -> Response:
    """Return 422 with each field of a request that is wrong, and why."""
    if error.title.endswith("Path"):
        place = "path"
    else:
        place = "body" if request.method == "POST" else "query"
    return refusal(
        422,
        [
            {
                "loc": [place, *item["loc"]],
                "msg": plain(item),
                "type": item["type"],
            }
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ],
    )


def wrong_reading(error: PayloadError) -> Response:
    """Return 422 for fields that are well by themselves and make no reading together."""
    return refusal(
        422,
        [
            {"loc": ["body", field] if field else ["body"], "msg": text, "type": error.reason}
            for field, text in error.problems
        ],
    )


def init_app(app: Flask) -> None:
    """Answer every error in words: no traceback, no page of HTML for a program."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StorageError, _no_history)


def _http_error(error: HTTPException) -> Response:
    if isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    answer = refusal(status, _SENTENCES.get(status) or error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            answer.headers[name] = value
    return answer


def _no_history(error: StorageError) -> Response:
    return refusal(503, str(error))
