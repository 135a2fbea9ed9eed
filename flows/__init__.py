"""Procedures, readable as a methods section; one per file, named after it."""
