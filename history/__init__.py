"""What is stored: tables, migrations, writes and queries, all through peewee.

peewee 4.5 imports psycopg, 6 MB in each process, also where the history is an SQLite file. Here it
is imported without; `history/psycopg_adapter.py` imports psycopg where a URL names a server.
Programs that use the history import this package first.
"""

import sys

if "peewee" not in sys.modules and "psycopg" not in sys.modules:
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # to an import: not installed
    try:
        import peewee  # noqa: F401
        import playhouse.migrations  # noqa: F401
    finally:
        del sys.modules["psycopg"]
