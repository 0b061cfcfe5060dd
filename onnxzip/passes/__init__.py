"""To be written: passes."""
