"""The field's words for two things: leases, and the watermark of retention."""


def up(_migrator, db):
    """Rename the table of leases with its counter, and the column of `meters`; rows stay."""
    db.execute_sql("ALTER TABLE duties RENAME TO leases")
    db.execute_sql("ALTER TABLE leases RENAME COLUMN beat TO renewals")
    db.execute_sql("ALTER TABLE meters RENAME COLUMN closed_until TO retention_watermark")
