"""Leader election among recorders that share a database: one requests replays and runs upkeep."""

import contextlib
import logging
import time

from history.errors import StorageError
from history.leases import Lease
from recorder.storage import Storage

logger = logging.getLogger(__name__)

RENEW_S = 2.0
EXPIRES_S = 8.0
"""Seconds without a renewal after which the lease of a recorder expires."""


class LeaderElection:
    """Whether we lead our group; without a group we always do. For one thread only."""

    def __init__(self, storage: Storage, group: str | None, name: str) -> None:
        self._storage = storage
        self._group = group
        self._name = name
        self._seen = Lease("", -1)
        self._seen_since_s = 0.0
        self._due_s = 0.0
        self._leads = False

    def is_leader(self) -> bool:
        """Return whether we hold the lease, after taking it where it has expired."""
        if not self._group:
            return True
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + RENEW_S
            before, self._leads = self._leads, False
            with contextlib.suppress(StorageError):
                self._leads = self._renew(self._group)
            if self._leads and not before:
                logger.info("group %s: recorder %s leads", self._group, self._name)
        return self._leads

    def resign(self) -> None:
        """Leave the lease to another recorder of the group at once."""
        if self._group and self._leads:
            self._leads = False
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
