"""Copy this to the board as config.py and fill it in."""

WIFI_SSID = "my network"
WIFI_PASSWORD = "its password"

BROKER = "192.168.1.10"
PORT = 1883
# The unit's user at the broker (python -m broker add-user esp1), or None for a broker without.
USER = "esp1"
PASSWORD = "its password"

# 1 to 32 letters, digits, "_" or "-"; where the broker has users, the same as USER.
METER_ID = "esp1"
INTERVAL_S = 10
