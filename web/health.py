"""/healthz and /readyz: for monitoring."""

from flask import Blueprint, Response

from history.errors import StorageError
from web.context import parts
from web.responses import error_response, json_response

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 while the process serves requests."""
    return json_response('{"status":"ok"}')


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 200, or 503 with what is unavailable: broker, history or both."""
    subscriber = parts().subscriber
    missing = []
    if not subscriber.connected:
        missing.append(f"broker {subscriber.address}: {subscriber.trouble}")
    try:
        parts().history.check()
    except StorageError as error:
        missing.append(str(error))
    if missing:
        return error_response(503, "; ".join(missing))
    return json_response('{"status":"ready"}')
