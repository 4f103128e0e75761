"""The OpenAPI description of the REST interface, and its page, which needs no other host."""

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    jsonify,
    request,
    send_from_directory,
)
from pydantic import BaseModel, ValidationError

from service import __version__
from web.responses import error_response, invalid_fields

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

View = TypeVar("View", bound=Callable[..., Response])

blueprint = Blueprint("openapi", __name__)


class InvalidField(BaseModel):
    """An invalid field of a request."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidFields(BaseModel):
    """The invalid fields of a request."""

    detail: list[InvalidField]


class Endpoint(NamedTuple):
    """An endpoint as flask-openapi3 describes it."""

    method: str
    rule: str
    function: Callable[..., Response]
    options: dict[str, Any]


class Api(Blueprint):
    """Endpoints with models of `path`, `query` and `body`, by which their requests are validated.

    flask-openapi3 only describes them, on demand: it takes 3 MB, and version 4.3 builds the JSON
    schema of a query's model for each request, which takes longer than all the rest of it.
    """

    def __init__(self, name: str, tag: str, about: str) -> None:
        super().__init__(name, __name__)
        self.tag = {"name": tag, "description": about}
        self.endpoints: list[Endpoint] = []

    def add(self, method: str, rule: str, **options: Any) -> Callable[[View], View]:
        """Add an endpoint; the options are those of its description, such as `summary`."""

        def added(function: View) -> View:
            self.endpoints.append(Endpoint(method, rule, function, options))
            view = _validated(function)
            self.add_url_rule(rule, view_func=view, methods=[method], strict_slashes=False)
            return function

        return added


def _validated(function: Callable[..., Response]) -> Callable[..., Response]:
    models: dict[str, type[BaseModel]] = get_type_hints(function)
    path, query, body = map(models.get, ("path", "query", "body"))

    @wraps(function)
    def view(**names: str) -> Response:
        given: dict[str, BaseModel] = {}
        try:
            if path:
                given["path"] = path.model_validate(names)
            if query:
                given["query"] = _from_query(query, request.query_string)
            if body:
                given["body"] = body.model_validate(_json())
        except ValidationError as error:
            return invalid_fields(error)
        return function(**given)

    return view


@lru_cache(100)
def _from_query(model: type[BaseModel], text: bytes) -> BaseModel:  # noqa: ARG001  # the key
    """Return the parameters of the current request, once for each query string: clients poll."""
    return model.model_validate(request.args.to_dict())


def _json() -> Any:
    """Return the body of the current request; answer 415 or 400 where it is not JSON."""
    if not request.is_json:
        text = "send the reading as JSON, with Content-Type: application/json"
        abort(error_response(415, text))
    try:
        return json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        abort(error_response(400, f"the body is not JSON: {error}"))


def init_app(app: Flask, *apis: Api) -> None:
    """Add endpoints to an app, and their description."""
    for api in apis:
        app.register_blueprint(api)
    app.register_blueprint(blueprint)
    app.extensions[__name__] = apis


def _described(apis: tuple[Api, ...]) -> dict[str, Any]:
    from flask_openapi3.blueprint import APIBlueprint
    from flask_openapi3.models.info import Info
    from flask_openapi3.models.tag import Tag
    from flask_openapi3.openapi import OpenAPI

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
    for api in apis:
        described = APIBlueprint(api.name, __name__, abp_tags=[Tag(**api.tag)])
        for method, rule, function, options in api.endpoints:
            getattr(described, method.lower())(rule, **options)(function)
        app.register_api(described)
    document: dict[str, Any] = app.api_doc
    return document


@blueprint.get("/openapi.json")
def description() -> Response:
    """Return the OpenAPI 3.1 description of the interface."""
    return jsonify(_described(current_app.extensions[__name__]))


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
    package = find_spec("flask_openapi3_swagger")
    assert package
    assert package.origin
    return send_from_directory(Path(package.origin).parent / "templates" / "swagger", name)
