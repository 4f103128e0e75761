"""Dynamic prices of tariffs, quarter-hour by quarter-hour."""

import peewee


def up(_migrator, db):
    """Create the table; it has no rows yet."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)

    class TariffPrice(db.Model):
        tariff = peewee.CharField(max_length=32)
        quarter = peewee.BigIntegerField()
        price = peewee.DoubleField()
        feed_in = peewee.DoubleField(null=True)

        class Meta:
            table_name = "tariff_prices"
            primary_key = peewee.CompositeKey("tariff", "quarter")
            without_rowid = on_sqlite

    db.create_tables([TariffPrice])
