"""To be written: quantize."""
