"""/healthz and /readyz: for whoever watches over the service."""

from flask import Blueprint, Response

from history.errors import StorageError
from web.answers import json_answer, refusal
from web.context import parts

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer as long as the process serves."""
    return json_answer('{"status":"ok"}')


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 503 with what is missing while broker or history are away."""
    shared = parts()
    missing = []
    if not shared.bus.connected:
        missing.append(f"broker {shared.bus.address}: {shared.bus.trouble}")
    try:
        shared.stored.check()
    except StorageError as error:
        missing.append(str(error))
    return refusal(503, "; ".join(missing)) if missing else json_answer('{"status":"ready"}')
