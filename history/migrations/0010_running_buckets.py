"""Quarters, hours and days that are not over, whose roll-ups are computed again once they are."""

import peewee


def up(_migrator, db):
    """Create the table; it has no rows yet."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)

    class RollupRunning(db.Model):
        meter = peewee.IntegerField()
        minutes = peewee.SmallIntegerField()
        bucket = peewee.BigIntegerField()

        class Meta:
            table_name = "rollup_running"
            primary_key = peewee.CompositeKey("meter", "minutes", "bucket")
            without_rowid = on_sqlite

    db.create_tables([RollupRunning])
