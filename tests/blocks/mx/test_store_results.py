"""What the store promises of results, on each kind of ISPyB that `conftest.py` has.

A step may be interrupted anywhere and run again, so everything is stored twice here, or stored
again after a part of it was lost. Numbers on MariaDB are FLOATs, which read back with six digits.
"""

import math
from pathlib import Path

import pytest

from blocks.mx.records import Attachment, AttachmentType, Message, ProcessingJob, Severity, Solution
from tests.fakes.builders import (
    SHELL_FIELDS,
    SHELL_NAMES,
    a_request,
    a_shell,
    a_solution,
    an_integration,
)
from tests.fakes.ispyb import Ispyb

SIX_DIGITS = 1e-5

# The column of each field of `SHELL_FIELDS`, from the contract and not from our tables.
SHELL_COLUMNS = (
    "resolutionLimitLow, resolutionLimitHigh, completeness, multiplicity, meanIOverSigI, ccHalf,"
    " rMerge, rMeasAllIPlusIMinus, rMeasWithinIPlusIMinus, rPimAllIPlusIMinus,"
    " rPimWithinIPlusIMinus, fractionalPartialBias, nTotalObservations, nTotalUniqueObservations,"
    " anomalousCompleteness, anomalousMultiplicity, ccAnomalous, resIOverSigI2, anomalous"
)
SHELLS_OF = (
    f"SELECT scalingStatisticsType AS name, {SHELL_COLUMNS} FROM AutoProcScalingStatistics"
    " JOIN AutoProcScaling USING (autoProcScalingId) JOIN AutoProc USING (autoProcId)"
    " WHERE autoProcProgramId = :program ORDER BY autoProcScalingStatisticsId"
)
INTEGRATIONS_OF = (
    "SELECT autoProcIntegrationId AS id, dataCollectionId AS collection, startImageNumber AS first,"
    " endImageNumber AS last, refinedDetectorDistance, refinedXBeam, refinedYBeam, cell_a, cell_b,"
    " cell_c, cell_alpha, cell_beta, cell_gamma"
    " FROM AutoProcIntegration WHERE autoProcProgramId = :program ORDER BY autoProcIntegrationId"
)
SCALINGS = "AutoProc JOIN AutoProcScaling USING (autoProcId)"
LINKS = (
    f"{SCALINGS} JOIN AutoProcScaling_has_Int USING (autoProcScalingId)"
    " JOIN AutoProcIntegration USING (autoProcIntegrationId, autoProcProgramId)"
)
TABLES = (
    "AutoProc",
    SCALINGS,
    f"{SCALINGS} JOIN AutoProcScalingStatistics USING (autoProcScalingId)",
    "AutoProcIntegration",
    LINKS,
    "AutoProcProgramMessage",
)
ATTACHMENTS = [
    Attachment(path=Path("/r/DataFiles/a_scaled.mtz"), type=AttachmentType.RESULT, rank=2),
    Attachment(path=Path("/r/xia2.html"), type=AttachmentType.LOG, rank=1),
    Attachment(path=Path("/r/LogFiles/merging-statistics.json"), type=AttachmentType.GRAPH, rank=2),
    Attachment(path=Path("/r/DataFiles/a_free.mtz"), type=AttachmentType.RESULT, rank=1),
]


def counted(ispyb: Ispyb, attempt: int) -> list[int]:
    """Count AutoProc, scalings, shells, integrations, links and messages of an attempt."""
    return [ispyb.count(table, autoProcProgramId=attempt) for table in TABLES]


def stored(ispyb: Ispyb, solution: Solution, job: ProcessingJob | None = None) -> int:
    """Return the id of an attempt, at this job or at a new one, that found this solution."""
    chosen = job or ispyb.a_job()
    attempt = ispyb.an_attempt(chosen)
    ispyb.store.add_solution(attempt, chosen, solution, to_own_collection=False)
    return attempt


def lose(ispyb: Ispyb, attempt: int, *tables: str) -> None:
    """Remove an attempt's rows from these tables, as if it had been killed before them."""
    scaling = "autoProcScalingId IN (SELECT autoProcScalingId FROM AutoProcScaling JOIN AutoProc"
    of_attempt = {
        "AutoProcScaling_has_Int": f"{scaling} USING (autoProcId) WHERE autoProcProgramId = :id)",
        "AutoProcScalingStatistics": f"{scaling} USING (autoProcId) WHERE autoProcProgramId = :id)",
        "AutoProcScaling": "autoProcId IN (SELECT autoProcId FROM AutoProc"
        " WHERE autoProcProgramId = :id)",
    }
    for table in tables:
        condition = of_attempt.get(table, "autoProcProgramId = :id")
        ispyb.change(f"DELETE FROM {table} WHERE {condition}", id=attempt)


def a_job_of_two_collections(ispyb: Ispyb) -> ProcessingJob:
    """Return a job of a primary collection, another, and again the primary one."""
    primary, other = (
        ispyb.a_measured_collection(file_template=f"thau_{n}_####.cbf") for n in (1, 2)
    )
    request = a_request(primary, other, ranges=((1, 400),))
    first, second = request.sweeps
    third = first.model_copy(update={"start_image": 401, "end_image": 800})
    sweeps = {"sweeps": (first, second, third)}
    return ispyb.store.job(ispyb.store.create_job(request.model_copy(update=sweeps)))


