"""Copy this to the board as config.py and fill it in."""

WIFI_SSID = "my network"
WIFI_PASSWORD = "its password"

BROKER = "192.168.1.10"
PORT = 1883
# The device's user at the broker (meterflow broker add-user esp1), or None without users.
USER = "esp1"
PASSWORD = "its password"

# 1 to 32 letters, digits, "_" or "-"; the same as USER if the broker has users.
METER_ID = "esp1"
INTERVAL_S = 10
