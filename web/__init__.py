"""REST, WebSocket, Socket.IO and the dashboard."""

from flask import Flask

import history  # noqa: F401  # before peewee: see there
from web import (
    access,
    assets,
    diagnostics,
    energy,
    headers,
    health,
    live,
    login,
    meter_settings,
    meters,
    metrics,
    openapi,
    pages,
    posting,
    quantities,
    readings,
    responses,
    site,
    statements,
    summary,
    tariffs,
    traces,
    utility_readings,
    voids,
)
from web.context import KEY, Parts
from web.proxies import TrustedProxies
from web.settings import WebSettings

LARGEST_BODY_BYTES = 65536
APIS = (
    meters.api,
    meter_settings.api,
    diagnostics.api,
    energy.api,
    summary.api,
    site.api,
    statements.api,
    utility_readings.api,
    voids.api,
    readings.api,
    posting.api,
    quantities.api,
    tariffs.api,
    traces.api,
)
BLUEPRINTS = (
    assets.blueprint,
    login.blueprint,
    pages.blueprint,
    health.blueprint,
    metrics.blueprint,
)


def create_app(settings: WebSettings) -> Flask:
    """Return the app. Its parts, not started yet, are `app.extensions[KEY]`."""
    app = Flask("web")
    shared = Parts.of(settings)
    app.extensions[KEY] = shared
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    responses.init_app(app)
    headers.init_app(app, shared)
    access.init_app(app, shared.access)
    openapi.init_app(app, *APIS)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    live.init_app(app, shared)
    access.guard_socketio(app, shared.access)
    app.wsgi_app = TrustedProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    return app
