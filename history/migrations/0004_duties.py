"""Which of several recorders does what only one should do."""

import peewee


def up(_migrator, db):
    """Create the table; it has no rows yet."""

    class Duty(db.Model):
        name = peewee.CharField(max_length=32, primary_key=True)
        holder = peewee.CharField(max_length=32)
        beat = peewee.BigIntegerField()

        class Meta:
            table_name = "duties"

    db.create_tables([Duty])
