"""Who may do what: each request has a caller, a viewer reads, an editor also posts.

A caller logs in (a cookie), or sends a token. While there are no users, this machine needs neither.
The same check runs for pages, REST and `/ws` in the app, and for Socket.IO before its handshake.
"""

import contextlib
import hmac
import logging
import secrets
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import gevent
from flask import Flask, Response, redirect, request, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer
from simple_websocket import ConnectionClosed
from werkzeug.http import parse_cookie

from service.errors import SettingsError
from service.files import replacing
from web.attempts import Attempts
from web.origins import KnownHosts, is_cross_origin, is_older_than_host
from web.proxies import is_local, was_forwarded
from web.responses import error_response
from web.settings import WebSettings
from web.users import Account, Accounts, Role, UsersFile
from web.websockets import WebSocket, open_sockets

logger = logging.getLogger(__name__)

COOKIE = "meterflow_session"
SESSION_S = 90 * 86_400
CALLER = "meterflow.caller"
"""Key of the WSGI environment under which a request's caller is kept."""
SOCKETIO = "/socket.io/"
LEAST_KEY_BYTES = 32
CACHED_S = 3600
CHECK_S = 1.0
"""Seconds after which a connection whose caller may no longer read is closed, at the latest."""
POLICY_VIOLATION = 1008
"""Close code of a WebSocket whose caller may no longer read."""
_OPEN = frozenset({"/healthz", "/login", "/logout", "/offline", "/service-worker.js"})
_READING = frozenset({"GET", "HEAD"})
_CHALLENGE = 'Bearer realm="Meterflow"'


class Caller(NamedTuple):
    """Who sent a request; without a name: someone who did not have to log in."""

    name: str
    role: Role
    by_token: bool = False


