"""What a utility's own meter showed, as a person has entered it."""

import peewee


def up(_migrator, db):
    """Create the table; a meter has one value for each time and direction."""

    class UtilityReading(db.Model):
        id = peewee.AutoField()
        meter = peewee.IntegerField()
        ts = peewee.BigIntegerField()
        exported = peewee.BooleanField()
        value = peewee.BigIntegerField()
        made_at = peewee.BigIntegerField()

        class Meta:
            table_name = "utility_readings"
            indexes = ((("meter", "exported", "ts"), True),)

    db.create_tables([UtilityReading])
