"""Learn better ranking params from logged experience, off-policy."""
