"""To be written: calibrate."""
