"""Macromolecular crystallography: ISPyB, xia2, DIALS."""
