"""The tables, as peewee models; the columns of readings come from the catalogue.

Values are stored as integers of a thousandth: the contract rounds to three decimals anyway, and
the file is half the size of one with REAL columns (4.7 bytes a value instead of 10.5, measured).
"""

from typing import Any

import peewee

from contract.quantities import QUANTITIES

database_proxy = peewee.DatabaseProxy()


class ThousandthField(peewee.BigIntegerField):
    """A number with three decimals, stored as an integer of a thousandth."""

    def db_value(self, value: float | None) -> int | None:
        """Return the integer to store."""
        return None if value is None else round(value * 1000)

    def python_value(self, value: int | None) -> float | None:
        """Return the number that the stored integer stands for."""
        return None if value is None else value / 1000


class _Table(peewee.Model):
    class Meta:
        database = database_proxy
        legacy_table_names = False


class Meter(_Table):
    """A meter that has sent something; `name` is its id on MQTT, `id` only ours.

    `snapshots` tells that it sends whole readings, so that its scalars are mirrors.
    """

    id = peewee.AutoField()
    name = peewee.CharField(max_length=32, unique=True)
    first_ts = peewee.BigIntegerField()
    last_ts = peewee.BigIntegerField()
    snapshots = peewee.BooleanField(default=False)

    class Meta:
        table_name = "meters"


class ReadingRow(_Table):
    """One reading: meter, time in epoch ms, and one column for each quantity."""

    meter = peewee.IntegerField()
    ts = peewee.BigIntegerField()

    class Meta:
        table_name = "readings_raw"
        primary_key = peewee.CompositeKey("meter", "ts")
        without_rowid = True


for _quantity in QUANTITIES:
    ReadingRow._meta.add_field(_quantity.name, ThousandthField(null=True))


class RejectedMessage(_Table):
    """A message that could not be used, kept for a person to look at (the newest few thousand)."""

    id = peewee.AutoField()
    ts = peewee.BigIntegerField()
    topic = peewee.TextField()
    reason = peewee.CharField(max_length=32)
    detail = peewee.TextField()
    payload = peewee.TextField()

    class Meta:
        table_name = "rejected_messages"


TABLES: tuple[type[Any], ...] = (Meter, ReadingRow, RejectedMessage)
