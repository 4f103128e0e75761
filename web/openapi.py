"""The description of the REST interface, and the page that shows it, without the internet."""

from pathlib import Path
from typing import Any

import flask_openapi3_swagger  # type: ignore[import-untyped]  # publishes no types
from flask import Blueprint, Response, current_app, jsonify, send_from_directory
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel

from service import __version__
from web.answers import wrong_fields

ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Meterflow: REST interface</title>
  <link rel="icon" href="/docs/assets/images/swagger.svg">
  <link rel="stylesheet" href="/docs/assets/css/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="/docs/assets/js/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""

blueprint = Blueprint("openapi", __name__)


class WrongField(BaseModel):
    """A field of a request that is wrong."""

    loc: list[str | int]
    msg: str
    type: str


class WrongFields(BaseModel):
    """What is wrong with a request."""

    detail: list[WrongField]


def make_app() -> OpenAPI:
    """Return an app that checks requests by their models and describes itself."""
    app = OpenAPI(
        "web",
        info=Info(
            title="Meterflow",
            version=__version__,
            description="Readings of electricity meters. Live: /ws/{meter_id} and Socket.IO.",
        ),
        doc_ui=False,
        validation_error_model=WrongFields,
        validation_error_callback=wrong_fields,
    )
    app.register_blueprint(blueprint)
    return app


@blueprint.get("/openapi.json")
def description() -> Response:
    """Answer the description of the interface (OpenAPI 3.1)."""
    document: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]  # an OpenAPI app
    return jsonify(document)


@blueprint.get("/docs", strict_slashes=False)
@blueprint.get("/docs/", strict_slashes=False)
def page() -> str:
    """Show the interface, to read and to try."""
    return _PAGE


@blueprint.get("/docs/start.js")
def start_script() -> Response:
    """Start Swagger UI; in a file of its own, since pages may hold no scripts."""
    return Response(_START, mimetype="text/javascript")


@blueprint.get("/docs/assets/<path:name>")
def asset(name: str) -> Response:
    """Answer a file of Swagger UI."""
    return send_from_directory(ASSETS, name)
