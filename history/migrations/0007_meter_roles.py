"""The role of a meter, its parent, its name for people, and which of its counters are the bill."""


def up(_migrator, db):
    """Add the columns, each twice: what a person has set, and what the meter's info says."""
    for column in ("role VARCHAR(16)", "parent VARCHAR(32)", "title TEXT", "billing VARCHAR(16)"):
        db.execute_sql(f"ALTER TABLE meters ADD COLUMN {column}")
        db.execute_sql(f"ALTER TABLE meters ADD COLUMN info_{column}")
