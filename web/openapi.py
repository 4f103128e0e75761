"""The OpenAPI description of the REST interface, and its page, which needs no other host."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import flask_openapi3_swagger  # type: ignore[import-untyped]  # publishes no types
from flask import Blueprint, Response, current_app, jsonify, request, send_from_directory
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel, ValidationError

from service import __version__
from web.responses import invalid_fields

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


class InvalidField(BaseModel):
    """An invalid field of a request."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidFields(BaseModel):
    """The invalid fields of a request."""

    detail: list[InvalidField]


class Api(APIBlueprint):
    """Endpoints that are described, and whose requests are validated, by their models.

    flask-openapi3 4.3 builds the JSON schema of the query's model for each request, which takes
    longer than all the rest of it.
    """

    @staticmethod
    def create_view_func(func: Any, *models: Any, **_options: Any) -> Callable[..., Response]:
        """Return the view that validates a request and passes its models to an endpoint."""
        _, _, path, query, _, body, _ = models

        @wraps(func)
        def view(**names: str) -> Response:
            given: dict[str, BaseModel] = {}
            try:
                if path:
                    given["path"] = path.model_validate(names)
                if query:
                    given["query"] = query.model_validate(request.args.to_dict())
                if body:
                    given["body"] = body.model_validate(request.get_json(silent=True))
            except ValidationError as error:
                return invalid_fields(error)
            response: Response = func(**given)
            return response

        return view


def make_app() -> OpenAPI:
    """Return an app that describes its interface."""
    app = OpenAPI(
        "web",
        info=Info(
            title="Meterflow",
            version=__version__,
            description="Readings of electricity meters. Live: /ws/{meter_id} and Socket.IO.",
        ),
        doc_ui=False,
        validation_error_model=InvalidFields,
    )
    app.register_blueprint(blueprint)
    return app


@blueprint.get("/openapi.json")
def description() -> Response:
    """Return the OpenAPI 3.1 description of the interface."""
    document: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]  # an OpenAPI app
    return jsonify(document)


@blueprint.get("/docs", strict_slashes=False)
@blueprint.get("/docs/", strict_slashes=False)
def page() -> str:
    """Show the interface in Swagger UI, to read and to try out."""
    return _PAGE


@blueprint.get("/docs/start.js")
def start_script() -> Response:
    """Start Swagger UI; the content security policy forbids inline scripts."""
    return Response(_START, mimetype="text/javascript")


@blueprint.get("/docs/assets/<path:name>")
def asset(name: str) -> Response:
    """Return a file of Swagger UI."""
    return send_from_directory(ASSETS, name)
