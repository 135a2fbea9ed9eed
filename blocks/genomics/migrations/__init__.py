"""Alembic's steps from no tables to those of `tables.py`; run by `schema.migrate`."""
