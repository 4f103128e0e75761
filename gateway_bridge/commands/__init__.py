"""Commands for a person on site: scan, read, plan and doctor. None of them publishes anything."""
