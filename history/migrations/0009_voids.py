"""Readings that a person has taken out of every sum, and why."""

import peewee


def up(_migrator, db):
    """Create the table; the readings themselves stay where they are."""

    class Void(db.Model):
        id = peewee.AutoField()
        meter = peewee.IntegerField(index=True)
        begin_ts = peewee.BigIntegerField()
        end_ts = peewee.BigIntegerField()
        why = peewee.TextField()
        made_at = peewee.BigIntegerField()
        undone_at = peewee.BigIntegerField(null=True)

        class Meta:
            table_name = "voids"

    db.create_tables([Void])
