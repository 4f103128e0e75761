"""The pages of the dashboard. Each holds the catalogue, its only source of labels and units."""

from flask import Blueprint, Response, make_response, render_template

from contract import topics
from contract.quantities import BY_NAME, QUANTITIES
from service import __version__
from web.context import parts

blueprint = Blueprint("pages", __name__)

CATALOGUE = [
    {
        "name": quantity.name,
        "label": quantity.label,
        "unit": quantity.kind.unit,
        "decimals": quantity.kind.decimals,
        "counter": quantity.kind.counter,
        "additive": quantity.kind.additive,
        "kilo": quantity.kind.kilo,
    }
    for quantity in QUANTITIES
]

_NO_SUCH_METER = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>No such meter</title>
<h1>No such meter</h1>
<p>A meter id has 1 to 32 letters, digits, “_” or “-”. <a href="/">All meters</a></p>
"""


@blueprint.get("/")
def overview() -> str:
    """Show all meters."""
    return _page("index.html", None)


@blueprint.get("/meter/<meter_id>")
def meter(meter_id: str) -> str | Response:
    """Show one meter, even one that has not sent anything yet."""
    if not topics.METER_ID.fullmatch(meter_id):
        return make_response(_NO_SUCH_METER, 404)
    return _page("meter.html", meter_id)


def _page(template: str, meter_id: str | None) -> str:
    shared = parts()
    return render_template(
        template,
        catalogue=CATALOGUE,
        label=_label,
        meter_id=meter_id,
        version=__version__,
        zone=shared.zone.key,
        broker_host=shared.settings.mqtt_host,
        broker_port=shared.settings.mqtt_port,
    )


def _label(name: str) -> str:
    return BY_NAME[name].label
