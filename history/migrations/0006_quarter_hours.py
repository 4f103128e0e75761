"""Quarter-hours and netted counters: the roll-up job computes them from what is stored."""


def up(_migrator, db):
    """Mark what there is: 5 minutes to make quarter-hours of, and readings to net again.

    `quarters_from`: 5 minutes from this time on (epoch s) have no quarter-hours yet; None: all do.
    """
    db.execute_sql("ALTER TABLE meters ADD COLUMN quarters_from BIGINT")
    db.execute_sql("UPDATE meters SET quarters_from = 0")
    db.execute_sql(
        "UPDATE meters SET backfill_from = retention_watermark WHERE EXISTS ("
        "SELECT 1 FROM quantities q JOIN rollup r ON r.level = 1440 AND r.meter = meters.id "
        "AND r.quantity = q.id WHERE q.name = 'energy_export')"
    )
