"""The meter models the bridge can read: one file each, listed by the name in the settings."""

from gateway_bridge.models.eastron import CODE_REGISTER
from gateway_bridge.models.em340 import EM340
from gateway_bridge.models.model import MeterModel
from gateway_bridge.models.sdm72v2 import SDM72V2
from gateway_bridge.models.sdm120 import SDM120
from gateway_bridge.models.sdm230 import SDM230
from gateway_bridge.models.sdm630 import SDM630
from gateway_bridge.models.sdm630mct import SDM630MCT
from gateway_bridge.models.sdm630v1 import SDM630V1

MODELS: dict[str, MeterModel] = {
    model.name: model for model in (SDM630, SDM630V1, SDM630MCT, SDM72V2, SDM120, SDM230, EM340)
}

METER_CODES: dict[tuple[int, int], str] = {
    **{
        (model.code_register, model.code): name
        for name, model in MODELS.items()
        if model.code_register is not None and model.code is not None
    },
    **{(0x000B, code): "em340" for code in (331, 332, 335, 336, 345, 346)},
    (CODE_REGISTER, 0x0084): "SDM72D-M (first series, another register map)",
}
"""The model for what a meter answers at a code register: its name in the settings, or its title
where the bridge cannot read it."""

CODE_REGISTERS = tuple(dict.fromkeys(register for register, _ in METER_CODES))
"""The registers that may hold a meter's code, when its maker is not known."""

__all__ = ["CODE_REGISTERS", "METER_CODES", "MODELS", "MeterModel"]
