"""/readings/: stored readings, page by page, or all of a period as a stream."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import orjson
import peewee
from flask import Response, request
from pydantic import BeforeValidator, Field, WithJsonSchema

from contract.quantities import BY_NAME
from history import queries
from history.tables import stored_quantities
from web.context import parts
from web.history_reader import HistoryReader
from web.meters import find
from web.openapi import Api
from web.parameters import A_DAY, MeterId, MeterPath, Moment, Order, list_schema, listed
from web.representations import Form, FormQuery, csv_text, respond, stream, with_next_page
from web.schemas import ReadingRow

DEFAULT_LIMIT = 100
BATCH = 1000
"""Readings of a stream that are in memory at a time."""
FEW = 10
"""Readings that are read without a thread."""
HEAD = ("ts", "meter_id")
FIELDS = (*HEAD, *BY_NAME)

api = Api("readings", "readings", "Readings of the meters")


class RangeQuery(FormQuery):
    """Period, order, number and fields of the readings to return."""

    since: Moment | None = Field(
        None, alias="from", description="Start of the period.", examples=A_DAY["from"]
    )
    until: Moment | None = Field(
        None, alias="to", description="End of the period, not included.", examples=A_DAY["to"]
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Largest number of readings (default: 100; with both `from` and `to`: all).",
    )
    cursor: str | None = Field(
        None,
        pattern=f"^{queries.CURSOR}$",
        description="Where the page before ended; take it from the header Link.",
    )
    order: Order = Field("desc", description="desc: newest first, asc: oldest first.")
    fields: (
        Annotated[
            tuple[str, ...],
            BeforeValidator(partial(listed, FIELDS, "field")),
            WithJsonSchema(list_schema(FIELDS)),
        ]
        | None
    ) = Field(None, description="Quantities to return (default: all); ts and meter_id always are.")


class ReadingsQuery(RangeQuery):
    """The same, and the meter."""

    meter: MeterId | None = Field(None, description="Id of the meter (default: all meters).")
    meter_id: MeterId | None = Field(None, description="The same as meter.")


@api.add(
    "GET",
    "/readings/",
    summary="Readings of all meters",
    operation_id="list_readings",
    response=list[ReadingRow],
    csv=True,
    paged=True,
    versioned=True,
)
def list_readings(query: ReadingsQuery) -> Response:
    """Without a filter: the newest 100 readings. An unknown meter has no readings.

    With `from` and `to` and without `limit`: all readings of the period, sent as they are read.
    """
    selection = _Selection(query, query.meter or query.meter_id)
    part = parts().history.query(selection.first, empty=selection.empty)
    return _response(selection, part)


@api.add(
    "GET",
    "/readings/<meter_id>",
    summary="Readings of one meter",
    operation_id="list_readings_of_meter",
    response=list[ReadingRow],
    csv=True,
    paged=True,
    versioned=True,
)
def list_of_meter(path: MeterPath, query: RangeQuery) -> Response:
    """Return the readings of a meter; the parameters are those of all meters."""
    selection = _Selection(query, path.meter_id)

    def first(database: peewee.Database) -> tuple[_Part, bool]:
        part = selection.first(database)
        return part, part.is_filled

    is_short = selection.limit <= FEW
    key = (path.meter_id, request.query_string, selection.form) if is_short else None
    part = find(path.meter_id, first, selection.empty, key=key)
    return _response(selection, part)


class _Part(NamedTuple):
    """Some readings as text, whether there are any, and the cursor of those that follow."""

    text: bytes
    is_filled: bool
    next: str | None


class _Selection:
    """The readings that a request selects, as text, a part at a time."""

    def __init__(self, query: RangeQuery, meter_id: str | None) -> None:
        self.query = query
        self.form = query.form
        self.is_whole = bool(query.since and query.until and not query.limit)
        self.limit = BATCH if self.is_whole else query.limit or DEFAULT_LIMIT
        self.empty = _Part(self._opened(()), False, None)
        self.end = b"" if self.form is Form.CSV else b"]"
        self._meter_id = meter_id
        self._names = query.fields and tuple(name for name in query.fields if name in BY_NAME)

    def first(self, database: peewee.Database) -> _Part:
        """Return the first readings, with what comes before them."""
        if self._names is None and self.form is Form.CSV:
            self._names = stored_quantities(database)
        return self._part(database, self.query.cursor, self._opened(self._names or ()))

    def following(self, database: peewee.Database, cursor: str) -> _Part:
        """Return the next readings."""
        return self._part(database, cursor, b"" if self.form is Form.CSV else b",")

    def _opened(self, names: Sequence[str]) -> bytes:
        return csv_text([(*HEAD, *names)]) if self.form is Form.CSV else b"["

    def _part(self, database: peewee.Database, cursor: str | None, before: bytes) -> _Part:
        query = self.query
        page = queries.page(
            database,
            self._meter_id,
            since=query.since,
            until=query.until,
            after=cursor,
            limit=self.limit,
            oldest_first=query.order == "asc",
            names=self._names,
        )
        rows = [reading.to_dict() for reading in page.readings]
        if self.form is Form.JSON:
            text = orjson.dumps(rows)[1:-1]
        else:
            names = (*HEAD, *(self._names or ()))
            text = csv_text([row.get(name) for name in names] for row in rows)
        return _Part(before + text, bool(rows), page.next)


def _response(selection: _Selection, part: _Part) -> Response:
    if selection.is_whole and part.next:
        return stream(_chunks(parts().history, selection, part), selection.form)
    response = respond(part.text + selection.end, selection.form, until=selection.query.until)
    return with_next_page(response, part.next)


def _chunks(history: HistoryReader, selection: _Selection, part: _Part) -> Iterator[bytes]:
    """Yield all readings. Between two parts no query is open and no thread is taken."""
    nothing = _Part(b"", False, None)
    yield part.text
    cursor = part.next
    while cursor:
        part = history.query(partial(selection.following, cursor=cursor), empty=nothing)
        yield part.text
        cursor = part.next
    yield selection.end
