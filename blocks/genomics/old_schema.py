"""Which of the tables and columns that we use an old database has, and which it lacks."""

from typing import Any

from sqlalchemy import ColumnElement, Engine, Inspector, inspect, null
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute

from blocks.database import database_errors
from blocks.errors import InconsistentInput
from blocks.genomics.tables import AssemblyLookupRow, Base

LOOKUPS = "assembly_lookup"
VERSIONS = "limsflow_schema"  # Alembic's own table, see `migrations/env.py`


class Present:
    """The tables and columns that are there; what is missing reads as empty."""

    def __init__(self, engine: Engine) -> None:
        with database_errors(), engine.connect() as connection:
            tables: Inspector = inspect(connection)
            names = set(tables.get_table_names())
            ours = [name for name in Base.metadata.tables if name in names]
            self.has_versions = VERSIONS in names
            self._columns = {
                name: {column["name"] for column in tables.get_columns(name)} for name in ours
            }
            unique = tables.get_unique_constraints(LOOKUPS) if LOOKUPS in ours else []
            self._unique = [one["column_names"] for one in unique]
            self._indexes = {
                name: {index["name"]: index["column_names"] for index in tables.get_indexes(name)}
                for name in ours
            }

    def has(self, *what: type[DeclarativeBase] | InstrumentedAttribute[Any]) -> bool:
        """Whether all of these tables and columns are there."""
        return all(
            one.key in self._columns.get(one.class_.__tablename__, set())
            if isinstance(one, InstrumentedAttribute)
            else one.__tablename__ in self._columns
            for one in what
        )

    def value(self, column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        """Return a column under its name; NULL if it is missing."""
        return (column if self.has(column) else null()).label(column.key)

    def values(self, *columns: InstrumentedAttribute[Any]) -> list[ColumnElement[Any]]:
        """Return columns under their names; NULL for those that are missing."""
        return [self.value(column) for column in columns]

    def require_enterobase(self) -> None:
        """Require a species database of an EnteroBase.

        Raises:
            InconsistentInput: it is none.
        """
        if not self.has(AssemblyLookupRow):
            msg = (
                "this database has no assembly_lookup: it is no species database of an EnteroBase; "
                "for a new one, see 'limsflow init --for entero'"
            )
            raise InconsistentInput(msg)

    def is_slow(self) -> bool:
        """Whether no index leads to the lookups of an assembly: each is looked for among all."""
        keys = [*self._indexes.get(LOOKUPS, {}).values(), *self._unique]
        return not any(columns[:1] == ["assembly_id"] for columns in keys)

    def missing(self) -> list[str]:
        """Return what `migrate` would add, in words: tables, then columns, then indexes.

        Raises:
            InconsistentInput: a table of that name is not EnteroBase's; `migrate` refuses it too.
        """
        tables = Base.metadata.tables
        there = {name: tables[name] for name in sorted(self._columns)}
        new = [f"table {name}" for name in sorted(set(tables) - set(there))]
        if not self.has_versions:
            new.append(f"table {VERSIONS}")
        for name, table in there.items():
            for column in table.columns:
                if column.name not in self._columns[name]:
                    _require_nullable(name, column.name, nullable=bool(column.nullable))
                    new.append(f"column {name}.{column.name}")
        for name, table in there.items():
            names = sorted(str(index.name) for index in table.indexes)
            lacking = [one for one in names if one not in self._indexes[name]]
            new += [f"index {one} of {name}" for one in lacking]
        return new


def _require_nullable(table: str, column: str, *, nullable: bool) -> None:
    if not nullable:
        msg = f"there is a table {table} without {column}: it is not EnteroBase's"
        raise InconsistentInput(msg)
