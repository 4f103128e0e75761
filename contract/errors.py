"""The base of all Meterflow errors, and the error of a message. Packages define their own.

MeterflowError
├── PayloadError        a message breaks the contract
├── SettingsError       a setting is wrong: a person must change it        (service.errors)
├── BrokerError         the MQTT broker is unreachable or rejects us       (service.errors)
├── StorageError        the database is unreachable, full or not ours      (history.errors)
└── GatewayError        a Modbus gateway or its line has a fault           (gateway_bridge.modbus)
    ├── MeterTimeout    a meter did not respond in time
    └── MeterFault      a meter returned an exception or invalid data
        └── MeterRefusal    a meter refuses registers that it has never returned
"""


class MeterflowError(Exception):
    """Base class of all Meterflow errors. The message has cause, place and remedy, for a person."""


class PayloadError(MeterflowError):
    """Raised when a message breaks the contract.

    `reason` is one of a few fixed words, to be counted; `problems` lists (field, message).
    """

    def __init__(self, reason: str, problems: list[tuple[str, str]]) -> None:
        self.reason = reason
        self.problems = problems
        super().__init__(
            "; ".join(f"{field}: {text}" if field else text for field, text in problems)
        )
