"""The forms of a response: JSON or CSV, whole or as a stream, with an ETag where it can be reused.

A client chooses by `format` or by its Accept header; JSON is the default.
"""

import csv
import errno
import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import orjson
from flask import Response, abort, request
from pydantic import BaseModel, Field
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from history.errors import StorageError
from service.spreadsheet import cells
from web.responses import error_response

logger = logging.getLogger(__name__)


class Form(StrEnum):
    """A form of a response, by the name that `format` gives it."""

    JSON = "json"
    CSV = "csv"


class PrintForm(StrEnum):
    """A form of a response that can be printed, too."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


AnyForm = TypeVar("AnyForm", Form, PrintForm)

_CONTENT_TYPES = {"json": "application/json", "csv": "text/csv", "html": "text/html"}


class FormQuery(BaseModel):
    """The form of the response."""

    format: Form | None = Field(
        None, description="json or csv (default: what the Accept header prefers, else json)."
    )

    @property
    def form(self) -> Form:
        """The form to respond with; answers 406 where the client accepts neither."""
        return self.format or accepted(Form)


class PrintFormQuery(BaseModel):
    """The form of the response, also to print."""

    format: PrintForm | None = Field(
        None,
        description="json, csv or html (default: what the Accept header prefers, else json).",
    )

    @property
    def form(self) -> PrintForm:
        """The form to respond with; answers 406 where the client accepts none."""
        return self.format or accepted(PrintForm)


def accepted(forms: type[AnyForm]) -> AnyForm:
    """Return the form that the client prefers; answer 406 where it accepts none of them."""
    types = tuple(_CONTENT_TYPES[form] for form in forms)
    best = _accepted(request.environ.get("HTTP_ACCEPT", ""), types)
    if best is None:
        *others, last = (form.upper() for form in forms)
        text = f"this address has {', '.join(others)} and {last}: send Accept: {' or '.join(types)}"
        abort(error_response(406, text))
    return list(forms)[types.index(best)]


@lru_cache(100)
def _accepted(header: str, types: tuple[str, ...]) -> str | None:
    """Return the type that a header prefers, without a header the first."""
    if not header:
        return types[0]
    return parse_accept_header(header, MIMEAccept).best_match(types)


def content_type(form: StrEnum) -> str:
    """Return the Content-Type of a form."""
    return _CONTENT_TYPES[form] + ("" if form == "json" else "; charset=utf-8")


def respond(
    body: bytes, form: StrEnum = Form.JSON, *, until: datetime | None = None, is_fixed: bool = False
) -> Response:
    """Return a response with this body.

    It has an ETag if it `is_fixed` or of a period that has ended, `until` its end. Late readings
    may change even that, so a client asks again, and gets 304 with nothing where they have not.
    """
    response = Response(body, content_type=content_type(form))
    if is_fixed or (until is not None and until <= datetime.now(UTC)):
        # Weak: the same for the body that is compressed and the one that is not.
        response.set_etag(hashlib.blake2b(body, digest_size=12).hexdigest(), weak=True)
        response.headers["Cache-Control"] = "private, no-cache"
        response.make_conditional(request)
    return response


def encoded_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], form: Form) -> bytes:
    """Return rows of a list as JSON objects, or as CSV with these columns."""
    if form is Form.JSON:
        return orjson.dumps(rows)
    return csv_text([columns, *([row[name] for name in columns] for row in rows)])


def stream(chunks: Iterable[bytes], form: Form) -> Response:
    """Return a response of any length, sent as it is made."""
    return Response(_unbroken(chunks), content_type=content_type(form))


def _unbroken(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks; where one cannot be made, end the connection, so that the client notices.

    The status has been sent already, and a body that ended there would look complete.
    """
    try:
        yield from chunks
    except StorageError as error:
        logger.warning("response cut off: %s", error)
        raise ConnectionResetError(errno.ECONNRESET, "the response cannot be completed") from error


def with_next_page(response: Response, cursor: str | None) -> Response:
    """Return the response with a link to the page that begins after `cursor`."""
    if cursor is not None:
        environ = request.environ
        path = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
        address = _without_cursor(path, environ["QUERY_STRING"])
        response.headers["Link"] = f'<{address}cursor={cursor}>; rel="next"'
    return response


@lru_cache(100)
def _without_cursor(path: str, query: str) -> str:
    """Return the address of a request up to its cursor."""
    parameters = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in parameters if name != "cursor"])
    return f"{quote(path)}?{rest}{'&' if rest else ''}"


# -- CSV ---------------------------------------------------------------------------------------


def csv_text(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return lines of CSV; missing values are empty, and no text is a formula to a spreadsheet."""
    file = io.StringIO()
    csv.writer(file).writerows(map(cells, rows))
    return file.getvalue().encode("utf-8", "replace")