class Access:
    """The check of every request."""

    def __init__(self, settings: WebSettings) -> None:
        """Read the users. Raises SettingsError where their file is invalid."""
        self.users = UsersFile(settings.web_users_file)
        self.attempts = Attempts()
        self._hosts = KnownHosts([*settings.web_hosts, settings.http_host])
        self._is_open = settings.web_open == "read"
        self._secret_file = settings.web_users_file.with_name("web-secret")
        self._signer: URLSafeTimedSerializer | None = None
        self._signed = lru_cache(100)(self._verified)

    def summary(self) -> str:
        """Return who may use the service, for a line of the log."""
        users = self.users.accounts()
        everyone = "; anyone on the network may read (WEB_OPEN=read)" if self._is_open else ""
        if users.has_users:
            return f"{', '.join(users.by_name)} may log in or send a token{everyone}"
        return f"programs and browsers on this machine need no login{everyone}"

    def check(self) -> Response | None:
        """Return why the current request is refused; None where it is allowed."""
        environ, path = request.environ, request.path  # each look-up of `request` takes a while
        host, method = environ.get("HTTP_HOST", ""), environ["REQUEST_METHOD"]
        if not (self._hosts.knows(host) or is_older_than_host(environ)):
            return _unknown_host(host)
        if path in _OPEN or path.startswith(("/static/", "/assets/")):
            return None
        caller = environ[CALLER] = self.caller(environ)
        if method == "OPTIONS":
            return None  # a preflight, which browsers send without cookie and token
        if caller is None:
            return self._must_log_in()
        if method in _READING or path.startswith(SOCKETIO):
            return None
        return self._must_not_write(caller)

    def caller(self, environ: dict[str, Any]) -> Caller | None:
        """Return who sent a request; None where they must log in first."""
        accounts = self.users.accounts()
        authorization = environ.get("HTTP_AUTHORIZATION")
        if authorization:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer":
                account = accounts.token(token.strip())
                return Caller(account.name, account.role, by_token=True) if account else None
        account = self._session(environ.get("HTTP_COOKIE", ""), accounts)
        if account:
            return Caller(account.name, account.role)
        if not accounts.has_users and _is_on_this_machine(environ):
            return Caller("", "editor")
        return Caller("", "viewer") if self._is_open else None

    def log_in(self, account: Account, response: Response) -> None:
        """Add the cookie of a new session to a response. Raises SettingsError without a key."""
        self._signer = self._signer or _signer(_new_secret(self._secret_file))
        value = self._signer.dumps([account.name, account.stamp])
        response.set_cookie(
            COOKIE,
            value if isinstance(value, str) else value.decode(),
            max_age=SESSION_S,
            path=f"{request.script_root}/",
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )

    def watch(self) -> None:
        """Close WebSockets whose caller may no longer read, as soon as the users change."""
        while True:
            before = self.users.accounts()
            gevent.sleep(CHECK_S)
            if self.users.accounts() is not before:
                for socket in list(open_sockets):
                    if self.caller(socket.environ) is None:
                        gevent.spawn(_close, socket)

    def _session(self, cookies: str, accounts: Accounts) -> Account | None:
        if COOKIE not in cookies:
            return None
        try:
            name, stamp = self._signed(cookies, int(time.time()) // CACHED_S)
        except (BadSignature, UnicodeDecodeError):
            return None
        account = accounts.user(name)
        return account if account and hmac.compare_digest(account.stamp, stamp) else None

    def _verified(self, cookies: str, _hour: int) -> tuple[str, str]:
        """Return name and stamp of the session in a header; it is checked once an hour."""
        value = parse_cookie(cookies).get(COOKIE, "")
        if self._signer is None:
            secret = _read_secret(self._secret_file)
            if not secret:
                raise BadSignature("no session has begun yet")
            self._signer = _signer(secret)
        name, stamp = self._signer.loads(value, max_age=SESSION_S)
        return name, stamp

    def _must_log_in(self) -> Response:
        if accepts_page(request.headers.get("Accept", "")):
            back = request.full_path.removesuffix("?")
            return redirect(url_for("login.page", next=back))  # type: ignore[return-value]
        if not self.users.accounts().has_users and not self._is_open:
            text = "log in; there are no users yet: 'meterflow web add-user NAME' adds one"
        else:
            text = "log in at /login, or send the header 'Authorization: Bearer TOKEN'"
        response = error_response(401, text)
        response.headers["WWW-Authenticate"] = _CHALLENGE
        return response

    def _must_not_write(self, caller: Caller) -> Response | None:
        if caller.role != "editor":
            if caller.name:
                return error_response(403, f"{caller.name} is a viewer; only an editor may post")
            response = error_response(401, "anyone may read here, but posting requires a login")
            response.headers["WWW-Authenticate"] = _CHALLENGE
            return response
        if not caller.by_token and is_cross_origin(request.environ):
            return error_response(
                403, "a page of another origin may post only with 'Authorization: Bearer TOKEN'"
            )
        return None


def init_app(app: Flask, access: Access) -> None:
    """Check each request before anything else looks at it."""
    app.before_request(access.check)
    app.context_processor(lambda: {"caller": request.environ.get(CALLER)})


def guard_socketio(app: Flask, access: Access) -> None:
    """Check Socket.IO's requests, which the app itself does not see."""
    inner = app.wsgi_app

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith(SOCKETIO):
            with app.request_context(environ):
                refused = access.check()
                if refused:
                    return app.process_response(refused)(environ, start_response)
        return inner(environ, start_response)

    app.wsgi_app = guarded  # type: ignore[method-assign]


def _close(socket: WebSocket) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        socket.close(POLICY_VIOLATION, "the access has ended; log in again")


def _is_on_this_machine(environ: dict[str, Any]) -> bool:
    return is_local(environ.get("REMOTE_ADDR", "")) and not was_forwarded(environ)


def accepts_page(accepted: str) -> bool:
    """Return whether the current request is that of a browser for a page, by its header Accept."""
    return request.method in _READING and "text/html" in accepted


def _unknown_host(header: str) -> Response:
    return error_response(
        421,
        f"unknown host name {header[:100]!r}; open this service by its address or by the name of "
        "its machine, or add the name to WEB_HOSTS",
    )


def _signer(secret: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret, salt="session")


def _new_secret(path: Path) -> bytes:
    """Return the key that signs cookies; create its file where there is none.

    Raises SettingsError where that is impossible.
    """
    try:
        if not path.exists():
            _create_secret(path)
        secret = _read_secret(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; sessions need this file") from error
    if not secret:
        raise SettingsError(f"{path}: too short for a key; delete it, and a new one is made")
    return secret


def _create_secret(path: Path) -> None:
    """Create the file of a key, whole and on the disk, unless another process does it first."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with replacing(draft, text=True) as file:
        file.write(secrets.token_hex(32))
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def _read_secret(path: Path) -> bytes:
    """Return the key; nothing where there is none, or one that could be guessed."""
    try:
        secret = path.read_bytes().strip()
    except FileNotFoundError:
        return b""
    return secret if len(secret) >= LEAST_KEY_BYTES else b""
