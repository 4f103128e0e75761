"""The login page: a password opens a session. Attempts slow down per address."""

import logging
from math import ceil
from time import monotonic

import gevent
from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from gevent.lock import BoundedSemaphore

from service.errors import SettingsError
from web.access import COOKIE
from web.context import parts
from web.languages import translated
from web.origins import is_cross_origin
from web.users import Account, is_password

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 2
"""Passwords checked at once: each check takes 0.1 s of a core and 32 MB."""

blueprint = Blueprint("login", __name__)
_checks = BoundedSemaphore(MOST_AT_ONCE)


@blueprint.get("/login")
def page() -> Response:
    """Show the login page; go on where there is a session already."""
    access = parts().access
    caller = access.caller(request.environ)
    if caller and (caller.name or caller.role == "editor"):
        return _go_on()
    if not access.users.accounts().has_users:
        return _page(
            translated(
                "There are no users yet. On the machine that runs Meterflow, “meterflow web "
                "add-user NAME” adds one."
            )
        )
    return _page("")


@blueprint.post("/login")
def log_in() -> Response:
    """Open a session, or show why not."""
    if is_cross_origin(request.environ):
        return _page(translated("A page of another site sent this. Log in here."), 403)
    attempts, source = parts().access.attempts, request.remote_addr or ""
    wait_s = attempts.begin(source, monotonic())
    if wait_s:
        return _wait(wait_s)
    account = _checked(request.form.get("name", ""), request.form.get("password", ""))
    if account is None:
        logger.warning("login: wrong name or password from %s", source)
        return _page(translated("Name or password is wrong."), 401)
    attempts.succeed(source)
    logger.info("login: %s from %s", account.name, source)
    response = _go_on()
    try:
        parts().access.log_in(account, response)
    except SettingsError as error:
        return _page(f"No session can begin: {error}", 503)
    return response


@blueprint.post("/logout")
def log_out() -> Response:
    """End the session of this browser."""
    if is_cross_origin(request.environ):
        return _page(translated("A page of another site sent this."), 403)
    response = make_response(redirect(url_for("login.page"), 303))
    response.delete_cookie(COOKIE, path=f"{request.script_root}/")
    return response


def local_target(text: str) -> str:
    """Return an address of this service from a link; the overview where it leads elsewhere."""
    is_local = text.startswith("/") and not text.startswith("//") and "\\" not in text
    return text if is_local and text.isprintable() else "/"


def _checked(name: str, password: str) -> Account | None:
    account = parts().access.users.accounts().user(name)
    with _checks:  # in a thread, which does not block other requests
        right = gevent.get_hub().threadpool.apply(is_password, (account, password))
    return account if right else None


def _go_on() -> Response:
    target = local_target(request.args.get("next", "/"))
    return make_response(redirect(f"{request.script_root}{target}", 303))


def _wait(wait_s: float) -> Response:
    seconds = ceil(wait_s)
    response = _page(
        translated("Too many attempts. Try again in {seconds} s.").format(seconds=seconds), 429
    )
    response.headers["Retry-After"] = str(seconds)
    return response


def _page(problem: str, status: int = 200) -> Response:
    response = make_response(
        render_template("login.html", problem=problem, name=request.form.get("name", "")), status
    )
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Meterflow"'
    return response
