"""The settings of meters: what a person has set, and what each meter's info says.

`history.tables.Meter` has the result, in which a person's settings take precedence.
"""

from collections.abc import Mapping
from typing import NamedTuple

import peewee

from contract.errors import PayloadError
from contract.meter_settings import MeterSettings, cycle
from history.dialect import Row, dialect_of, fetch, run, run_many, transaction
from history.tables import read_meters
from service.spelling import did_you_mean

COLUMNS = {
    "role": "role",
    "parent": "parent",
    "name": "title",
    "billing": "billing",
    "serial": "serial",
}
"""The column of each setting in `meters`; `info_` before it has what the meter's info says."""


class Sources(NamedTuple):
    """The settings of a meter by their source."""

    person: MeterSettings
    info: MeterSettings

    @property
    def parent(self) -> str | None:
        """The parent of the meter."""
        return self.person.parent or self.info.parent


def read_sources(database: peewee.Database, *, for_update: bool = False) -> dict[str, Sources]:
    """Return the settings of each meter by their source."""
    columns = [*COLUMNS.values(), *(f"info_{column}" for column in COLUMNS.values())]
    locking = dialect_of(database).for_update if for_update else ""
    rows = fetch(database, f"SELECT name, {', '.join(columns)} FROM meters ORDER BY id {locking}")
    middle = 1 + len(COLUMNS)
    return {row[0]: Sources(_settings(row[1:middle]), _settings(row[middle:])) for row in rows}


def store_infos(database: peewee.Database, infos: Mapping[str, MeterSettings]) -> set[str]:
    """Store what the infos of meters say; return the meters that have a history."""
    columns = ", ".join(f"info_{column} = ?" for column in COLUMNS.values())
    with transaction(database):
        known = {meter.name for meter in read_meters(database, infos, for_update=True)}
        run_many(
            database,
            f"UPDATE meters SET {columns} WHERE name = ?",
            [(*_values(infos[meter_id]), meter_id) for meter_id in known],
        )
    return known


def change(database: peewee.Database, meter_id: str, settings: MeterSettings) -> None:
    """Store the settings that a person gives; None lets the meter's info decide again.

    Raises PayloadError for a meter or a parent without history, and for parents in a circle.
    """
    with transaction(database):
        after = changed(read_sources(database, for_update=True), meter_id, settings)
        columns = ", ".join(f"{column} = ?" for column in COLUMNS.values())
        statement = f"UPDATE meters SET {columns} WHERE name = ?"
        run(database, statement, (*_values(after.person), meter_id))


def changed(known: Mapping[str, Sources], meter_id: str, settings: MeterSettings) -> Sources:
    """Return the settings of a meter after a change by a person; raises PayloadError like `change`.

    Only the fields that were given change.
    """
    if meter_id not in known:
        raise PayloadError(
            "unknown_meter", [("meter", f"{meter_id!r} {_unknown(meter_id, known)}")]
        )
    given = {field: getattr(settings, field) for field in settings.model_fields_set}
    before = known[meter_id]
    after = before._replace(person=before.person.model_copy(update=given))
    if settings.parent is not None and settings.parent not in known:
        text = f"{settings.parent!r} {_unknown(settings.parent, known)}"
        raise PayloadError("bad_value", [("parent", text)])
    parents = {name: sources.parent for name, sources in known.items()}
    circle = cycle(parents | {meter_id: after.parent}, meter_id)
    if circle:
        text = f"{after.parent!r} leads back to the meter itself ({' → '.join(circle)})"
        raise PayloadError("bad_value", [("parent", text)])
    return after


def _unknown(meter_id: str, known: Mapping[str, Sources]) -> str:
    return f"has no history{did_you_mean(meter_id, known)}"


def _values(settings: MeterSettings) -> tuple[str | None, ...]:
    return tuple(getattr(settings, field) for field in COLUMNS)


def _settings(row: Row) -> MeterSettings:
    return MeterSettings.model_validate(dict(zip(COLUMNS, row, strict=True)))
