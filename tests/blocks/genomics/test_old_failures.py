"""Genomes that failed before us are not assembled again; and what an old schema lacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect

from blocks.errors import InconsistentInput
from blocks.genomics.changes import Left, WhyLeft
from blocks.genomics.pairs import Skip
from blocks.genomics.unassembled import why_not_assembled
from tests.fakes.old_entero import OldEntero, use_for_years
from tests.fakes.old_kinds import OLD_KINDS, changes, every_kind, left, old_entero, taken

TOOL = "SPAdes 4"


@pytest.fixture(params=OLD_KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldEntero]:
    made = old_entero(request.param, tmp_path, lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()


def a_night(old: OldEntero) -> dict[int, Skip | None]:
    """Return what a night says of each strain without an assembly; None is sent."""
    windows = old.store().assembling.windows()
    return {one.strain_id: why_not_assembled(one, TOOL) for window in windows for one in window}


def put_aside(old: OldEntero) -> list[tuple[object, ...]]:
    columns = "reads, strain_id, status, fate, job_id, flow_run_id, tool, changed"
    return [tuple(row) for row in old.look().rows(f"SELECT {columns} FROM assembly_calls")]


def test_reads_that_failed_before_us_are_put_aside(old: OldEntero) -> None:
    strain = old.add_failed_strain("SRR2000002", "ERR1000001")
    job = old.look().value("SELECT job_id FROM assemblies")
    taken(old)

    assert put_aside(old) == [
        ("ERR1000001,SRR2000002", strain, "COMPLETE", "permanent", job, None, None, None)
    ]
    assert a_night(old) == {strain: Skip.PUT_ASIDE}


def test_an_upload_that_failed_before_us_is_put_aside(old: OldEntero) -> None:
    location = "/up/loads/a_1.fastq.gz,/up/loads/a_2.fastq.gz"
    strain = old.add_failed_strain("traces-1", read_location=location)
    taken(old)

    assert [row[0] for row in put_aside(old)] == ["traces-1#a_1.fastq.gz#a_2.fastq.gz"]
    assert a_night(old) == {strain: Skip.PUT_ASIDE}


def test_whatever_is_put_aside_no_night_sends(old: OldEntero) -> None:
    both = old.add_failed_strain("SRR1000003", "SRR1000004")
    old.add_trace(both, accession="trace-2", read_location="/u/b_1.fq,/u/b_2.fq")
    nanopore = old.add_failed_strain("SRR1000005")
    old.add_trace(nanopore, accession="SRR1000006", seq_platform="OXFORD_NANOPORE")
    old.add_trace(nanopore, accession="SRR1000009", seq_library="Unpaired")
    rows = old.add_failed_strain("SRR1000012,SRR1000011", "SRR1000010")
    twice_named = old.add_failed_strain("SRR1000007", "SRR1000007")
    taken(old)

    assert a_night(old) == dict.fromkeys((both, nanopore, rows, twice_named), Skip.PUT_ASIDE)


@pytest.mark.parametrize("link", ["of its reads", "the strain's best", "on the assembly"])
def test_the_newest_assembly_is_found_by_each_of_three_ways(old: OldEntero, link: str) -> None:
    strain = old.add("strains", strain="s")
    trace = old.add_trace(strain, accession="SRR1000001")
    assembly = old.add("assemblies", status="Failed QC")
    if link == "of its reads":
        old.link(trace, assembly)
    elif link == "the strain's best":
        old.look().change("UPDATE strains SET best_assembly = :id", id=assembly)
    else:
        old.migrate()
        old.look().change("UPDATE assemblies SET strain_id = :id", id=strain)
    taken(old)

    assert [row[1] for row in put_aside(old)] == [strain]


def test_a_strain_that_may_still_be_assembled_is_left_to_the_night(old: OldEntero) -> None:
    never = old.add("strains", strain="never assembled")
    old.add_trace(never, accession="SRR1000001")
    again = old.add_failed_strain("SRR1000002")
    queued = old.add("assemblies", status="Queued")
    old.link(old.look().value("SELECT max(id) FROM traces"), queued)
    best = old.add("assemblies", status="legacy")
    good = old.add_failed_strain("SRR1000003")
    old.look().change("UPDATE strains SET best_assembly = :a WHERE id = :s", a=best, s=good)
    taken(old)

    assert put_aside(old) == []
    assert a_night(old) == {never: None, again: None}


@pytest.mark.parametrize(
    ("runs", "columns"),
    [
        ((), {}),
        (("../../etc",), {}),
        (("SRR1000001",), {"seq_platform": "PACBIO_SMRT"}),
        (("SRR1000001",), {"seq_library": None}),
        (("t1",), {"read_location": "/u/a_1.fq,/u/../.."}),
        ((None,), {}),
        (tuple(f"SRR10000{n}" for n in range(10, 31)), {}),
    ],
    ids=["none", "no run", "other", "unknown", "a path", "no name", "21 runs"],
)
def test_a_strain_whose_reads_no_night_could_send_is_counted(
    old: OldEntero, runs: tuple[str, ...], columns: dict[str, str]
) -> None:
    strain = old.add_failed_strain(*runs, **columns)
    found = taken(old)

    assert left(found) == [Left(table="strains", key={"id": strain}, why=WhyLeft.NO_READS)]
    assert (changes(found), a_night(old)) == ([], {strain: Skip.NO_READS})


def test_reads_of_two_strains_are_nobodys(old: OldEntero) -> None:
    for _ in range(2):
        old.add_failed_strain("SRR1000001")
    found = taken(old)

    assert [one.why for one in left(found)] == [WhyLeft.SHARED_READS] * 2
    assert put_aside(old) == []


def test_reads_that_we_know_are_not_touched(old: OldEntero) -> None:
    old.add_failed_strain("SRR1000001")
    old.migrate()
    row = "('SRR1000001', 'FAILED', 'transient')"
    old.look().change(f"INSERT INTO assembly_calls (reads, status, fate) VALUES {row}")

    assert list(old.taking_over().find()) == taken(old) == []


# The schema


def names_of(old: OldEntero) -> set[str]:
    """Return every table, column and index, in words."""
    found = set[str]()
    for url in {old.url, old.system_url}:
        at = "" if url == old.url else ", in the system database"
        tables = inspect(old.look(url).engine)
        for table in tables.get_table_names():
            found.add(f"table {table}{at}")
            found |= {f"column {table}.{one['name']}{at}" for one in tables.get_columns(table)}
            found |= {f"index {one['name']} of {table}{at}" for one in tables.get_indexes(table)}
    return found


@every_kind
def test_the_list_says_what_is_added_to_the_schema(old: OldEntero) -> None:
    use_for_years(old)
    before, listed = names_of(old), old.taking_over().missing()
    old.migrate()
    added = names_of(old) - before
    new_tables = {part_of(line) for line in listed if line.startswith("table ")}
    inside = {one for one in added if not one.startswith("table ") and part_of(one) in new_tables}

    assert set(listed) == added - inside
    assert len(listed) == len(set(listed))
    assert old.taking_over().missing() == []


def part_of(line: str) -> tuple[str, str]:
    """Return a table, or the table of a column or an index, and where it is."""
    words, _, where = line.partition(",")
    kind, *names = words.split()
    return (names[0].split(".")[0] if kind == "column" else names[-1]), where


def test_a_table_of_that_name_which_is_not_enterobases_is_refused(old: OldEntero) -> None:
    old.look().change("CREATE TABLE loci (locus TEXT PRIMARY KEY)")

    with pytest.raises(InconsistentInput, match="a table loci without id: it is not EnteroBase's"):
        old.taking_over().missing()


def test_a_table_that_is_looked_through_for_every_row_is_warned_of(old: OldEntero) -> None:
    before = old.taking_over().advice()
    old.look().change("DROP INDEX lookup_of")

    assert before == ""
    assert "no index that begins with assembly_id" in old.taking_over().advice()
