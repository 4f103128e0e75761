"""Up to which number the readings of a meter are all there, and which bridge sends them."""


def up(_migrator, db):
    """Add the columns; nothing is known yet, so that a bridge will be asked for all it has."""
    db.execute_sql("ALTER TABLE meters ADD COLUMN bridge VARCHAR(32)")
    db.execute_sql("ALTER TABLE meters ADD COLUMN seq_upto BIGINT NOT NULL DEFAULT 0")
    db.execute_sql("ALTER TABLE meters ADD COLUMN seq_above TEXT NOT NULL DEFAULT ''")
