"""Scripts for developers; nothing here is installed on a user's machine."""
