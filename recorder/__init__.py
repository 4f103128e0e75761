"""The recorder: from MQTT to the history. It is the only writer of the database."""

import history  # noqa: F401  # before peewee: see there
