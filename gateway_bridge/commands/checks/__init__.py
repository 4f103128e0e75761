"""What the doctor checks: broker, line, meter and pace."""
