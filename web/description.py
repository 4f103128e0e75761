"""The OpenAPI 3.1 document of the interface, made from the endpoints and the types they name."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from service import __version__
from web.openapi import Endpoint

Schema = dict[str, Any]
_REF = "#/components/schemas/"
_SECURITY: dict[str, Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `meterflow web add-token`, for programs.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "meterflow_session",
        "description": "The cookie that the login page sets, for browsers.",
    },
}
_NEXT_PAGE = {
    "description": 'The address of the next page, as in `<…>; rel="next"`; absent on the last.',
    "schema": {"type": "string"},
}
_ETAG = {
    "description": "Only of a period that has ended; send it back in `If-None-Match`.",
    "schema": {"type": "string"},
}


class Problem(BaseModel):
    """An error as one sentence: what happened, and what to do."""

    detail: str


class InvalidField(BaseModel):
    """An invalid field of a request: where it is, and what was expected."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidFields(BaseModel):
    """The invalid fields of a request."""

    detail: list[InvalidField]


_ERRORS: dict[int, tuple[str, type[BaseModel]]] = {
    400: ("The body is not JSON.", Problem),
    401: ("Log in, or send a token that is valid.", Problem),
    403: ("The user or token has no right to this.", Problem),
    404: ("There is no such meter.", Problem),
    406: ("The response comes in none of the accepted forms.", Problem),
    413: ("The body is too large.", Problem),
    415: ("The body has another Content-Type than application/json.", Problem),
    421: ("The service has another host name; see WEB_HOSTS.", Problem),
    422: ("Some fields are invalid.", InvalidFields),
    503: ("The history or the broker is unavailable; try again.", Problem),
}


def document(endpoints: Sequence[Endpoint], tags: Sequence[Schema], root: str) -> Schema:
    """Return the document, ready to be written as JSON; `root` is the path of the service."""
    schemas = _Schemas()
    paths: Schema = {}
    for endpoint in endpoints:
        rule = re.sub(r"<(\w+:)?(\w+)>", r"{\2}", endpoint.rule)
        paths.setdefault(rule, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meterflow",
            "version": __version__,
            "description": "Readings of electricity meters. Live: /ws/{meter_id} and Socket.IO.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root, "description": "The service that returned this document."}],
        "security": [{}, *({name: []} for name in _SECURITY)],
        "tags": list(tags),
        "paths": paths,
        "components": {"schemas": schemas.named, "securitySchemes": _SECURITY},
    }


def _operation(endpoint: Endpoint, schemas: "_Schemas") -> Schema:
    models = endpoint.models
    operation: Schema = {
        "operationId": endpoint.operation_id,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": " ".join((endpoint.function.__doc__ or "").split()),
        "parameters": [
            parameter
            for place in ("path", "query")
            if place in models
            for parameter in _parameters(place, models[place], schemas)
        ],
        "responses": {
            str(status): response for status, response in sorted(_responses(endpoint, schemas))
        },
    }
    if "body" in models:
        examples = {name: {"value": value} for name, value in endpoint.examples.items()}
        content = {"schema": schemas.of(models["body"], "validation"), "examples": examples}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _parameters(place: str, model: type[BaseModel], schemas: "_Schemas") -> Iterator[Schema]:
    schema = schemas.with_properties(model)
    for name, part in sorted(schema["properties"].items(), key=lambda item: item[0] == "format"):
        kind = {key: value for key, value in part.items() if key not in {"title", "description"}}
        kind = _without_null(kind)
        yield {
            "name": name,
            "in": place,
            "required": name in schema.get("required", ()),
            "description": part.get("description", ""),
            "schema": kind,
        } | ({"style": "form", "explode": False} if kind.get("type") == "array" else {})


def _responses(endpoint: Endpoint, schemas: "_Schemas") -> Iterator[tuple[int, Schema]]:
    if endpoint.response is not None or not endpoint.responses:
        yield 200, _success(endpoint, schemas)
    if endpoint.versioned:
        yield 304, {"description": "Unchanged since the response with this ETag."}
    for status, response in endpoint.responses.items():
        kind = response.get("response", Problem if status >= 400 else Any)
        content = schemas.of(kind, "serialization")
        yield status, _response(response["description"], content)
    for status in _errors(endpoint):
        if status not in endpoint.responses:
            text, model = _ERRORS[status]
            yield status, _response(text, schemas.of(model, "serialization"))


def _success(endpoint: Endpoint, schemas: "_Schemas") -> Schema:
    kind = Any if endpoint.response is None else endpoint.response
    response = _response("OK", schemas.of(kind, "serialization"))
    for is_there, kind in ((endpoint.csv, "text/csv"), (endpoint.html, "text/html")):
        if is_there:
            response["content"][kind] = {"schema": {"type": "string"}}
    headers = {}
    if endpoint.paged:
        headers["Link"] = _NEXT_PAGE
    if endpoint.versioned:
        headers["ETag"] = _ETAG
    return response | ({"headers": headers} if headers else {})


def _response(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(endpoint: Endpoint) -> Iterator[int]:
    models = endpoint.models
    yield from (401, 403, 421, 503)
    yield from (400, 413, 415) if "body" in models else ()
    yield from (404,) if "path" in models else ()
    yield from (406,) if endpoint.csv else ()
    yield from (422,) if models else ()


class _Schemas:
    """The JSON schemas of types; those with a name stand once, in the components."""

    def __init__(self) -> None:
        self.named: dict[str, Schema] = {}

    def of(self, kind: Any, mode: JsonSchemaMode) -> Schema:
        """Return the schema of a type, or a reference to it."""
        schemas, definitions = TypeAdapter.json_schemas(
            [("", mode, TypeAdapter(kind))], ref_template=f"{_REF}{{model}}"
        )
        self.named |= definitions.get("$defs", {})
        return dict(schemas["", mode])

    def with_properties(self, model: type[BaseModel]) -> Schema:
        """Return the schema of a model itself; what it refers to stands in the components."""
        schema = model.model_json_schema(ref_template=f"{_REF}{{model}}")
        self.named |= schema.pop("$defs", {})
        return schema


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a parameter: one that is absent is not null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {n: v for n, v in schema.items() if n != "anyOf" and (n, v) != ("default", None)}
    if not kinds:
        return rest
    return {**rest, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})}
