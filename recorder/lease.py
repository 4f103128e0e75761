"""Leader election among recorders that share a database: one requests replays and runs upkeep."""

import contextlib
import logging
import time

from history.errors import StorageError
from history.leases import Lease as StoredLease
from recorder.storage import Storage

logger = logging.getLogger(__name__)

BEAT_S = 2.0
EXPIRES_S = 8.0
"""Seconds without a beat after which the lease of a recorder expires."""


class Lease:
    """The lease of a group; without a group it is always ours. For one thread only."""

    def __init__(self, storage: Storage, group: str | None, name: str) -> None:
        self._storage = storage
        self._group = group
        self._name = name
        self._seen = StoredLease("", -1)
        self._seen_since_s = 0.0
        self._due_s = 0.0
        self._ours = False

    def is_ours(self) -> bool:
        """Return whether we hold the lease, after taking it where it has expired."""
        if not self._group:
            return True
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + BEAT_S
            before, self._ours = self._ours, False
            with contextlib.suppress(StorageError):
                self._ours = self._renew(self._group)
            if self._ours and not before:
                logger.info("group %s: recorder %s is the leader", self._group, self._name)
        return self._ours

    def release(self) -> None:
        """Let another recorder of the group take the lease at once."""
        if self._group and self._ours:
            self._ours = False
            with contextlib.suppress(StorageError):
                self._storage.acquire_lease(self._group, "", self._seen)

    def _renew(self, group: str) -> bool:
        now_s = time.monotonic()
        seen = self._storage.lease(group)
        if seen != self._seen:
            self._seen, self._seen_since_s = seen, now_s
        expired = not seen.holder or now_s - self._seen_since_s >= EXPIRES_S
        if seen.holder != self._name and not expired:
            return False
        taken = self._storage.acquire_lease(group, self._name, seen)
        self._seen = taken or self._seen
        return taken is not None
