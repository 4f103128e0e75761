"""Quarters, hours and days that are not over, whose roll-ups are computed again once they are."""

import peewee


def up(_migrator, db):
    """Create the table; it has no rows yet."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)

    class RollupRunning(db.Model):
        level = peewee.SmallIntegerField()
        meter = peewee.IntegerField()
        bucket = peewee.BigIntegerField()

        class Meta:
            table_name = "rollup_running"
            primary_key = peewee.CompositeKey("level", "meter", "bucket")
            without_rowid = on_sqlite

    db.create_tables([RollupRunning])
