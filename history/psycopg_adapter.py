"""peewee's adapter for psycopg, imported where a URL names a server: see `history/__init__.py`."""

from typing import Any

import peewee
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.json import Json, Jsonb


class PsycopgAdapter(peewee.Psycopg3Adapter):
    """The same adapter with psycopg from here, where peewee has imported none."""

    txn_idle = TransactionStatus.IDLE
    txn_inerror = TransactionStatus.INERROR
    txn_unknown = TransactionStatus.UNKNOWN

    def __init__(self) -> None:
        super().__init__()
        self.json_type, self.jsonb_type = Json, Jsonb

    def check_driver(self) -> None:
        """Accept psycopg, which is imported."""

    def get_binary_type(self) -> Any:
        """Return the type of a parameter of bytes."""
        return psycopg.Binary

    def connect(self, db: Any, **params: Any) -> Any:
        """Connect to a database."""
        return psycopg.connect(dbname=db.database, **params)
