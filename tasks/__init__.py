"""One step each, and the algorithms that decide."""
