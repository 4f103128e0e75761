"""Checksums of the days that are over, by which a file that its disk has changed is found out."""

import peewee


def up(_migrator, db):
    """Create the table; the days so far get their checksums little by little."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)

    class DayChecksum(db.Model):
        meter = peewee.IntegerField()
        day = peewee.BigIntegerField()
        level = peewee.SmallIntegerField()
        checksum = peewee.BigIntegerField()

        class Meta:
            table_name = "day_checksums"
            primary_key = peewee.CompositeKey("meter", "day", "level")
            without_rowid = on_sqlite

    db.create_tables([DayChecksum])
