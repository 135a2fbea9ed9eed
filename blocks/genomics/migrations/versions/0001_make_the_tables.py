"""Make the tables; those that an EnteroBase has keep their columns and rows."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from blocks.errors import InconsistentInput

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "data_param",
    "schemes",
    "strains",
    "user_jobs",
    "user_preferences",
    "assemblies",
    "job_runs",
    "loci",
    "sequence_types",
    "traces",
    "alleles",
    "assembly_evidence",
    "assembly_lookup",
    "locus_positions",
    "scheme_calls",
    "trace_assembly",
)


def _make(name: str, *parts: Any) -> None:
    """Make a table, or add to one that is there what it lacks; the site does not look at that."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(name):
        op.create_table(name, *parts)
        return
    present = {column["name"] for column in inspector.get_columns(name)}
    columns: list[sa.Column[Any]] = [part for part in parts if isinstance(part, sa.Column)]
    for column in columns:
        if column.name not in present:
            if not column.nullable:
                msg = f"there is a table {name} without {column.name}: it is not EnteroBase's"
                raise InconsistentInput(msg)
            op.add_column(name, column)


def upgrade() -> None:
    """Make every table, column and index that is missing."""
    _make(
        "data_param",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("tabname", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("datatype", sa.Text(), nullable=True),
        sa.Column("display_order", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_param")),
    )
    op.create_index(op.f("ix_data_param_tabname"), "data_param", ["tabname"], if_not_exists=True)

    _make(
        "schemes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("param", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schemes")),
        sa.UniqueConstraint("description", name=op.f("uq_schemes_description")),
    )
    _make(
        "strains",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("barcode", sa.Text(), nullable=True),
        sa.Column("strain", sa.Text(), nullable=True),
        sa.Column("best_assembly", sa.Integer(), nullable=True),
        sa.Column("owner", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_strains")),
        sa.UniqueConstraint("barcode", name=op.f("uq_strains_barcode")),
    )
    op.create_index(op.f("ix_strains_strain"), "strains", ["strain"], if_not_exists=True)

    _make(
        "user_jobs",
        sa.Column("job_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("accession", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("pipeline", sa.Text(), nullable=True),
        sa.Column("date_sent", sa.DateTime(), nullable=True),
        sa.Column("database", sa.Text(), nullable=True),
        sa.Column("output_location", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_user_jobs")),
    )
    _make(
        "user_preferences",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("database", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("data", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_preferences")),
    )
    op.create_index(
        op.f("ix_user_preferences_user_id"), "user_preferences", ["user_id"], if_not_exists=True
    )

    _make(
        "assemblies",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("barcode", sa.Text(), nullable=True),
        sa.Column("strain_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("pipeline_version", sa.Text(), nullable=True),
        sa.Column("n50", sa.Integer(), nullable=True),
        sa.Column("contig_number", sa.Integer(), nullable=True),
        sa.Column("total_length", sa.Integer(), nullable=True),
        sa.Column("low_qualities", sa.Integer(), nullable=True),
        sa.Column("coverage", sa.Integer(), nullable=True),
        sa.Column("top_species", sa.Text(), nullable=True),
        sa.Column("file_pointer", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["strain_id"], ["strains.id"], name=op.f("fk_assemblies_strain_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assemblies")),
        sa.UniqueConstraint("barcode", name=op.f("uq_assemblies_barcode")),
    )
    op.create_index(op.f("ix_assemblies_job_id"), "assemblies", ["job_id"], if_not_exists=True)
    op.create_index(
        op.f("ix_assemblies_strain_id"), "assemblies", ["strain_id"], if_not_exists=True
    )

    _make(
        "job_runs",
        sa.Column("flow_run_id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["user_jobs.job_id"], name=op.f("fk_job_runs_job_id")),
        sa.PrimaryKeyConstraint("flow_run_id", name=op.f("pk_job_runs")),
    )
    op.create_index(op.f("ix_job_runs_job_id"), "job_runs", ["job_id"], if_not_exists=True)

    _make(
        "loci",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("scheme_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["scheme_id"], ["schemes.id"], name=op.f("fk_loci_scheme_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_loci")),
        sa.UniqueConstraint("scheme_id", "name", name=op.f("uq_loci_scheme_id_name")),
        sa.UniqueConstraint("scheme_id", "place", name=op.f("uq_loci_scheme_id_place")),
    )
    _make(
        "sequence_types",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("scheme_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("barcode", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.Column("minted_for", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["scheme_id"], ["schemes.id"], name=op.f("fk_sequence_types_scheme_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sequence_types")),
        sa.UniqueConstraint("scheme_id", "key", name=op.f("uq_sequence_types_scheme_id_key")),
        sa.UniqueConstraint("scheme_id", "number", name=op.f("uq_sequence_types_scheme_id_number")),
    )
    op.create_index(
        op.f("ix_sequence_types_barcode"), "sequence_types", ["barcode"], if_not_exists=True
    )

    _make(
        "traces",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("barcode", sa.Text(), nullable=True),
        sa.Column("strain_id", sa.Integer(), nullable=True),
        sa.Column("accession", sa.Text(), nullable=True),
        sa.Column("seq_platform", sa.Text(), nullable=True),
        sa.Column("seq_library", sa.Text(), nullable=True),
        sa.Column("read_location", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["strain_id"], ["strains.id"], name=op.f("fk_traces_strain_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
        sa.UniqueConstraint("barcode", name=op.f("uq_traces_barcode")),
    )
    op.create_index(op.f("ix_traces_accession"), "traces", ["accession"], if_not_exists=True)
    op.create_index(op.f("ix_traces_strain_id"), "traces", ["strain_id"], if_not_exists=True)

    _make(
        "alleles",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("locus_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Text(), nullable=False),
        sa.Column("minted_for", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["locus_id"], ["loci.id"], name=op.f("fk_alleles_locus_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alleles")),
        sa.UniqueConstraint("locus_id", "key", name=op.f("uq_alleles_locus_id_key")),
        sa.UniqueConstraint("locus_id", "number", name=op.f("uq_alleles_locus_id_number")),
    )
    _make(
        "assembly_evidence",
        sa.Column("assembly_id", sa.Integer(), nullable=False),
        sa.Column("reads", sa.Text(), nullable=False),
        sa.Column("tools", sa.Text(), nullable=False),
        sa.Column("criteria", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["assembly_id"], ["assemblies.id"], name=op.f("fk_assembly_evidence_assembly_id")
        ),
        sa.PrimaryKeyConstraint("assembly_id", name=op.f("pk_assembly_evidence")),
    )
    _make(
        "assembly_lookup",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("assembly_id", sa.Integer(), nullable=False),
        sa.Column("scheme_id", sa.Integer(), nullable=False),
        sa.Column("st_barcode", sa.Text(), nullable=True),
        sa.Column("annotation", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("other_data", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["assembly_id"], ["assemblies.id"], name=op.f("fk_assembly_lookup_assembly_id")
        ),
        sa.ForeignKeyConstraint(
            ["scheme_id"], ["schemes.id"], name=op.f("fk_assembly_lookup_scheme_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assembly_lookup")),
        sa.UniqueConstraint(
            "assembly_id",
            "scheme_id",
            "st_barcode",
            name=op.f("uq_assembly_lookup_assembly_id_scheme_id_st_barcode"),
        ),
    )
    op.create_index(
        op.f("ix_assembly_lookup_scheme_id"), "assembly_lookup", ["scheme_id"], if_not_exists=True
    )
    op.create_index(
        op.f("ix_assembly_lookup_st_barcode"), "assembly_lookup", ["st_barcode"], if_not_exists=True
    )

    _make(
        "locus_positions",
        sa.Column("assembly_id", sa.Integer(), nullable=False),
        sa.Column("scheme_id", sa.Integer(), nullable=False),
        sa.Column("locus_id", sa.Integer(), nullable=False),
        sa.Column("copy", sa.Integer(), nullable=False),
        sa.Column("contig", sa.Text(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("stop", sa.Integer(), nullable=False),
        sa.Column("strand", sa.String(length=1), nullable=False),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("allele", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["assembly_id"], ["assemblies.id"], name=op.f("fk_locus_positions_assembly_id")
        ),
        sa.ForeignKeyConstraint(
            ["locus_id"], ["loci.id"], name=op.f("fk_locus_positions_locus_id")
        ),
        sa.ForeignKeyConstraint(
            ["scheme_id"], ["schemes.id"], name=op.f("fk_locus_positions_scheme_id")
        ),
        sa.PrimaryKeyConstraint(
            "assembly_id", "scheme_id", "locus_id", "copy", name=op.f("pk_locus_positions")
        ),
    )
    _make(
        "scheme_calls",
        sa.Column("assembly_id", sa.Integer(), nullable=False),
        sa.Column("scheme_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("fate", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("flow_run_id", sa.String(length=64), nullable=True),
        sa.Column("assembly_version", sa.Integer(), nullable=True),
        sa.Column("scheme_version", sa.Integer(), nullable=True),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["assembly_id"], ["assemblies.id"], name=op.f("fk_scheme_calls_assembly_id")
        ),
        sa.ForeignKeyConstraint(
            ["scheme_id"], ["schemes.id"], name=op.f("fk_scheme_calls_scheme_id")
        ),
        sa.PrimaryKeyConstraint("assembly_id", "scheme_id", name=op.f("pk_scheme_calls")),
    )
    op.create_index(
        op.f("ix_scheme_calls_flow_run_id"), "scheme_calls", ["flow_run_id"], if_not_exists=True
    )
    op.create_index(op.f("ix_scheme_calls_job_id"), "scheme_calls", ["job_id"], if_not_exists=True)
    op.create_index(op.f("ix_scheme_calls_status"), "scheme_calls", ["status"], if_not_exists=True)

    _make(
        "trace_assembly",
        sa.Column("trace_id", sa.Integer(), nullable=False),
        sa.Column("assembly_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["assembly_id"], ["assemblies.id"], name=op.f("fk_trace_assembly_assembly_id")
        ),
        sa.ForeignKeyConstraint(
            ["trace_id"], ["traces.id"], name=op.f("fk_trace_assembly_trace_id")
        ),
        sa.PrimaryKeyConstraint("trace_id", "assembly_id", name=op.f("pk_trace_assembly")),
    )


def downgrade() -> None:
    """Go back to no tables; everything in them is lost."""
    for table in reversed(TABLES):
        op.drop_table(table)
