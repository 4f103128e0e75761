"""The errors of Meterflow. A message says who, where and what, for a person to read.

PipelineError
├── SettingsError       a setting is wrong: a person must change it
├── PayloadError        a message is not what the contract says
├── BusError            the MQTT broker is away or refuses
├── StorageError        the database is away, full or not ours
└── GatewayError        a Modbus gateway or its line is at fault
    ├── MeterTimeout    a meter did not answer in time
    └── MeterFault      a meter answered, with an exception or with nonsense
"""


class PipelineError(Exception):
    """Whatever Meterflow itself has to say went wrong."""


class SettingsError(PipelineError):
    """Raised when a setting is wrong."""


class PayloadError(PipelineError):
    """Raised when a message is not what the contract says.

    `reason` is one of a few fixed words to count by; `problems` lists (field, message).
    """

    def __init__(self, reason: str, problems: list[tuple[str, str]]) -> None:
        self.reason = reason
        self.problems = problems
        super().__init__(
            "; ".join(f"{field}: {text}" if field else text for field, text in problems)
        )


class BusError(PipelineError):
    """Raised when the MQTT broker is away or refuses."""


class StorageError(PipelineError):
    """Raised when the database is away, full, locked or not ours."""


class GatewayError(PipelineError):
    """Raised when a Modbus gateway or its line is at fault."""


class MeterTimeout(GatewayError):
    """Raised when a meter did not answer in time."""


class MeterFault(GatewayError):
    """Raised when a meter answered, with a Modbus exception `code` or (None) with nonsense."""

    def __init__(self, text: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(text)


class MeterRefusal(MeterFault):
    """Raised when a meter refuses registers that it has never given: it may not have them."""
