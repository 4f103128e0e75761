"""Commands for commissioning and diagnostics: scan, read, plan, doctor."""

from service.cli import Command

COMMANDS = {
    "scan": Command("gateway_bridge.commands.scan", "find the meters on a line"),
    "read": Command("gateway_bridge.commands.read", "read one meter and show its values"),
    "plan": Command(
        "gateway_bridge.commands.plan",
        "show the requests, their time, and whether the interval can be kept",
    ),
    "doctor": Command(
        "gateway_bridge.commands.doctor",
        "find what is wrong between here and the meters, and how to fix it",
    ),
}
