"""Other programs that store what is published, for the blows of `losses.py`."""
