"""The meter models the bridge can read: one file each, listed here by the name in settings."""

from gateway_bridge.models.model import MeterModel
from gateway_bridge.models.sdm72v2 import SDM72V2
from gateway_bridge.models.sdm120 import SDM120
from gateway_bridge.models.sdm230 import SDM230
from gateway_bridge.models.sdm630 import SDM630
from gateway_bridge.models.sdm630mct import SDM630MCT
from gateway_bridge.models.sdm630v1 import SDM630V1

MODELS: dict[str, MeterModel] = {
    model.name: model for model in (SDM630, SDM630V1, SDM630MCT, SDM72V2, SDM120, SDM230)
}

METER_CODES: dict[int, str] = {
    **{model.code: name for name, model in MODELS.items() if model.code is not None},
    0x0084: "SDM72D-M (first series, another register map)",
}
"""What a meter says it is, and its name here; or in words, where it is none of ours."""

__all__ = ["METER_CODES", "MODELS", "MeterModel"]