def of_two_collections() -> Solution:
    """Return the solution of `a_job_of_two_collections`, in another order than its sweeps."""
    ranges = ((2, 1, 400), (1, 401, 800), (1, 1, 400))
    return a_solution(
        *(an_integration(i, j, file_template=f"thau_{n}_####.cbf") for n, i, j in ranges)
    )


def test_a_solution_comes_back_as_it_was_found(ispyb: Ispyb) -> None:
    solution = a_solution()
    kept = ispyb.store.solution(stored(ispyb, solution))

    assert kept is not None
    assert (kept.space_group, kept.cell) == (solution.space_group, solution.cell)
    for ours, theirs in zip(kept.shells, solution.shells, strict=True):
        kept_numbers, numbers = (
            shell.model_dump(exclude={"name"}, exclude_none=True) for shell in (ours, theirs)
        )
        assert ours.name == theirs.name
        assert kept_numbers == pytest.approx(numbers, rel=SIX_DIGITS)


def test_three_shells_have_each_number_in_its_column(ispyb: Ispyb) -> None:
    low = a_shell("overall", 100, d_min_i_over_sigma_2=1.625)
    shells = (low, a_shell("innerShell", 200), a_shell("outerShell", 300))
    rows = ispyb.rows(SHELLS_OF, program=stored(ispyb, a_solution(shells=shells)))

    assert [row.name for row in rows] == list(SHELL_NAMES)
    assert [row.resIOverSigI2 for row in rows] == [1.625, None, None]
    for row, shell in zip(rows, shells, strict=True):
        numbers = [getattr(shell, field) for field in SHELL_FIELDS]
        assert list(row)[1:18] == pytest.approx(numbers, rel=SIX_DIGITS)


def test_what_a_program_did_not_say_stays_unsaid(ispyb: Ispyb) -> None:
    shells = tuple(a_shell(name, 9, partial_bias=None, cc_half=None) for name in SHELL_NAMES)
    rows = ispyb.rows(SHELLS_OF, program=stored(ispyb, a_solution(shells=shells)))

    assert [(row.fractionalPartialBias, row.ccHalf) for row in rows] == [(None, None)] * 3
    assert [row.anomalous for row in rows] == [0, 0, 0]


def test_weak_data_may_have_negative_r_values(ispyb: Ispyb) -> None:
    weak = (*a_solution().shells[:2], a_shell("outerShell", r_merge=-7.0625, cc_half=-0.125))
    kept = ispyb.store.solution(stored(ispyb, a_solution(shells=weak)))

    assert kept is not None
    assert (kept.shells[2].r_merge, kept.shells[2].cc_half) == (-7.0625, -0.125)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_could_not_be_calculated_is_stored_as_unsaid(
    ispyb: Ispyb, number: float
) -> None:
    weak = (*a_solution().shells[:2], a_shell("outerShell", cc_anomalous=number))
    rows = ispyb.rows(SHELLS_OF, program=stored(ispyb, a_solution(shells=weak)))

    assert rows[2].ccAnomalous is None


def test_an_attempt_without_results_has_no_solution(ispyb: Ispyb) -> None:
    assert ispyb.store.solution(ispyb.an_attempt()) is None


def test_a_solution_that_is_stored_twice_is_there_once(ispyb: Ispyb) -> None:
    job, solution = ispyb.a_job(), a_solution(an_integration(1, 400), an_integration(801, 1200))
    attempt = stored(ispyb, solution, job)
    once = counted(ispyb, attempt)
    ispyb.store.add_solution(attempt, job, solution, to_own_collection=False)

    assert once == counted(ispyb, attempt) == [1, 1, 3, 2, 2, 1]


@pytest.mark.parametrize(
    "lost",
    [
        ("AutoProcProgramMessage",),
        ("AutoProcScaling_has_Int",),
        ("AutoProcScaling_has_Int", "AutoProcIntegration"),
        ("AutoProcScaling_has_Int", "AutoProcScalingStatistics", "AutoProcScaling"),
    ],
    ids=lambda lost: lost[-1],
)
def test_a_solution_that_was_stored_in_part_is_completed(
    ispyb: Ispyb, lost: tuple[str, ...]
) -> None:
    job, solution = ispyb.a_job(), a_solution(an_integration(1, 400), an_integration(801, 1200))
    attempt = stored(ispyb, solution, job)
    lose(ispyb, attempt, *lost)
    ispyb.store.add_solution(attempt, job, solution, to_own_collection=False)

    assert counted(ispyb, attempt) == [1, 1, 3, 2, 2, 1]


