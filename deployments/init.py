"""`limsflow init DB`: the tables of a database that is ours."""

import argparse
import json

from blocks.errors import InvalidRequest
from blocks.genomics.schema import migrate
from blocks.mx.store import create_tables


def init(options: argparse.Namespace) -> int:
    """Create the tables that are missing; say which."""
    name: str = options.database
    if not name.strip():
        msg = "say which database: a SQLAlchemy URL, or a path for SQLite"
        raise InvalidRequest(msg)
    url = name if "://" in name else f"sqlite:///{name}"
    made = migrate(url) if options.kind == "entero" else create_tables(url)
    if options.json:
        print(json.dumps({"created": made}))
    else:
        print(f"created {len(made)} tables" if made else "all tables are there")
    return 0
