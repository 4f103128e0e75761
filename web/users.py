"""Users of the web service and tokens of programs, in a file.

A line is `user NAME ROLE HASH SUM` or `token NAME ROLE HASH SUM`; SUM is the line's checksum, which
may be left out. A password is hashed with scrypt, with a
salt. A token has 256 random bits, which nobody can guess: one SHA-256 of it is enough, and quick.
"""

import hashlib
import logging
import re
import secrets
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from werkzeug.security import check_password_hash, generate_password_hash

from contract.topics import METER_ID
from service.errors import SettingsError
from service.files import make_directory, replacing, stamp_of
from service.reporting import Reporter

logger = logging.getLogger(__name__)

Kind = Literal["user", "token"]
Role = Literal["viewer", "editor"]
ROLES: tuple[Role, ...] = get_args(Role)
LEAST_CHARACTERS = 8
TOKEN_BYTES = 32
SCRYPT = "scrypt:32768:8:1"
_HASH: dict[Kind, re.Pattern[str]] = {
    "user": re.compile(r"scrypt:\d+:\d+:\d+\$[A-Za-z0-9]+\$[0-9a-f]{128}"),
    "token": re.compile(r"[0-9a-f]{64}"),
}
_NOBODY = f"{SCRYPT}$nobody$" + "0" * 128
"""The hash of no password, which takes as long to check as any."""


class Account(NamedTuple):
    """A user or a token: a viewer reads, an editor also posts."""

    kind: Kind
    name: str
    role: Role
    hashed: str

    @property
    def stamp(self) -> str:
        """What a session must name: it changes with the password."""
        return _stamp(self.hashed)


@lru_cache(100)
def _stamp(hashed: str) -> str:
    return hashlib.sha256(hashed.encode()).hexdigest()[:32]


class Accounts:
    """The users and tokens of one file, as it was when it was read."""

    def __init__(self, accounts: list[Account]) -> None:
        self.by_name = {account.name: account for account in accounts}
        self._users = {each.name: each for each in accounts if each.kind == "user"}
        self._tokens = {each.hashed: each for each in accounts if each.kind == "token"}

    @property
    def has_users(self) -> bool:
        """Whether anyone can log in."""
        return bool(self._users)

    def user(self, name: str) -> Account | None:
        """Return the user of a name."""
        return self._users.get(name)

    def token(self, text: str) -> Account | None:
        """Return the account of a token."""
        return self._tokens.get(hashed_token(text))


class UsersFile:
    """The users file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises SettingsError where it is invalid."""
        self._path = path
        self._reporter = Reporter(
            logger, f"WEB_USERS_FILE {path}", advice="keeping the users read before"
        )
        self._name = str(path)
        self._stamp = stamp_of(self._name)
        self._accounts = read_accounts(path)

    def accounts(self) -> Accounts:
        """Return the users and tokens of now.

        An invalid file or none after a valid one changes nothing: it must not open the service.
        """
        stamp = stamp_of(self._name)
        if stamp != self._stamp:
            self._stamp = stamp
            self._read_again()
        return self._accounts

    def _read_again(self) -> None:
        if self._stamp is None:
            self._reporter.failed("does not exist any more")
            return
        try:
            self._accounts = read_accounts(self._path)
        except SettingsError as error:
            self._reporter.failed(str(error).partition(": ")[2])
        else:
            self._reporter.works()


def read_accounts(path: Path) -> Accounts:
    """Return the users and tokens of a file; none where there is no file.

    Raises SettingsError where the file cannot be read or a line is invalid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Accounts([])
    except OSError as error:
        raise SettingsError(f"WEB_USERS_FILE {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"WEB_USERS_FILE {path}: should be text in UTF-8") from error
    lines = enumerate(text.splitlines(), 1)
    return Accounts([_account(path, n, line) for n, line in lines if line.strip()])


def _account(path: Path, number: int, line: str) -> Account:
    *fields, last = line.split()
    if len(fields) == len(Account._fields):
        if last != _checksum(fields):
            raise SettingsError(
                f"WEB_USERS_FILE {path}: line {number} was changed by hand or by a failing disk; "
                "write it again with 'meterflow web add-user' or 'meterflow web add-token'"
            )
    else:
        fields = [*fields, last]
    match fields:
        case ["user" | "token" as kind, name, "viewer" | "editor" as role, hashed]:
            if _HASH[kind].fullmatch(hashed):
                return Account(kind, name, role, hashed)
    raise SettingsError(
        f"WEB_USERS_FILE {path}: line {number} should be 'user NAME ROLE HASH' or 'token NAME ROLE "
        "HASH', as 'meterflow web add-user' and 'meterflow web add-token' write it"
    )


def set_user(path: Path, name: str, role: Role | None, password: str) -> Account:
    """Add a user, or change the user's password; without a role, a user keeps the one of before.

    Raises SettingsError where the name or the password is invalid, or the file cannot be written.
    """
    if len(password) < LEAST_CHARACTERS:
        raise SettingsError(f"password: should have at least {LEAST_CHARACTERS} characters")
    return _set(path, "user", name, role, generate_password_hash(password, SCRYPT))


def set_token(path: Path, name: str, role: Role | None) -> tuple[Account, str]:
    """Add a token, or replace the one of that name; return its account and the token.

    Raises SettingsError where the name is invalid, or the file cannot be written.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return _set(path, "token", name, role, hashed_token(token)), token


def remove(path: Path, name: str) -> Account:
    """Remove a user or a token. Raises SettingsError where there is none of that name."""
    accounts = read_accounts(path).by_name
    if name not in accounts:
        known = f"; there are {', '.join(accounts)}" if accounts else ""
        raise SettingsError(f"{name}: no user or token of that name in {path}{known}")
    removed = accounts.pop(name)
    _write(path, accounts)
    return removed


def hashed_token(token: str) -> str:
    """Return a token as the file stores it."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def is_password(account: Account | None, password: str) -> bool:
    """Return whether a password is the user's; an unknown user takes as long as a known one."""
    return check_password_hash(account.hashed if account else _NOBODY, password) and bool(account)


def _set(path: Path, kind: Kind, name: str, role: Role | None, hashed: str) -> Account:
    if not METER_ID.fullmatch(name):
        raise SettingsError(f"name {name!r}: should be 1 to 32 letters, digits, '_' or '-'")
    accounts = read_accounts(path).by_name
    before = accounts.get(name)
    if before and before.kind != kind:
        raise SettingsError(f"{name} is the name of a {before.kind} already; choose another")
    accounts[name] = Account(kind, name, role or (before.role if before else "viewer"), hashed)
    _write(path, accounts)
    return accounts[name]


def _checksum(fields: Sequence[str]) -> str:
    return f"{zlib.crc32(' '.join(fields).encode()):08x}"


def _write(path: Path, accounts: dict[str, Account]) -> None:
    text = "".join(f"{' '.join(each)} {_checksum(each)}\n" for each in accounts.values())
    try:
        make_directory(path.parent)
        with replacing(path, text=True) as file:
            file.write(text)
    except OSError as error:
        raise SettingsError(f"WEB_USERS_FILE {path}: {error.strerror}") from error