def test_the_first_integration_takes_the_place_of_the_placeholder(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    attempt = ispyb.an_attempt(job)
    (placeholder,) = ispyb.rows(INTEGRATIONS_OF, program=attempt)
    found = a_solution(an_integration(801, 1200), an_integration(1, 400))
    ispyb.store.add_solution(attempt, job, found, to_own_collection=False)
    first, second = ispyb.rows(INTEGRATIONS_OF, program=attempt)

    assert (first.id, first.first, first.last) == (placeholder.id, 801, 1200)
    assert (second.first, second.last) == (1, 400)


def test_an_integration_has_its_geometry_and_cell(ispyb: Ispyb) -> None:
    (row,) = ispyb.rows(INTEGRATIONS_OF, program=stored(ispyb, a_solution()))

    assert list(row)[4:] == pytest.approx(
        [150.5, 89.0625, 84.6875, 78.2, 78.2, 37.2, 90, 90, 90], rel=SIX_DIGITS
    )


def test_an_integration_may_lack_its_geometry_and_cell(ispyb: Ispyb) -> None:
    bare = an_integration(cell=None, detector_distance=None, beam_x=None, beam_y=None)
    job = ispyb.a_job()
    attempt = stored(ispyb, a_solution(bare), job)
    ((collection, kept),) = ispyb.store.integrations(attempt)

    assert kept == bare
    assert collection == job.collection.id


@pytest.mark.parametrize("to_own_collection", [False, True])
def test_each_sweep_is_one_integration_on_the_primary_or_on_its_own_collection(
    ispyb: Ispyb, to_own_collection: bool
) -> None:
    job = a_job_of_two_collections(ispyb)
    primary, other, _ = (sweep.collection.id for sweep in job.sweeps)
    attempt = ispyb.an_attempt(job)
    ispyb.store.add_solution(
        attempt, job, of_two_collections(), to_own_collection=to_own_collection
    )
    rows = [tuple(row)[1:4] for row in ispyb.rows(INTEGRATIONS_OF, program=attempt)]

    second = other if to_own_collection else primary
    assert rows == [(second, 1, 400), (primary, 401, 800), (primary, 1, 400)]


def test_integrations_are_linked_with_the_scaling_of_their_attempt(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    attempts = [stored(ispyb, a_solution(), job) for _ in range(2)]

    assert [ispyb.count(LINKS, autoProcProgramId=attempt) for attempt in attempts] == [1, 1]


def test_messages_are_stored_once_in_their_order(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    twin = Message(severity=Severity.ERROR, message="Twinned.", description="L test\n0.37")
    said = [twin, twin.model_copy(update={"severity": Severity.INFO}), twin]
    for _ in range(2):
        ispyb.store.add_messages(attempt, said)

    assert ispyb.store.messages(attempt) == said[:2]


def test_a_long_message_is_cut_and_stored_once_with_a_long_description(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    long = Message(severity=Severity.ERROR, message="α" + "x" * 300, description="Å" * 70_000)
    for _ in range(2):
        ispyb.store.add_messages(attempt, [long])
    (kept,) = ispyb.store.messages(attempt)

    assert kept.message == "?" + "x" * 196 + "..."
    assert len(kept.description) == 60_000


def test_attachments_are_stored_once_and_listed_by_their_rank(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    for some in (ATTACHMENTS[:2], ATTACHMENTS, [*ATTACHMENTS, *ATTACHMENTS]):
        ispyb.store.add_attachments(attempt, some)
    scaled, html, graph, free = ATTACHMENTS

    assert ispyb.store.attachments(attempt) == [html, free, scaled, graph]
    assert ispyb.count("AutoProcProgramAttachment", autoProcProgramId=attempt) == 4


def test_an_attachment_has_its_name_folder_and_kind_as_synchweb_asks(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    ispyb.store.add_attachments(attempt, ATTACHMENTS[:1])

    assert ispyb.rows(
        "SELECT fileName, filePath, fileType, importanceRank FROM AutoProcProgramAttachment"
        " WHERE autoProcProgramId = :program",
        program=attempt,
    ) == [("a_scaled.mtz", "/r/DataFiles", "Result", 2)]


@pytest.mark.parametrize("rank", [0, 255])
def test_an_attachment_may_have_any_rank_that_ispyb_has(ispyb: Ispyb, rank: int) -> None:
    attempt = ispyb.an_attempt()
    least = ATTACHMENTS[0].model_copy(update={"rank": rank})
    ispyb.store.add_attachments(attempt, [least])

    assert ispyb.store.attachments(attempt) == [least]


def test_an_attachment_of_another_kind_counts_as_a_log(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    ispyb.change(
        "INSERT INTO AutoProcProgramAttachment (autoProcProgramId, fileType, fileName, filePath)"
        " VALUES (:id, 'Input', 'a.phil', '/r')",
        id=attempt,
    )

    assert ispyb.store.attachments(attempt) == [
        Attachment(path=Path("/r/a.phil"), type=AttachmentType.LOG, rank=0)
    ]


def test_a_file_whose_path_does_not_fit_is_said_and_not_shown(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    path = Path("/r") / ("x" * 250) / ("y" * 20) / "xia2.txt"
    ispyb.store.add_attachments(attempt, [Attachment(path=path, type=AttachmentType.LOG, rank=1)])

    assert ispyb.store.attachments(attempt) == []
    assert [m.description for m in ispyb.store.messages(attempt)] == [str(path)]
