"""/quantities/: the catalogue of quantities, for programs that name and label values."""

from typing import Annotated

import orjson
from flask import Response
from pydantic import Field
from typing_extensions import TypedDict

from contract.quantities import QUANTITIES
from web.openapi import Api
from web.representations import Form, FormQuery, csv_text, respond

api = Api("quantities", "quantities", "The catalogue of quantities")


class Quantity(TypedDict):
    """One thing that a meter measures."""

    name: Annotated[str, Field(description="Its name in readings and topics.")]
    label: Annotated[str, Field(description="Its name for people.")]
    unit: Annotated[str, Field(description="Its unit; empty for a ratio.")]
    decimals: Annotated[int, Field(description="Digits after the point that are worth showing.")]
    counter: Annotated[bool, Field(description="Whether it only increases.")]
    additive: Annotated[bool, Field(description="Whether a meter's value is the sum of phases.")]
    lowest: Annotated[float, Field(description="The lowest value that is accepted.")]
    highest: Annotated[float, Field(description="The highest value that is accepted.")]
    device_class: Annotated[str | None, Field(description="Device class of Home Assistant.")]
    state_class: Annotated[str, Field(description="State class of Home Assistant.")]


CATALOGUE = [
    Quantity(
        name=quantity.name,
        label=quantity.label,
        unit=quantity.kind.unit,
        decimals=quantity.kind.decimals,
        counter=quantity.kind.counter,
        additive=quantity.kind.additive,
        lowest=quantity.kind.lowest,
        highest=quantity.kind.highest,
        device_class=quantity.kind.device_class,
        state_class=quantity.kind.state_class,
    )
    for quantity in QUANTITIES
]


@api.add(
    "GET",
    "/quantities/",
    summary="All quantities",
    operation_id="list_quantities",
    response=list[Quantity],
    csv=True,
    versioned=True,
)
def list_quantities(query: FormQuery) -> Response:
    """Return the quantities that Meterflow knows, whether or not a meter sends them."""
    form = query.form
    if form is Form.CSV:
        rows = [tuple(CATALOGUE[0]), *(tuple(quantity.values()) for quantity in CATALOGUE)]
        return respond(csv_text(rows), form, is_fixed=True)
    return respond(orjson.dumps(CATALOGUE), is_fixed=True)
