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

    `snapshots` tells that it sends whole readings, so that its scalars are mirrors. Readings
    before `closed_until` are refused: what they would change has been thinned out. Readings from
    `backfill_from` on have yet to be rolled up (null: none); all times in epoch ms. Of the readings
    that `bridge` sends, all up to the number `seq_upto` are there, and the runs of `seq_above`.
    """

    id = peewee.AutoField()
    name = peewee.CharField(max_length=32, unique=True)
    first_ts = peewee.BigIntegerField()
    last_ts = peewee.BigIntegerField()
    snapshots = peewee.BooleanField(default=False)
    closed_until = peewee.BigIntegerField(default=0)
    backfill_from = peewee.BigIntegerField(null=True)
    bridge = peewee.CharField(max_length=32, null=True)
    seq_upto = peewee.BigIntegerField(default=0)
    seq_above = peewee.TextField(default="")

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


class QuantityNumber(_Table):
    """The number that stands for a quantity in `rollup`; once given, it keeps its meaning."""

    id = peewee.AutoField()
    name = peewee.CharField(max_length=48, unique=True)

    class Meta:
        table_name = "quantities"


class Rollup(_Table):
    """What the readings of one bucket come to, for one meter and quantity.

    `bucket` is its start in epoch seconds, `n` counts the readings, `last` is the newest of them.
    `delta` is what a counter advanced by, null for a gauge. The mean is rounded to the thousandth
    like every value; an hour's is made from 5-minute means weighted by n and a day's from hours,
    so that it is within 0.0015 of the mean of the readings.
    """

    level = peewee.SmallIntegerField()
    meter = peewee.IntegerField()
    quantity = peewee.IntegerField()
    bucket = peewee.BigIntegerField()
    n = peewee.IntegerField()
    mean = ThousandthField()
    min = ThousandthField()
    max = ThousandthField()
    last = ThousandthField()
    delta = ThousandthField(null=True)

    class Meta:
        table_name = "rollup"
        primary_key = peewee.CompositeKey("level", "meter", "quantity", "bucket")
        without_rowid = True


class RollupDirty(_Table):
    """A 5-minute bucket whose roll-ups no longer say what its readings say."""

    meter = peewee.IntegerField()
    bucket = peewee.BigIntegerField()

    class Meta:
        table_name = "rollup_dirty"
        primary_key = peewee.CompositeKey("meter", "bucket")
        without_rowid = True


class MeterEvent(_Table):
    """A meter replaced by another at `ts`: no counter can be compared across that moment.

    `old_end` and `new_start` are what the old and the new one showed, where a person knows it, for
    one quantity; the entry with quantity 0 stands for all that have none of their own.
    """

    meter = peewee.IntegerField()
    ts = peewee.BigIntegerField()
    quantity = peewee.IntegerField(default=0)
    kind = peewee.CharField(max_length=32)
    old_end = ThousandthField(null=True)
    new_start = ThousandthField(null=True)

    class Meta:
        table_name = "meter_events"
        primary_key = peewee.CompositeKey("meter", "ts", "quantity")
        without_rowid = True


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


class Duty(_Table):
    """What one of several recorders sees to; `holder` counts `beat` up as long as it lives."""

    name = peewee.CharField(max_length=32, primary_key=True)
    holder = peewee.CharField(max_length=32)
    beat = peewee.BigIntegerField()

    class Meta:
        table_name = "duties"


TABLES: tuple[type[Any], ...] = (
    Meter,
    ReadingRow,
    QuantityNumber,
    Rollup,
    RollupDirty,
    MeterEvent,
    RejectedMessage,
    Duty,
)
