"""Write a facility's ISPyB through its stored procedures, as its processing role must.

Parameters are positional, in the order that the interface documents. The procedures commit by
themselves (`insert_processing_scaling_v2`, and the update of a program), so each call here is a
transaction of its own and all-or-nothing lies in the order of writes, which is the store's.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from blocks.mx.orm_writer import insert_program
from blocks.mx.records import (
    Attachment,
    AttemptState,
    Integration,
    JobRequest,
    Message,
    Shell,
    UnitCell,
)
from blocks.mx.writer import (
    DESCRIPTION_LENGTH,
    MESSAGE_LENGTH,
    STATUS_CODES,
    TEXT_LENGTH,
    Registration,
    column_text,
    local_time,
    status_message,
)


class ProcedureWriter:
    """The writer of a MariaDB where we may execute procedures and little else."""

    owns_database = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create_job(self, request: JobRequest, collection_id: int) -> int:
        """Write job, parameters and sweeps in one transaction: these procedures do not commit."""
        with self._engine.begin() as connection:
            values = (
                collection_id,
                column_text(request.display_name, 80),
                column_text(request.comments, TEXT_LENGTH),
                request.recipe,
                0,
            )
            job_id = call(connection, "upsert_processing_job", None, values)
            for parameter in request.parameters:
                pair = (job_id, parameter.key, parameter.value)
                call(connection, "upsert_processing_job_parameter", None, pair)
            for sweep in request.sweeps:
                images = (sweep.data_collection_id, sweep.start_image, sweep.end_image)
                call(connection, "upsert_processing_job_image_sweep", None, (job_id, *images))
            return job_id

    def register(self, registration: Registration) -> int:
        """Insert an attempt: the one insert that the role is granted on the table."""
        return insert_program(self._engine, registration)

    def update(
        self,
        program_id: int,
        *,
        message: str | None,
        state: AttemptState,
        command_line: str | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        """Call `upsert_processing_program_v2`, which keeps the rules."""
        self._call(
            "upsert_processing_program_v2",
            program_id,
            command_line and column_text(command_line, TEXT_LENGTH),
            None,  # programs
            STATUS_CODES[state],
            None if message is None else status_message(message),
            None,  # start time: the first of what is there and now
            local_time(updated_at),
            None,  # environment
            None,  # job
            None,  # pipeline
            None,  # record time
        )

    def attach(self, program_id: int, attachment: Attachment) -> None:
        """Call `upsert_processing_program_attachment_v2`."""
        self._call(
            "upsert_processing_program_attachment_v2",
            None,
            program_id,
            attachment.path.name,
            str(attachment.path.parent),
            attachment.type.value,
            attachment.rank,
        )

    def add_message(self, program_id: int, message: Message) -> None:
        """Call `upsert_processing_program_message`."""
        self._call(
            "upsert_processing_program_message",
            None,
            program_id,
            message.severity.value,
            column_text(message.message, MESSAGE_LENGTH),
            column_text(message.description, DESCRIPTION_LENGTH),
        )

    def add_auto_proc(self, program_id: int, space_group: str, cell: UnitCell) -> int:
        """Call `upsert_processing`."""
        edges_and_angles = (cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma)
        return self._call("upsert_processing", None, program_id, space_group, *edges_and_angles)

    def add_scaling(self, auto_proc_id: int, shells: tuple[Shell, Shell, Shell]) -> int:
        """Call `insert_processing_scaling_v2` with 21 values for each shell."""
        values = [value for shell in shells for value in shell_values(shell)]
        return self._call("insert_processing_scaling_v2", None, auto_proc_id, *values)

    def put_integration(
        self,
        integration_id: int | None,
        *,
        program_id: int,
        collection_id: int,
        scaling_id: int | None = None,
        integration: Integration | None = None,
    ) -> int:
        """Call `upsert_processing_integration`, which renews the link to the scaling."""
        images: tuple[float | None, ...] = (None,) * 5
        cell: tuple[float | None, ...] = (None,) * 6
        if integration is not None:
            images = (
                integration.start_image,
                integration.end_image,
                integration.detector_distance,
                integration.beam_x,
                integration.beam_y,
            )
            found = integration.cell
            if found:
                cell = (found.a, found.b, found.c, found.alpha, found.beta, found.gamma)
        axes = (None,) * 6  # rotation axis and beam vector: xia2 does not give them
        return self._call(
            "upsert_processing_integration",
            integration_id,
            scaling_id,
            collection_id,
            program_id,
            *images,
            *axes,
            *cell,
            0,
        )

    def _call(self, procedure: str, row_id: int | None, *values: object) -> int:
        with self._engine.begin() as connection:
            return call(connection, procedure, row_id, values)


def call(
    connection: Connection, procedure: str, row_id: int | None, values: Sequence[object]
) -> int:
    """Call a procedure whose first parameter is an INOUT id; return the id.

    Args:
        connection: Session variables are of one connection, so all three statements use it.
        procedure: Its name, a constant of this module.
        row_id: The row to update, or None for a new one.
        values: The other parameters, in order.
    """
    names = [f"v{number}" for number in range(len(values))]
    connection.execute(text("SET @id = :id"), {"id": row_id})
    statement = f"CALL {procedure}({', '.join(['@id', *(f':{name}' for name in names)])})"
    connection.execute(text(statement), dict(zip(names, values, strict=True)))
    return int(connection.execute(text("SELECT @id")).scalar_one())


def shell_values(shell: Shell) -> tuple[object, ...]:
    """Return a shell in the order of `insert_processing_scaling_v2`."""
    return (
        shell.name,
        None,  # comments
        shell.d_max,
        shell.d_min,
        shell.r_merge,
        shell.r_meas_within,
        shell.r_meas_all,
        shell.r_pim_within,
        shell.r_pim_all,
        shell.partial_bias,
        shell.n_observations,
        shell.n_unique,
        shell.i_over_sigma,
        shell.d_min_i_over_sigma_2,
        shell.completeness,
        shell.multiplicity,
        0,  # anomalous
        shell.anomalous_completeness,
        shell.anomalous_multiplicity,
        shell.cc_half,
        shell.cc_anomalous,
    )
