"""Roll-ups of 5 minutes, an hour and a day; which of them are due; entries a person makes."""

import peewee


def up(_migrator, db):
    """Create the tables; readings that are there already wait to be rolled up, slice by slice."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)

    class Quantity(db.Model):
        id = peewee.AutoField()
        name = peewee.CharField(max_length=48, unique=True)

        class Meta:
            table_name = "quantities"

    class Rollup(db.Model):
        level = peewee.SmallIntegerField()
        meter = peewee.IntegerField()
        quantity = peewee.IntegerField()
        bucket = peewee.BigIntegerField()
        n = peewee.IntegerField()
        mean = peewee.BigIntegerField()
        min = peewee.BigIntegerField()
        max = peewee.BigIntegerField()
        last = peewee.BigIntegerField()
        delta = peewee.BigIntegerField(null=True)

        class Meta:
            table_name = "rollup"
            primary_key = peewee.CompositeKey("level", "meter", "quantity", "bucket")
            without_rowid = on_sqlite

    class RollupDirty(db.Model):
        meter = peewee.IntegerField()
        bucket = peewee.BigIntegerField()

        class Meta:
            table_name = "rollup_dirty"
            primary_key = peewee.CompositeKey("meter", "bucket")
            without_rowid = on_sqlite

    class MeterEvent(db.Model):
        meter = peewee.IntegerField()
        ts = peewee.BigIntegerField()
        quantity = peewee.IntegerField()
        kind = peewee.CharField(max_length=32)
        old_end = peewee.BigIntegerField(null=True)
        new_start = peewee.BigIntegerField(null=True)

        class Meta:
            table_name = "meter_events"
            primary_key = peewee.CompositeKey("meter", "ts", "quantity")
            without_rowid = on_sqlite

    db.create_tables([Quantity, Rollup, RollupDirty, MeterEvent])
    db.execute_sql("ALTER TABLE meters ADD COLUMN closed_until BIGINT NOT NULL DEFAULT 0")
    db.execute_sql("ALTER TABLE meters ADD COLUMN backfill_from BIGINT")
    db.execute_sql("UPDATE meters SET backfill_from = first_ts")
