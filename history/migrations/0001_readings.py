"""The first tables: meters, their readings, and what could not be used."""

import peewee

from contract.quantities import QUANTITIES


def up(_migrator, db):
    """Create the tables; on SQLite a quantity that is not of the core gets its column later."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)

    class Meter(db.Model):
        id = peewee.AutoField()
        name = peewee.CharField(max_length=32, unique=True)
        first_ts = peewee.BigIntegerField()
        last_ts = peewee.BigIntegerField()
        snapshots = peewee.BooleanField(default=False)

        class Meta:
            table_name = "meters"

    class ReadingRow(db.Model):
        meter = peewee.IntegerField()
        ts = peewee.BigIntegerField()

        class Meta:
            table_name = "readings_raw"
            primary_key = peewee.CompositeKey("meter", "ts")
            without_rowid = on_sqlite

    names = [quantity.name for quantity in QUANTITIES]
    for name in ("voltage", "current", "power", "energy") if on_sqlite else names:
        ReadingRow._meta.add_field(name, peewee.BigIntegerField(null=True))

    class RejectedMessage(db.Model):
        id = peewee.AutoField()
        ts = peewee.BigIntegerField()
        topic = peewee.TextField()
        reason = peewee.CharField(max_length=32)
        detail = peewee.TextField()
        payload = peewee.TextField()

        class Meta:
            table_name = "rejected_messages"

    db.create_tables([Meter, ReadingRow, RejectedMessage])
