"""The endpoints of the REST interface: validated by their models, and described by them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    render_template,
    request,
    send_from_directory,
)
from pydantic import BaseModel, TypeAdapter, ValidationError

from web.responses import error_response, invalid_fields, json_response

View = TypeVar("View", bound=Callable[..., Response])

blueprint = Blueprint("openapi", __name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint and what its description adds to the models of its parameters.

    `response` is the type of the JSON with status 200; `csv`, `html`: it also comes as such;
    `paged`: with a link to the next page; `versioned`: with an ETag for a period that has ended.
    `responses` holds those with another status: a `description`, and a `response` unless it is an
    error. `examples` are bodies by their names.
    """

    method: str
    rule: str
    function: Callable[..., Response]
    operation_id: str
    tag: str
    summary: str = ""
    response: Any = None
    csv: bool = False
    html: bool = False
    paged: bool = False
    versioned: bool = False
    responses: dict[int, dict[str, Any]] = field(default_factory=dict)
    examples: dict[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, Any]:
        """The types of `path`, `query` and `body`, where the function takes them."""
        hints = get_type_hints(self.function, include_extras=True)
        return {name: hints[name] for name in ("path", "query", "body") if name in hints}


class Api(Blueprint):
    """Endpoints with models of `path`, `query` and `body`, by which their requests are validated.

    The body may be a type or a list: `body: NewReading | list[NewReading]`.
    """

    def __init__(self, name: str, tag: str, about: str) -> None:
        super().__init__(name, __name__)
        self.tag = {"name": tag, "description": about}
        self.endpoints: list[Endpoint] = []

    def add(self, method: str, rule: str, **options: Any) -> Callable[[View], View]:
        """Add an endpoint; the options are those of its description, such as `summary`."""

        def added(function: View) -> View:
            options.setdefault("operation_id", f"{self.name}_{function.__name__}")
            endpoint = Endpoint(method, rule, function, tag=self.tag["name"], **options)
            self.endpoints.append(endpoint)
            view = _validated(endpoint)
            self.add_url_rule(rule, view_func=view, methods=[method], strict_slashes=False)
            return function

        return added


def _validated(endpoint: Endpoint) -> Callable[..., Response]:
    path, query, body = map(endpoint.models.get, ("path", "query", "body"))
    bodies = [TypeAdapter[Any](kind) for kind in get_args(body) or filter(None, [body])]

    @wraps(endpoint.function)
    def view(**names: str) -> Response:
        given: dict[str, Any] = {}
        place = "path"
        try:
            if path:
                given["path"] = path.model_validate(names)
            place = "query"
            if query:
                given["query"] = _from_query(query, request.query_string)
            place = "body"
            if bodies:
                value = _json()
                kind = bodies[-1] if isinstance(value, list) else bodies[0]
                given["body"] = kind.validate_python(value)
        except ValidationError as error:
            return invalid_fields(place, error)
        return endpoint.function(**given)

    return view


@lru_cache(100)
def _from_query(model: type[BaseModel], text: bytes) -> BaseModel:  # noqa: ARG001  # the key
    """Return the parameters of the current request, once for each query string: clients poll.

    A list may come as `a,b` or as a parameter for each.
    """
    given = request.args.to_dict(flat=False)
    return model.model_validate({name: ",".join(values) for name, values in given.items()})


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


@blueprint.get("/openapi.json")
def description() -> Response:
    """Return the OpenAPI 3.1 description of the interface."""
    return json_response(_document(current_app.extensions[__name__], request.script_root))


@lru_cache(2)
def _document(apis: tuple[Api, ...], root: str) -> str:
    from web.description import document  # nobody may ever ask for it

    tags = {api.tag["name"]: api.tag for api in apis}
    endpoints = [endpoint for api in apis for endpoint in api.endpoints]
    return json.dumps(document(endpoints, list(tags.values()), root or "/"))


@blueprint.get("/docs", strict_slashes=False)
@blueprint.get("/docs/", strict_slashes=False)
def page() -> str:
    """Show the interface in Swagger UI, to read and to try out."""
    return render_template("docs.html")


@blueprint.get("/docs/start.js")
def start_script() -> Response:
    """Start Swagger UI; the content security policy forbids inline scripts."""
    return Response(render_template("docs.js"), mimetype="text/javascript")


@blueprint.get("/docs/assets/<path:name>")
def asset(name: str) -> Response:
    """Return a file of Swagger UI."""
    package = find_spec("flask_openapi3_swagger")
    assert package
    assert package.origin
    return send_from_directory(Path(package.origin).parent / "templates" / "swagger", name)
