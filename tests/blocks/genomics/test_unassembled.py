"""Strains without a valid assembly: which they are, and of which reads one could be made."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from blocks.genomics import unassembled
from blocks.genomics.pairs import Skip
from blocks.genomics.tables import AssemblyCallRow, AssemblyRow, StrainRow, TraceRow
from blocks.genomics.unassembled import Unassembled, why_not_assembled
from tests.fakes.entero import Entero
from tests.fakes.night_rows import RECENT, a_strain, add_assembly, empty, ids, write

__all__ = ["empty"]  # the fixture
TOOL = "spades 4"


def a_run() -> str:
    return f"SRR{next(ids):07}"


def add_trace(entero: Entero, strain: int, accession: str | None = None, **columns: Any) -> str:
    """Add reads to a strain; return their accession."""
    chosen = accession if accession is not None else a_run()
    facts = {"strain_id": strain, "accession": chosen, "read_location": None}
    facts |= {"seq_platform": "ILLUMINA", "seq_library": "PAIRED"}
    write(entero, {TraceRow: [facts | columns]})
    return chosen


def bare(entero: Entero, number: int | None = None, **columns: Any) -> int:
    """Return a strain of which nothing is assembled, and that has no reads."""
    facts = {"id": number or next(ids), "best_assembly": None, "created": RECENT}
    write(entero, {StrainRow: [facts | {"strain": "one"} | columns]})
    return facts["id"]


def sequenced(entero: Entero, number: int | None = None, **columns: Any) -> tuple[int, str]:
    """Return a strain of which nothing is assembled, and the run of its reads."""
    strain = bare(entero, number, **columns)
    return strain, add_trace(entero, strain)


def add_attempt(entero: Entero, reads: str, status: str, **columns: Any) -> None:
    """Let somebody have tried to assemble some reads."""
    facts = {"reads": reads, "status": status, "flow_run_id": "run-1", "tool": TOOL}
    write(entero, {AssemblyCallRow: [facts | columns]})


def found(entero: Entero, **options: Any) -> list[Unassembled]:
    return [one for window in entero.store.assembling.windows(**options) for one in window]


def reads_of(entero: Entero, strain: int) -> str:
    [reads] = [one.reads for one in found(entero) if one.strain_id == strain]
    return reads


# Which strains


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *(("Assembled", False), ("legacy", False), ("Failed QC", True), ("Queued", True)),
        *(("", True), (None, True)),
    ],
)
def test_a_strain_is_unassembled_unless_its_best_assembly_passed(
    empty: Entero, status: str | None, expected: bool
) -> None:
    strain = a_strain(empty, status=status)
    reads = add_trace(empty, strain)
    expected_ones = [Unassembled(strain, f"strain {strain}", reads)] if expected else []

    assert found(empty) == expected_ones


def test_a_strain_without_a_best_assembly_is_unassembled_whatever_it_has_besides(
    empty: Entero,
) -> None:
    never, lost = bare(empty), bare(empty, best_assembly=999_999)
    failed = bare(empty, strain=None)
    row = {"id": failed, "strain_id": failed, "status": "Failed QC"}
    write(empty, {AssemblyRow: [row]})

    assert [(one.strain_id, one.strain) for one in found(empty)] == [
        *((failed, ""), (lost, "one"), (never, "one")),
    ]


def test_a_worse_assembly_that_failed_does_not_make_a_strain_unassembled(empty: Entero) -> None:
    strain = a_strain(empty)
    add_assembly(empty, strain + 1000, strain_id=strain, status="Failed QC")

    assert found(empty) == []


@pytest.mark.parametrize("hours", [None, 0, 5.5, -8])
def test_since_a_moment_is_what_came_then_or_later_wherever_one_reads_the_clock(
    empty: Entero, hours: float | None
) -> None:
    tick = timedelta(microseconds=1)
    at, _ = bare(empty), bare(empty, created=RECENT - tick)
    after, _ = bare(empty, created=RECENT + tick), bare(empty, created=None)
    zone = timezone(timedelta(hours=hours or 0))
    aware = RECENT.replace(tzinfo=UTC).astimezone(zone)
    since: datetime = RECENT if hours is None else aware

    assert [one.strain_id for one in found(empty, since=since)] == [after, at]


def test_strains_are_gone_over_in_windows_from_the_newest(
    empty: Entero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unassembled, "WINDOW", 2)
    numbers = [1, 5_000_000, 5_000_001, 90_000_001, 2_147_483_647]
    runs = {number: sequenced(empty, number)[1] for number in numbers}
    windows = list(empty.store.assembling.windows())

    assert [[one.strain_id for one in window] for window in windows] == [
        *(numbers[:2:-1], numbers[2:0:-1], numbers[:1]),
    ]
    assert {one.strain_id: one.reads for window in windows for one in window} == runs
    assert empty.store.assembling.window(below=1) == []


# Which reads


@pytest.mark.parametrize(
    ("platform", "library", "expected"),
    [
        *(("ILLUMINA", "PAIRED", True), ("Illumina", "Paired", True), ("illumina", "paired", True)),
        *(("Illumina MiSeq", "paired-end", True), ("ILLUMINA", "SINGLE", False)),
        *(("ILLUMINA", "Unpaired", False), ("ION_TORRENT", "PAIRED", False)),
        *(("Ion Torrent PGM", "Single", False), ("OXFORD_NANOPORE", "SINGLE", False)),
        *((None, "PAIRED", False), ("ILLUMINA", None, False), ("", "", False)),
    ],
)
def test_only_illumina_pairs_are_assembled(
    empty: Entero, platform: str | None, library: str | None, expected: bool
) -> None:
    strain = bare(empty)
    run = add_trace(empty, strain, seq_platform=platform, seq_library=library)

    assert reads_of(empty, strain) == (run if expected else "")


def test_reads_that_are_none_of_illuminas_are_left_out_beside_those_that_are(
    empty: Entero,
) -> None:
    strain, run = sequenced(empty)
    add_trace(empty, strain, seq_platform="ION_TORRENT")
    add_trace(empty, strain, seq_library="SINGLE")

    assert reads_of(empty, strain) == run


def test_runs_of_a_strain_are_assembled_together_in_the_order_of_the_alphabet(
    empty: Entero,
) -> None:
    strain = bare(empty)
    for accession in ("SRR0000022", "ERR0000300", "SRR0000003", "SRR0000022"):
        add_trace(empty, strain, accession)

    assert reads_of(empty, strain) == "ERR0000300,SRR0000003,SRR0000022"


def test_several_runs_in_one_row_are_known_in_the_order_of_the_alphabet(empty: Entero) -> None:
    strain = bare(empty)
    add_trace(empty, strain, "SRR0000022,ERR0000300")
    add_attempt(empty, "ERR0000300,SRR0000022", "QUEUED")
    [one] = found(empty)

    assert (one.reads, one.stands) == ("ERR0000300,SRR0000022", "QUEUED")


def test_files_that_a_user_uploaded_are_named_with_their_trace_and_come_before_runs(
    empty: Entero,
) -> None:
    strain, _ = sequenced(empty)
    where = "/share/uploads/my reads_R1.fastq.gz,/share/uploads/my reads_R2.fastq.gz"
    add_trace(empty, strain, "traces-SAL_7", read_location=where)

    assert reads_of(empty, strain) == "traces-SAL_7#my reads_R1.fastq.gz#my reads_R2.fastq.gz"


@pytest.mark.parametrize(
    "accession",
    [
        *("", "SRR1", "srr1234567", " SRR1234567", "SRR1234567;rm -rf", "../../etc/passwd"),
        *("SAL_AA_TR", "SRR1234567\n", "SRR1234567,", "\u0160RR1234567", "x" * 10_000),
        *("SRR1234567#a", "a#b#../c"),
    ],
)
def test_reads_with_a_strange_accession_are_no_reads(empty: Entero, accession: str) -> None:
    strain, other = bare(empty), sequenced(empty)
    add_trace(empty, strain, accession)

    assert reads_of(empty, strain) == ""
    assert reads_of(empty, other[0]) == other[1]


@pytest.mark.parametrize(
    "where", ["/a/r.fq,/b/r.fq", "/a/.r1,/a/r2", "-o,r2", "r1.fq,..", "r1.fq,r\x07.fq", "a\\b,c"]
)
def test_an_upload_with_a_strange_file_is_no_reads(empty: Entero, where: str) -> None:
    strain = bare(empty)
    add_trace(empty, strain, "SAL_7_TR", read_location=where)

    assert reads_of(empty, strain) == ""


def test_reads_without_an_accession_are_no_reads(empty: Entero) -> None:
    strain = bare(empty)
    write(empty, {TraceRow: [{"strain_id": strain, "seq_platform": "ILLUMINA"}]})
    facts = {"strain_id": strain, "seq_platform": "ILLUMINA", "seq_library": "PAIRED"}
    write(empty, {TraceRow: [facts]})

    assert reads_of(empty, strain) == ""


def test_more_runs_than_are_assembled_together_are_no_reads(empty: Entero) -> None:
    few, many = bare(empty), bare(empty)
    for _ in range(20):
        add_trace(empty, few)
    for _ in range(21):
        add_trace(empty, many)

    assert reads_of(empty, few).count(",") == 19
    assert reads_of(empty, many) == ""


# What is settled


STRAIN = Unassembled(1, "one", "SRR1234567")


@pytest.mark.parametrize(
    ("stands", "fate", "expected", "by_force"),
    [
        ("QUEUED", None, Skip.LIVE, Skip.LIVE),
        ("FAILED", "permanent", Skip.PUT_ASIDE, None),
        ("COMPLETE", "permanent", Skip.PUT_ASIDE, None),  # of poor quality
        ("FAILED", "bug", Skip.BUG, None),
        ("FAILED", "transient", None, None),
        ("COMPLETE", None, None, None),  # its assembly is gone
        ("", None, None, None),
        (None, None, None, None),
    ],
)
def test_reads_are_assembled_unless_somebody_does_or_it_failed_for_good(
    stands: str | None, fate: str | None, expected: Skip | None, by_force: Skip | None
) -> None:
    strain = STRAIN._replace(stands=stands, fate=fate, tool=TOOL)

    assert why_not_assembled(strain, TOOL) is expected
    assert why_not_assembled(strain, TOOL, force=True) is by_force


@pytest.mark.parametrize("fate", ["permanent", "bug"])
def test_what_was_put_aside_waits_for_another_tool_and_if_none_is_known_for_a_person(
    fate: str,
) -> None:
    aside = {"permanent": Skip.PUT_ASIDE, "bug": Skip.BUG}[fate]
    strain = STRAIN._replace(stands="FAILED", fate=fate, tool=TOOL)
    taken_over = strain._replace(tool=None)

    assert why_not_assembled(strain, "spades 5") is None
    assert why_not_assembled(taken_over, "spades 5") is aside
    assert why_not_assembled(taken_over, "spades 5", force=True) is None


def test_a_strain_without_reads_is_not_assembled_even_by_force() -> None:
    strain = STRAIN._replace(reads="", stands="FAILED", fate="transient")

    assert why_not_assembled(strain, TOOL, force=True) is Skip.NO_READS


def test_the_newest_attempt_is_found_with_the_strain(empty: Entero) -> None:
    (failed, reads), (new, others) = sequenced(empty), sequenced(empty)
    add_attempt(empty, reads, "FAILED", fate="permanent")

    assert found(empty) == [
        Unassembled(new, "one", others, None, None, None),
        Unassembled(failed, "one", reads, "FAILED", "permanent", TOOL),
    ]


def test_what_a_lost_run_left_counts_as_failed_by_the_machine(empty: Entero) -> None:
    (_, reads), (_, others) = sequenced(empty), sequenced(empty)
    add_attempt(empty, reads, "QUEUED", flow_run_id="lost")
    add_attempt(empty, others, "QUEUED", flow_run_id=None)
    stand = {one.reads: (one.stands, one.fate) for one in found(empty, lost={"lost", ""})}

    assert {one.stands for one in found(empty)} == {"QUEUED"}
    assert stand == {reads: ("FAILED", "transient"), others: ("QUEUED", None)}
