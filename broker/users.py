"""Users of the broker and their passwords, in a file in Mosquitto's format.

A line is `user:$7$rounds$salt$hash` (PBKDF2 with SHA-512), as mosquitto_passwd writes it, so that
a change from the embedded broker to Mosquitto keeps the users.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

from contract.topics import METER_ID
from service.errors import SettingsError
from service.files import make_directory, replacing

logger = logging.getLogger(__name__)

ROUNDS = 20_000
"""Rounds of PBKDF2: about 10 ms. Mosquitto blocks meanwhile, which rules out the usual 200,000."""
MOST_AT_ONCE = 2
MOST_REMEMBERED = 1000


class Users:
    """The users who may connect; reads the file again when it has changed.

    Passwords are checked in threads, two at a time, and a correct one is remembered by its hash, so
    that many clients that reconnect after an outage do not block the broker.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._lines = self._read()
        self._remembered: dict[bytes, None] = {}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._pepper = secrets.token_bytes(16)

    async def accept(self, user: str | None, password: str | None) -> bool:
        """Return whether the password is the user's."""
        self._refresh()
        stored = self._lines.get(user or "")
        if stored is None or password is None:
            return False
        seen = hashlib.sha256(b"\0".join((self._pepper, stored.encode(), password.encode())))
        if seen.digest() in self._remembered:
            return True
        async with self._slots:
            right = await asyncio.to_thread(matches, stored, password)
        if right:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[seen.digest()] = None
        return right

    def _refresh(self) -> None:
        try:
            self._lines = self._read()
        except SettingsError as error:
            logger.error("%s; keeping the users read before", error)

    def _read(self) -> dict[str, str]:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return self._lines
            lines = read_users(self._path)
        except OSError as error:
            self._stamp = None
            raise SettingsError(f"BROKER_USERS_FILE {self._path}: {error.strerror}") from error
        self._stamp = stamp
        return lines


def read_users(path: Path) -> dict[str, str]:
    """Return {user: hashed password}. Raises SettingsError with the number of an invalid line."""
    users: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.partition(":")
        if not colon or _parts(hashed) is None:
            raise SettingsError(
                f"BROKER_USERS_FILE {path}, line {number}: should be a line as written by "
                "mosquitto_passwd or 'meterflow broker add-user'"
            )
        users[user] = hashed
    return users


def add_user(path: Path, user: str, password: str) -> bool:
    """Store a user's password; return whether the user is new.

    The file is replaced atomically and keeps its owner and mode; a new one has mode 0600.
    Raises SettingsError if the name is invalid or the file cannot be written.
    """
    if not METER_ID.fullmatch(user):
        raise SettingsError(f"user {user!r}: should be 1 to 32 letters, digits, '_' or '-'")
    try:
        make_directory(path.parent)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.partition(":")[0] != user]
        text = "\n".join([*kept, f"{user}:{hashed(password)}"]) + "\n"
        with replacing(path, text=True) as file:
            file.write(text)
    except OSError as error:
        raise SettingsError(f"users file {path} cannot be written: {error.strerror}") from error
    return len(kept) == len(lines)


def hashed(password: str) -> str:
    """Return a password as the file stores it."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS)
    return f"$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def matches(stored: str, password: str) -> bool:
    """Return whether a password matches a stored hash."""
    parts = _parts(stored)
    if parts is None:
        return False
    rounds, salt, digest = parts
    return hmac.compare_digest(
        hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds), digest
    )


def _parts(stored: str) -> tuple[int, bytes, bytes] | None:
    try:
        empty, kind, rounds, salt, digest = stored.strip().split("$")
        if empty or kind != "7" or int(rounds) < 1:
            return None
        return int(rounds), base64.b64decode(salt, validate=True), base64.b64decode(digest)
    except (ValueError, binascii.Error):
        return None
