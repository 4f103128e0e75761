"""The pages of the dashboard. Each holds the catalogue, its only source of labels and units."""

from functools import cache
from typing import Any, NamedTuple

from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from contract import topics
from contract.quantities import BY_NAME, QUANTITIES
from service import __version__
from web import languages
from web.access import accepts_page
from web.context import parts
from web.languages import translated
from web.responses import http_error

blueprint = Blueprint("pages", __name__)
blueprint.add_app_template_global(translated, "_")  # its usual name in templates
blueprint.add_app_template_global(languages.requested, "language")


class View(NamedTuple):
    """A page that the navigation leads to: its name is that of its template and its module."""

    name: str
    path: str
    title: str


VIEWS = (
    View("overview", "/", "Overview"),
    View("history", "/view/history", "History"),
)
"""The navigation, in its order, with English titles."""


@blueprint.get("/meter/<meter_id>")
def meter(meter_id: str) -> str | Response:
    """Show one meter, even one that has not sent anything yet."""
    if not topics.METER_ID.fullmatch(meter_id):
        return _message(
            translated("No such meter"),
            translated("A meter id has 1 to 32 letters, digits, “_” or “-”."),
        )
    return _page("meter", meter_id=meter_id)


@blueprint.get("/offline")
def offline() -> str:
    """Return the word that the service is away; browsers keep it (`service-worker.js`)."""
    return render_template("offline.html")


@blueprint.get("/service-worker.js")
def service_worker() -> Response:
    """Return the script that shows the word above."""
    script = render_template("service-worker.js", version=__version__)
    return Response(script, mimetype="text/javascript")


@blueprint.app_errorhandler(404)
def not_found(error: HTTPException) -> Response:
    """Answer a person with a page, a program with JSON."""
    if not accepts_page(request.headers.get("Accept", "")):
        return http_error(error)
    return _message(translated("There is no page here"), translated("The address may be misspelt."))


def _message(title: str, text: str) -> Response:
    return make_response(render_template("error.html", title=title, text=text), 404)


def _page(name: str, **values: Any) -> str:
    shared = parts()
    language = languages.requested()
    return render_template(
        f"{name}.html",
        page=name,
        views=[view._replace(title=languages.text(view.title, language)) for view in VIEWS],
        catalogue=_catalogue(language),
        texts=languages.texts(language),
        label=_label,
        version=__version__,
        zone=shared.zone.key,
        currency=shared.tariffs.currency if shared.tariffs else None,
        broker_host=shared.settings.mqtt_host,
        broker_port=shared.settings.mqtt_port,
        **values,
    )


def _label(name: str) -> str:
    return languages.label(BY_NAME[name].label, languages.requested())


@cache
def _catalogue(language: str) -> list[dict[str, Any]]:
    return [
        {
            "name": quantity.name,
            "label": languages.label(quantity.label, language),
            "unit": quantity.kind.unit,
            "decimals": quantity.kind.decimals,
            "counter": quantity.kind.counter,
            "additive": quantity.kind.additive,
            "kilo": quantity.kind.kilo,
        }
        for quantity in QUANTITIES
    ]


for _view in VIEWS:
    blueprint.add_url_rule(_view.path, _view.name, _page, defaults={"name": _view.name})
