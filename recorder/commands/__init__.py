"""Commands for the person who looks after the history; each may run beside a recorder."""
