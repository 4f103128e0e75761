"""/voids/: readings that a person has taken out of every sum and chart."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import peewee
from flask import Response
from pydantic import Field
from typing_extensions import TypedDict

from history.voids import Void, read_voids
from web import meters
from web.context import parts
from web.openapi import Api
from web.parameters import MeterPath
from web.representations import Form, FormQuery, encoded_rows, respond

api = Api("voids", "voids", "Readings that count in no sum")


class VoidSpan(TypedDict):
    """A time of a meter whose readings count in no sum, and why."""

    meter_id: str
    since: Annotated[datetime, Field(alias="from")]
    to: datetime
    why: str
    made: datetime
    undone: Annotated[datetime | None, Field(description="Since when they count again.")]


COLUMNS = ("meter_id", "from", "to", "why", "made", "undone")


@api.add(
    "GET",
    "/voids/",
    summary="Void readings of all meters",
    operation_id="list_voids",
    response=list[VoidSpan],
    csv=True,
)
def list_all(query: FormQuery) -> Response:
    """Entries of `meterflow void` in the order of meters and times, also what was undone."""
    form = query.form
    found = parts().history.query(read_voids, empty=list[Void]())
    return respond(_encoded(found, form), form)


@api.add(
    "GET",
    "/voids/<meter_id>",
    summary="Void readings of one meter",
    operation_id="list_voids_of_meter",
    response=list[VoidSpan],
    csv=True,
)
def list_of_meter(path: MeterPath, query: FormQuery) -> Response:
    """Return the void readings of a meter, as in the list of all."""
    form = query.form

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        found = read_voids(database, path.meter_id)
        return _encoded(found, form), bool(found)

    return meters.of_meter(path.meter_id, encoded, _encoded([], form), form=form)


def _encoded(found: Sequence[Void], form: Form) -> bytes:
    return encoded_rows(COLUMNS, [each.to_dict() for each in found], form)
