"""Add when a flow run was last seen alive, so that one that is lost is known by its silence."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and an index by which the few open jobs are found among all."""
    op.add_column("job_runs", sa.Column("seen", sa.DateTime(), nullable=True))
    op.create_index(op.f("ix_user_jobs_status"), "user_jobs", ["status"], if_not_exists=True)


def downgrade() -> None:
    """Go back to runs that give no sign."""
    op.drop_index(op.f("ix_user_jobs_status"), "user_jobs", if_exists=True)
    op.drop_column("job_runs", "seen")
