"""The pages of the dashboard. Each holds the catalogue, its only source of labels and units."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Blueprint, Response, make_response, render_template

from contract import topics
from contract.quantities import BY_NAME, QUANTITIES
from service import __version__
from web import languages
from web.context import parts
from web.languages import translated

blueprint = Blueprint("pages", __name__)
blueprint.add_app_template_global(translated, "_")  # its usual name in templates

_NO_SUCH_METER = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>No such meter</title>
<h1>No such meter</h1>
<p>A meter id has 1 to 32 letters, digits, “_” or “-”. <a href="/">All meters</a></p>
"""


@dataclass(frozen=True, slots=True)
class View:
    """A page that the navigation leads to: its name is that of its template and its module."""

    name: str
    path: str
    title: str


VIEWS = (
    View("overview", "/", "Overview"),
    View("history", "/view/history", "History"),
)
"""The navigation, in its order. The titles are English: templates translate them."""


@blueprint.get("/meter/<meter_id>")
def meter(meter_id: str) -> str | Response:
    """Show one meter, even one that has not sent anything yet."""
    if not topics.METER_ID.fullmatch(meter_id):
        return make_response(_NO_SUCH_METER, 404)
    return _page("meter", meter_id=meter_id)


def _page(name: str, **values: Any) -> str:
    shared = parts()
    language = languages.requested()
    return render_template(
        f"{name}.html",
        page=name,
        views=VIEWS,
        catalogue=_catalogue(language),
        language=language,
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
    return translated(BY_NAME[name].label)


@cache
def _catalogue(language: str) -> list[dict[str, Any]]:
    texts = languages.texts(language)
    return [
        {
            "name": quantity.name,
            "label": texts.get(quantity.label, quantity.label),
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
