"""Add nights: what they send in batches, reads that were assembled, and what was taken over."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OF_A_NIGHT = ("night_id", "batch_id", "attempts")
TABLES = ("assembly_calls", "nights", "taken_over")
LOOKUPS = "ix_assembly_lookup_assembly_id"
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Let a run work on many jobs, and make the tables."""
    _key_of_job_runs("flow_run_id", "job_id")
    op.add_column("scheme_calls", sa.Column("night_id", sa.Integer(), nullable=True))
    op.add_column("scheme_calls", sa.Column("batch_id", sa.String(length=36), nullable=True))
    op.add_column("scheme_calls", sa.Column("attempts", sa.Integer(), nullable=True))
    op.create_index(
        "ix_scheme_calls_settled",
        "scheme_calls",
        ["assembly_id"],
        postgresql_include=["scheme_id", "assembly_version", "scheme_version"],
        **_where("status = 'COMPLETE'"),
    )
    for column in ("night_id", "batch_id"):
        where = _where(f"{column} IS NOT NULL")
        op.create_index(op.f(f"ix_scheme_calls_{column}"), "scheme_calls", [column], **where)
    _index_lookups()
    name = op.f("ix_strains_best_assembly")
    op.create_index(name, "strains", ["best_assembly"], if_not_exists=True)
    _make_assembly_calls()
    _make_nights()
    _make_taken_over()


def _index_lookups() -> None:
    """Let the rows of an assembly be found at once: an old EnteroBase may have no index of them."""
    inspector = sa.inspect(op.get_bind())
    found = [
        *(index["column_names"] for index in inspector.get_indexes("assembly_lookup")),
        *(one["column_names"] for one in inspector.get_unique_constraints("assembly_lookup")),
    ]
    if not any(columns[:1] == ["assembly_id"] for columns in found):
        op.create_index(op.f(LOOKUPS), "assembly_lookup", ["assembly_id", "scheme_id"])


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def _key_of_job_runs(*columns: str) -> None:
    name = op.f("pk_job_runs")
    naming = {"pk": "pk_%(table_name)s"}  # SQLite's reflection does not say it
    with op.batch_alter_table("job_runs", naming_convention=naming) as table:
        table.drop_constraint(name, type_="primary")
        table.create_primary_key(name, list(columns))


def _make_assembly_calls() -> None:
    op.create_table(
        "assembly_calls",
        sa.Column("reads", sa.Text(), nullable=False),
        sa.Column("strain_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("fate", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("flow_run_id", sa.String(length=64), nullable=True),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("changed", sa.DateTime(), nullable=True),
        sa.Column("night_id", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("reads", name=op.f("pk_assembly_calls")),
    )
    for column in ("flow_run_id", "night_id", "status", "strain_id"):
        op.create_index(op.f(f"ix_assembly_calls_{column}"), "assembly_calls", [column])


def _make_nights() -> None:
    op.create_table(
        "nights",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("flow_run_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=True),
        sa.Column("seen", sa.DateTime(), nullable=True),
        sa.Column("ended", sa.DateTime(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nights")),
    )
    op.create_index(op.f("ix_nights_flow_run_id"), "nights", ["flow_run_id"])


def _make_taken_over() -> None:
    op.create_table(
        "taken_over",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("taking", sa.Integer(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_taken_over")),
    )
    op.create_index(op.f("ix_taken_over_taking"), "taken_over", ["taking"])


def downgrade() -> None:
    """Go back to one job for a run; of a batch, the first job stays."""
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_index(op.f("ix_strains_best_assembly"), "strains", if_exists=True)
    op.drop_index(op.f(LOOKUPS), "assembly_lookup", if_exists=True)
    for index in ("settled", "night_id", "batch_id"):
        op.drop_index(op.f(f"ix_scheme_calls_{index}"), "scheme_calls")
    for column in reversed(OF_A_NIGHT):
        op.drop_column("scheme_calls", column)
    op.execute(
        "DELETE FROM job_runs WHERE job_id > (SELECT min(one.job_id) FROM job_runs AS one "
        "WHERE one.flow_run_id = job_runs.flow_run_id)"
    )
    _key_of_job_runs("flow_run_id")
