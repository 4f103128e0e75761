"""Dynamic prices of tariffs, quarter-hour by quarter-hour, and the serial numbers of meters."""

import peewee


def up(_migrator, db):
    """Create the table; add the columns: what a person has set, and what the info says."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)

    class TariffPrice(db.Model):
        tariff = peewee.CharField(max_length=32)
        quarter = peewee.BigIntegerField()
        price = peewee.BigIntegerField()
        feed_in = peewee.BigIntegerField(null=True)

        class Meta:
            table_name = "tariff_prices"
            primary_key = peewee.CompositeKey("tariff", "quarter")
            without_rowid = on_sqlite

    db.create_tables([TariffPrice])
    for column in ("serial", "info_serial"):
        db.execute_sql(f"ALTER TABLE meters ADD COLUMN {column} VARCHAR(64)")
