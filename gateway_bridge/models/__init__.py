"""The meter models the bridge can read: one file each, listed here by the name in settings."""

from gateway_bridge.models.model import MeterModel
from gateway_bridge.models.sdm630 import SDM630

MODELS: dict[str, MeterModel] = {model.name: model for model in (SDM630,)}

__all__ = ["MODELS", "MeterModel"]
