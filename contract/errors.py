"""The base of all Meterflow errors, and the error of a message. Each room defines its own errors.

MeterflowError
├── PayloadError        a message breaks the contract
├── SettingsError       a setting is wrong: a person must change it        (service.errors)
├── BrokerError         the MQTT broker is unreachable or refuses          (service.errors)
├── StorageError        the database is unreachable, full or not ours      (history.errors)
└── GatewayError        a Modbus gateway or its line has a fault           (gateway_bridge.modbus)
    ├── MeterTimeout    a meter did not answer in time
    └── MeterFault      a meter answered with an exception or with invalid data
        └── MeterRefusal    a meter refuses registers that it has never returned
"""


class MeterflowError(Exception):
    """Base class of all Meterflow errors. The message names who, where and what, for a person."""


class PayloadError(MeterflowError):
    """Raised when a message breaks the contract.

    `reason` is one of a few fixed words to count by; `problems` lists (field, message).
    """

    def __init__(self, reason: str, problems: list[tuple[str, str]]) -> None:
        self.reason = reason
        self.problems = problems
        super().__init__(
            "; ".join(f"{field}: {text}" if field else text for field, text in problems)
        )
