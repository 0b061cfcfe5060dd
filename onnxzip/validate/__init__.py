"""To be written: validate."""
