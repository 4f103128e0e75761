"""What is stored: tables, migrations, writes and queries, all through peewee."""
