"""Users of the broker and their passwords, in a file of Mosquitto's own form.

A line is `user:$7$rounds$salt$hash` (PBKDF2 with SHA-512), as mosquitto_passwd writes it too, so
that the users stay when the embedded broker gives way to Mosquitto.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path

from service.errors import SettingsError

logger = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
ROUNDS = 20_000
"""About 10 ms. Mosquitto stands still meanwhile, which forbids the 200,000 that one might wish."""
MOST_AT_ONCE = 2
MOST_REMEMBERED = 1000


class Users:
    """Who may connect. Reads the file anew when it has changed.

    Passwords are checked in threads, two at a time, and a right one is remembered by its hash: a
    crowd that comes back after an outage does not keep the broker from its messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._lines = self._read()
        self._remembered: dict[bytes, None] = {}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._pepper = secrets.token_bytes(16)

    async def accept(self, user: str | None, password: str | None) -> bool:
        """Tell whether user and password belong together."""
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
            logger.error("%s; going on with the users of before", error)

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
    """Return {user: hashed password}; raises SettingsError with the line that is not understood."""
    users: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.partition(":")
        if not colon or _parts(hashed) is None:
            raise SettingsError(
                f"BROKER_USERS_FILE {path}, line {number}: should be as mosquitto_passwd or "
                "'python -m broker add-user' write it"
            )
        users[user] = hashed
    return users


def add_user(path: Path, user: str, password: str) -> bool:
    """Write a user's password, new or changed; True for a new user.

    The file is replaced in one step and keeps its owner and mode; a new one is its owner's alone.
    Raises SettingsError for a name that is none, or a file that cannot be written.
    """
    if not NAME.fullmatch(user):
        raise SettingsError(f"user {user!r}: 1 to 32 letters, digits, '_' or '-', as a meter's id")
    try:
        path.parent.mkdir(exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.partition(":")[0] != user]
        text = "\n".join([*kept, f"{user}:{hashed(password)}"]) + "\n"
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(text, encoding="utf-8")
        if path.exists():
            status = path.stat()
            draft.chmod(status.st_mode & 0o777)
            os.chown(draft, status.st_uid, status.st_gid)
        draft.replace(path)
    except OSError as error:
        raise SettingsError(f"users file {path} cannot be written: {error.strerror}") from error
    return len(kept) == len(lines)


def hashed(password: str) -> str:
    """Return what the file keeps of a password."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS)
    return f"$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def matches(stored: str, password: str) -> bool:
    """Tell whether a password is the one whose hash is stored."""
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
