"""/statements/: what meters counted in a period and what that costs, to show, print and verify.

A response is the file that `meterflow statement` writes, and `--verify` accepts it.
"""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import peewee
from flask import Response
from pydantic import BeforeValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from contract.times import epoch_ms, format_time
from history.counters import QUARTER_MS
from history.exchange.statement_files import written
from history.periods import Unit, start_of, start_of_next
from history.queries import natural_order
from history.statements import (
    House,
    NoHouseError,
    Statement,
    WaitingError,
    complete_until,
    house,
    statement,
)
from history.tables import read_meters
from history.tariffs import Tariffs
from web.context import parts
from web.openapi import Api
from web.parameters import A_DAY, MeterId, MeterPath, Moment
from web.representations import PrintForm, PrintFormQuery, content_type
from web.responses import error_response, invalid_parameter

LONGEST = timedelta(days=10 * 366)
MOST_TOGETHER = 100 * timedelta(days=366)
"""The periods of all meters of a response together: some seconds of work."""
_TOO_MUCH: list[dict[str, Any]] = [
    {
        "loc": ["query", "meter"],
        "msg": "should be fewer meters, or a shorter period; meterflow statement has no limit",
        "type": "value_error",
    }
]
_CSP = (
    "default-src 'none'; script-src 'none'; style-src 'sha256-{}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

_WAITING: dict[int, dict[str, Any]] = {
    409: {"description": "Readings of the period wait to be rolled up; try again in minutes."}
}

api = Api("statements", "statements", "Statements: consumption and cost of a period, as a bill")


class Statements(TypedDict):
    """Statements, when and by which version of Meterflow they were made."""

    version: str
    made_at: datetime
    house: Annotated[House | None, Field(description="Only with `site`.")]
    statements: list[Statement]


class StatementQuery(PrintFormQuery):
    """The period, and how to compute costs."""

    since: Moment | None = Field(
        None,
        alias="from",
        description="Start, at a quarter-hour (default: the month before `to`).",
        examples=A_DAY["from"],
    )
    until: Moment | None = Field(
        None,
        alias="to",
        description="End, not included (default: the start of this month); not in the future, "
        "unless `so_far`.",
        examples=A_DAY["to"],
    )
    tariff: str | None = Field(
        None, description="Tariff to compute costs by (default: that of each meter)."
    )
    so_far: bool = Field(
        False,
        description="Of a period that is not over (default: this month), its part until the last "
        "full hour that is rolled up; `runs_until` of the statement is then the end of the period.",
    )


def _ids(value: object) -> object:
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


class StatementsQuery(StatementQuery):
    """The same, and the meters."""

    meter: (
        Annotated[
            tuple[MeterId, ...],
            BeforeValidator(_ids),
            WithJsonSchema({"type": "array", "items": {"type": "string"}}),
        ]
        | None
    ) = Field(None, description="Ids of meters, separated by commas (default: all).")
    site: bool = Field(
        False, description="The house: its figures, and the statements of its bill alone."
    )


@api.add(
    "GET",
    "/statements/",
    summary="Statements of all meters, or of the house",
    operation_id="list_statements",
    response=Statements,
    csv=True,
    html=True,
    responses={404: {"description": "There is no such meter, or no house."}, **_WAITING},
)
def list_statements(query: StatementsQuery) -> Response:
    """Return registers, consumption, cost by lines of the tariff, gaps and corrections of meters.

    `total` is null where some energy has no price. HTML prints on A4, a page for each meter.
    """
    if query.site and query.meter:
        return invalid_parameter("meter", "should not stand beside `site`")
    return _response(query, query.meter, is_site=query.site)


@api.add(
    "GET",
    "/statements/<meter_id>",
    summary="Statement of one meter",
    operation_id="get_statement",
    response=Statements,
    csv=True,
    html=True,
    responses=_WAITING,
)
def one_statement(path: MeterPath, query: StatementQuery) -> Response:
    """Return the statement of a meter, as in the list of all."""
    return _response(query, [path.meter_id])


def _response(
    query: StatementQuery, meter_ids: Sequence[str] | None, *, is_site: bool = False
) -> Response:
    """Return the statements of these meters, or of the house, or of all meters."""
    now, form = datetime.now(UTC), query.form
    tariffs, zone = parts().tariffs, parts().zone
    known = tariffs.named if tariffs else {}
    if query.tariff and query.tariff not in known:
        return invalid_parameter("tariff", f"should be one of {', '.join(known) or 'none'}")
    span = _span(query, now, zone)
    if isinstance(span, Response):
        return span
    wanted = _Wanted(meter_ids, is_site, span, query.so_far, now, zone, tariffs, query.tariff)
    empty: _Found | _Refused = _unknown(meter_ids) if meter_ids else (None, [])
    found = parts().history.query(wanted.found, empty=empty)
    if isinstance(found, _Refused):
        return error_response(found.status, found.detail)
    of_house, each = found
    text = written(form, each, format_time(now), of_house)
    what = "house" if is_site else "-".join(meter_ids[:5]) if meter_ids else "all"
    return _file(text, form, f"{what}-{span[0].astimezone(zone).date()}.{form}")


class _Wanted(NamedTuple):
    """The statements to make: of which meters (None: all) or of the house, and how."""

    meter_ids: Sequence[str] | None
    is_site: bool
    span: tuple[datetime, datetime]
    so_far: bool
    now: datetime
    zone: ZoneInfo
    tariffs: Tariffs | None
    tariff: str | None

    def found(self, database: peewee.Database) -> "_Found | _Refused":
        """Return what the house measured, and the statements; or why there are none."""
        try:
            return self._made(database)
        except NoHouseError as error:
            return _Refused(404, str(error))
        except WaitingError as error:
            return _Refused(409, str(error))

    def _made(self, database: peewee.Database) -> "_Found | _Refused":
        there = [meter.name for meter in read_meters(database)]
        (since, until), how = self.span, dict[str, Any]()
        if self.so_far:
            chosen = there if self.is_site else self.meter_ids or there
            end = complete_until(database, chosen, min(until, self.now), self.zone)
            if end < until:
                until, how = self._part(end), {"runs_until": until}
        of_house = house(database, since, until, self.zone, **how) if self.is_site else None
        wanted = of_house.billed if of_house else self.meter_ids or there
        if unknown := [meter_id for meter_id in wanted if meter_id not in there]:
            return _unknown(unknown)
        if len(wanted) * (self.span[1] - self.span[0]) > MOST_TOGETHER:
            return _Refused(422, _TOO_MUCH)
        how |= {"tariffs": self.tariffs, "tariff": self.tariff}
        return of_house, [
            statement(database, meter_id, since, until, self.zone, **how)
            for meter_id in sorted(set(wanted), key=natural_order)
        ]

    def _part(self, end: datetime) -> datetime:
        """Return the end of the part so far; raises WaitingError where no hour is complete."""
        until = start_of(Unit.HOUR, end, self.zone)
        if until <= self.span[0]:
            raise WaitingError(
                f"since {format_time(self.span[0])} no hour is over and rolled up",
                remedy="try again in an hour",
                transient=True,
            )
        return until


_Found = tuple[House | None, list[Statement]]


class _Refused(NamedTuple):
    """Why there are no statements."""

    status: int
    detail: str | list[dict[str, Any]]


def _unknown(meter_ids: Sequence[str]) -> _Refused:
    return _Refused(404, f"unknown meter {meter_ids[0]!r}; see /meters/")


def _span(
    query: StatementQuery, now: datetime, zone: ZoneInfo
) -> tuple[datetime, datetime] | Response:
    """Return the period of the statements; a response where it is invalid."""
    this_month = start_of(Unit.MONTH, now, zone)
    until = query.until or (
        start_of_next(Unit.MONTH, this_month, zone) if query.so_far else this_month
    )
    since = query.since or start_of(Unit.MONTH, until - timedelta(seconds=1), zone)
    for name, moment in (("from", since), ("to", until)):
        if epoch_ms(moment) % QUARTER_MS:
            return invalid_parameter(name, "should be the start of a quarter-hour")
    if since >= until:
        return invalid_parameter("from", "should be before `to`")
    if since > now:
        return invalid_parameter("from", "should not be in the future")
    if until > now and not query.so_far:
        return invalid_parameter("to", "should not be in the future")
    if until - since > LONGEST:
        years = LONGEST // timedelta(days=365)
        return invalid_parameter("from", f"should be at most {years} years before `to`")
    return since, until


def _file(text: str, form: PrintForm, name: str) -> Response:
    """Return a file, which a browser saves under this name."""
    response = Response(text, content_type=content_type(form))
    response.headers["Content-Disposition"] = f'inline; filename="statement-{name}"'
    if form is PrintForm.HTML:
        style = text.partition("<style>")[2].partition("</style>")[0]
        digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
        response.headers["Content-Security-Policy"] = _CSP.format(digest)
    return response
