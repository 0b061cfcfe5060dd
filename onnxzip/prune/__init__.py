"""To be written: prune."""
