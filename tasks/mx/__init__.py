"""Macromolecular crystallography: checks, judgements, pictures, steps."""
