"""/healthz and /readyz: for monitoring."""

import json
from typing import Any

from flask import Blueprint, Response

from contract.topics import OFFLINE, ONLINE, RECORDER
from history.errors import StorageError
from web.context import Parts, parts
from web.responses import error_response, json_response

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 while the process serves requests."""
    return json_response('{"status":"ok"}')


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 200, or 503 with what is unavailable: broker, recorder, history."""
    shared = parts()
    missing, offline = [], list[str]()
    trouble = shared.subscriber.trouble
    if trouble is None:
        offline, online = _recorders(shared)
        if offline and not online:
            missing.append(f"{_named(offline)}: offline; readings are not stored until it runs")
    else:
        missing.append(f"broker {shared.subscriber.address}: {trouble}")
    try:
        shared.history.check()
    except StorageError as error:
        missing.append(str(error))
    if missing:
        return error_response(503, "; ".join(missing))
    ready: dict[str, Any] = {"status": "ready"}
    if offline:
        ready["warnings"] = [f"{_named(offline)}: offline; another one stores the readings"]
    return json_response(json.dumps(ready))


def _recorders(shared: Parts) -> tuple[list[str], list[str]]:
    """Return the recorders that are offline, and those that are online, by their last status."""
    prefix = f"_{RECORDER}/"
    statuses = {
        path.removeprefix(prefix): source.value("status")
        for path, source in shared.latest.services.items()
        if path.startswith(prefix)
    }
    offline, online = (
        sorted(name for name, status in statuses.items() if status == wanted)
        for wanted in (OFFLINE, ONLINE)
    )
    return offline, online


def _named(recorders: list[str]) -> str:
    return f"recorder {', '.join(recorders)}"
