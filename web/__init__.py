"""REST, WebSocket, Socket.IO and the dashboard."""

from flask import Flask

import history  # noqa: F401  # before peewee: see there
from web import energy, headers, health, live, meters, metrics, openapi, pages, readings, responses
from web.context import KEY, Parts
from web.settings import WebSettings

LARGEST_BODY_BYTES = 65536


def create_app(settings: WebSettings) -> Flask:
    """Return the app. Its parts, not started yet, are `app.extensions[KEY]`."""
    app = Flask("web")
    shared = Parts.of(settings)
    app.extensions[KEY] = shared
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    responses.init_app(app)
    headers.init_app(app, shared)
    openapi.init_app(app, meters.api, energy.api, readings.api)
    for blueprint in (pages.blueprint, health.blueprint, metrics.blueprint):
        app.register_blueprint(blueprint)
    live.init_app(app, shared)
    return app
