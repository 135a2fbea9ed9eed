"""What the store promises of strains, reads and assemblies, on SQLite and on PostgreSQL."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import DataError, InconsistentInput, InvalidRequest, NoSuchRecord
from blocks.genomics.barcodes import require_barcode
from blocks.genomics.records import (
    Assembly,
    AssemblyFiles,
    AssemblyStatistics,
    Criterion,
    ReadPair,
    SpeciesShare,
    Verdict,
)
from tests.fakes.entero import Entero, at_once, ids

ISOLATES = ("strains", "traces", "assemblies", "trace_assembly", "assembly_evidence")
TOOLS = (("fastp", "0.23.4"), ("SPAdes", "4.2.0"), ("minimap2", "2.28"))


def reads(*accessions: str) -> list[ReadPair]:
    """Return pairs of these accessions, or one of an accession that is new."""
    return [
        ReadPair(accession=name, read1=Path(f"/r/{name}_1.fq"), read2=Path(f"/r/{name}_2.fq"))
        for name in accessions or (f"SRR{next(ids)}",)
    ]


def verdict(*, passed: bool = True) -> Verdict:
    reason = "" if passed else "N50 is 19999, not 20000"
    criterion = Criterion(name="N50", value="1", limit="2", passed=passed, reason=reason)
    return Verdict(genus="Salmonella", criteria=(criterion,))


def statistics(**given: Any) -> AssemblyStatistics:
    usual = {
        "n_contigs": 40, "total_length": 4_800_000, "n50": 200_000, "l50": 8, "longest": 700_000,
        "gc_share": 0.52, "low_quality": 900, "low_quality_share": 0.0002, "mean_depth": 61.6,
    }  # fmt: skip
    return AssemblyStatistics(**(usual | given))


def assembled(
    entero: Entero,
    pairs: Sequence[ReadPair],
    *,
    job_id: int = 0,
    passed: bool = True,
    species: tuple[SpeciesShare, ...] = (SpeciesShare(name="Salmonella enterica", percent=96.661),),
    **given: Any,
) -> Assembly:
    """Store an assembly of these reads, of a job of its own unless told which."""
    files = AssemblyFiles(
        fastq=Path("/share/7/assembly.fastq.gz"),
        fasta=Path("/share/7/assembly.fasta.gz"),
        assembler="spades",
        tools=TOOLS,
    )
    return entero.store.isolates.add_assembly(
        strain_id=entero.store.isolates.strain_of_reads(pairs),
        job_id=job_id or next(ids) * 100,
        reads=pairs,
        files=files,
        statistics=statistics(**given),
        verdict=verdict(passed=passed),
        species=species,
        directory=Path("/share/7"),
    )


def best(entero: Entero, assembly: Assembly) -> int | None:
    return entero.store.isolates.best_assembly(assembly.strain_id or 0)


def sizes(entero: Entero) -> list[int]:
    return [entero.species.count(table) for table in ISOLATES]


def row_of(entero: Entero, table: str, row_id: int) -> Any:
    [row] = entero.species.rows(f"SELECT * FROM {table} WHERE id = :id", id=row_id)
    return row


# Strains and traces


def test_reads_that_are_new_make_a_strain_with_a_trace_for_each_pair(entero: Entero) -> None:
    names = [f"ERR{next(ids)}" for _ in range(2)]
    strain_id = entero.store.isolates.strain_of_reads(reads(*names))
    strain = row_of(entero, "strains", strain_id)
    sql = "SELECT * FROM traces WHERE strain_id = :id ORDER BY id"
    traces = entero.species.rows(sql, id=strain_id)

    assert (strain.strain, strain.best_assembly, strain.version) == (names[0], None, 1)
    assert require_barcode(strain.barcode, "") == strain.barcode
    assert [trace.accession for trace in traces] == names
    assert (traces[0].seq_platform, traces[0].seq_library) == ("ILLUMINA", "Paired")
    assert traces[0].read_location == f"/r/{names[0]}_1.fq,/r/{names[0]}_2.fq"
    assert all(require_barcode(trace.barcode, "TR") for trace in traces)


def test_a_person_may_name_the_strain(entero: Entero) -> None:
    name = f"LT2 µ {next(ids)} " + "x" * 300
    strain_id = entero.store.isolates.strain_of_reads(reads(), name)

    assert row_of(entero, "strains", strain_id).strain == name
    assert entero.store.isolates.strain_of_reads(reads(), name) == strain_id


def test_reads_that_are_known_make_nothing(entero: Entero) -> None:
    pairs = reads()
    first = entero.store.isolates.strain_of_reads(pairs)
    before = sizes(entero)

    assert entero.store.isolates.strain_of_reads(pairs) == first
    assert sizes(entero) == before


def test_reads_that_come_twice_in_a_list_are_one_trace(entero: Entero) -> None:
    name = f"ERR{next(ids)}"
    entero.store.isolates.strain_of_reads(reads(name, name))

    assert entero.species.count("traces", accession=name) == 1


def test_new_reads_beside_known_ones_are_of_the_same_strain(entero: Entero) -> None:
    known, new = reads(), reads()
    strain_id = entero.store.isolates.strain_of_reads(known)

    assert entero.store.isolates.strain_of_reads([*new, *known]) == strain_id
    assert entero.species.count("traces", strain_id=strain_id) == 2


def test_an_old_trace_without_a_strain_gets_one(entero: Entero) -> None:
    [pair] = reads()
    entero.species.change("INSERT INTO traces (accession) VALUES (:name)", name=pair.accession)
    strain_id = entero.store.isolates.strain_of_reads([pair])

    assert entero.species.count("traces", accession=pair.accession, strain_id=strain_id) == 1
    assert entero.species.count("traces", accession=pair.accession) == 1


def test_reads_of_two_strains_are_refused_and_nothing_is_made(entero: Entero) -> None:
    first, second = reads(), reads()
    for pairs in (first, second):
        entero.store.isolates.strain_of_reads(pairs)
    before = sizes(entero)
    with pytest.raises(InconsistentInput, match="are reads of 2 strains"):
        entero.store.isolates.strain_of_reads([*first, *second, *reads()])

    assert sizes(entero) == before


def test_reads_of_another_strain_than_the_one_that_was_named_are_refused(entero: Entero) -> None:
    pairs = reads()
    entero.store.isolates.strain_of_reads(pairs, "LT2")
    before = sizes(entero)
    with pytest.raises(InconsistentInput, match="as strain 'LT2', not 'DT104'"):
        entero.store.isolates.strain_of_reads([*pairs, *reads()], "DT104")

    assert sizes(entero) == before


def test_no_reads_are_no_strain(entero: Entero) -> None:
    with pytest.raises(InvalidRequest, match="none were given"):
        entero.store.isolates.strain_of_reads([])


def test_eight_that_bring_the_same_reads_at_once_make_one_strain(entero: Entero) -> None:
    pairs = reads(*(f"ERR{next(ids)}" for _ in range(2)))
    before = sizes(entero)
    found = at_once([lambda: entero.store.isolates.strain_of_reads(pairs)] * 8)

    assert len(set(found)) == 1
    assert [after - was for after, was in zip(sizes(entero), before, strict=True)][:2] == [1, 2]


@pytest.mark.parametrize("name", ["a\0b", "half a pair \ud83d"])
def test_an_accession_that_no_column_holds_is_refused_or_kept(entero: Entero, name: str) -> None:
    accession, refusal = f"{name}{next(ids)}", ""
    before = entero.species.count("strains")
    try:
        entero.store.isolates.strain_of_reads(reads(accession))
    except DataError as error:
        refusal = str(error)
    added = entero.species.count("strains") - before

    assert added == (0 if refusal else 1)
    assert not refusal or "the database cannot hold a value" in refusal


# Assemblies


def test_an_assembly_is_stored_as_it_was_judged(entero: Entero) -> None:
    pairs = reads()
    assembly = assembled(entero, pairs, job_id=7_000_000)
    row = row_of(entero, "assemblies", assembly.id)

    assert (row.status, row.job_id, row.strain_id) == ("Assembled", 7_000_000, assembly.strain_id)
    assert (row.n50, row.contig_number, row.total_length) == (200_000, 40, 4_800_000)
    assert (row.low_qualities, row.coverage) == (900, 62)
    assert row.top_species == "Salmonella enterica;96.66%"
    assert row.pipeline_version == "fastp 0.23.4; SPAdes 4.2.0; minimap2 2.28"
    assert row.file_pointer == "/share/7/assembly.fastq.gz"
    assert require_barcode(row.barcode, "AS") == assembly.barcode


def test_where_an_assembly_came_from_is_kept_with_every_criterion(entero: Entero) -> None:
    pairs = reads(*(f"ERR{next(ids)}" for _ in range(2)))
    assembly = assembled(entero, pairs, passed=False)
    sql = "SELECT * FROM assembly_evidence WHERE assembly_id = :id"
    [row] = entero.species.rows(sql, id=assembly.id)

    assert row.reads == ",".join(pair.accession for pair in pairs)
    assert json.loads(row.tools) == [list(tool) for tool in TOOLS]
    assert json.loads(row.criteria)[0]["reason"] == "N50 is 19999, not 20000"
    assert (bool(row.passed), row.directory) == (False, "/share/7")
    assert entero.species.count("trace_assembly", assembly_id=assembly.id) == 2


def test_what_was_not_measured_is_empty_and_zero_is_zero(entero: Entero) -> None:
    unknown = assembled(entero, reads(), mean_depth=None, species=())
    nothing = assembled(entero, reads(), mean_depth=0.0)

    assert row_of(entero, "assemblies", unknown.id).coverage is None
    assert row_of(entero, "assemblies", unknown.id).top_species is None
    assert row_of(entero, "assemblies", nothing.id).coverage == 0


def test_an_assembly_is_read_by_its_barcode_and_by_its_job(entero: Entero) -> None:
    pairs = reads()
    assembly = assembled(entero, pairs, job_id=(job := next(ids) * 100))

    assert entero.store.isolates.assembly(assembly.barcode) == assembly
    assert entero.store.isolates.assembly_of_job(job) == assembly
    assert (assembly.strain, assembly.version) == (pairs[0].accession, 1)
    assert entero.store.isolates.assembly_of_job(job + 1) is None


def test_an_old_assembly_is_read_also_if_its_path_was_encoded_twice(entero: Entero) -> None:
    name = f"OLD{next(ids)}"
    pointer = json.dumps(json.dumps("/share/old.fastq"))
    sql = "INSERT INTO assemblies (barcode, file_pointer, version) VALUES (:name, :path, NULL)"
    entero.species.change(sql, name=name, path=pointer)
    assembly = entero.store.isolates.assembly(name)

    assert assembly.file_pointer == Path("/share/old.fastq")
    assert (assembly.status, assembly.strain, assembly.version) == ("", "", 1)


@pytest.mark.parametrize("name", ["SAL_ZZ9999ZZ_AS", "", "' OR ''='", "x" * 5_000])
def test_an_assembly_that_is_not_there_is_named(entero: Entero, name: str) -> None:
    with pytest.raises(NoSuchRecord, match="there is no assembly"):
        entero.store.isolates.assembly(name)


@pytest.mark.parametrize("name", ["a\0b", "half a pair \ud83d"])
def test_a_name_that_no_assembly_can_have_is_an_answer_and_no_crash(
    entero: Entero, name: str
) -> None:
    with pytest.raises(DataError):
        entero.store.isolates.assembly(name)


def test_a_strain_that_is_not_there_is_named(entero: Entero) -> None:
    with pytest.raises(NoSuchRecord, match="there is no strain 999999999"):
        entero.store.isolates.best_assembly(999_999_999)


def test_a_job_has_one_assembly_however_often_it_is_stored(entero: Entero) -> None:
    pairs, job = reads(), next(ids) * 100
    first = assembled(entero, pairs, job_id=job)
    before = sizes(entero)
    second = assembled(entero, pairs, job_id=job, n50=150_000)

    assert (second.id, second.barcode) == (first.id, first.barcode)
    assert sizes(entero) == before
    assert row_of(entero, "assemblies", first.id).n50 == 150_000


def test_a_job_that_is_stored_twice_at_once_has_one_assembly(entero: Entero) -> None:
    pairs, job = reads(), next(ids) * 100
    found = at_once([lambda: assembled(entero, pairs, job_id=job)] * 6)

    assert len({assembly.id for assembly in found}) == 1
    assert entero.species.count("assemblies", job_id=job) == 1


def test_every_barcode_is_there_once(entero: Entero) -> None:
    at_once([lambda: assembled(entero, reads())] * 6)
    for table in ("strains", "traces", "assemblies"):
        codes = entero.species.rows(f"SELECT barcode FROM {table} WHERE barcode LIKE 'SAL_%'")
        assert len(codes) == len(set(codes)) > 0


# The best assembly of a strain


def test_the_first_assembly_that_passes_is_the_best(entero: Entero) -> None:
    assembly = assembled(entero, reads())

    assert best(entero, assembly) == assembly.id


def test_an_assembly_that_failed_is_never_the_best(entero: Entero) -> None:
    pairs = reads()
    failed = assembled(entero, pairs, passed=False, n50=900_000)
    alone = best(entero, failed)
    passed = assembled(entero, pairs, n50=20_000)
    assembled(entero, pairs, passed=False, n50=900_000)

    assert row_of(entero, "assemblies", failed.id).status == "Failed QC"
    assert (alone, best(entero, passed)) == (None, passed.id)


@pytest.mark.parametrize(("n50", "is_best"), [(200_001, True), (200_000, False), (199_999, False)])
def test_only_a_better_assembly_replaces_the_best(
    entero: Entero, n50: int, *, is_best: bool
) -> None:
    pairs = reads()
    first, second = assembled(entero, pairs), assembled(entero, pairs, n50=n50)

    assert best(entero, first) == (second if is_best else first).id


def test_a_best_assembly_that_the_site_failed_is_replaced_by_any_that_passes(
    entero: Entero,
) -> None:
    pairs = reads()
    failed = assembled(entero, pairs, passed=False, n50=900_000)
    entero.species.change(
        "UPDATE strains SET best_assembly = :best WHERE id = :id",
        best=failed.id,
        id=failed.strain_id,
    )
    passed = assembled(entero, pairs, n50=20_000)

    assert best(entero, passed) == passed.id


def test_a_best_assembly_that_fails_when_it_is_judged_again_is_replaced(entero: Entero) -> None:
    pairs, job = reads(), next(ids) * 100
    others = [assembled(entero, pairs, n50=n50) for n50 in (30_000, 50_000, 40_000)]
    first = assembled(entero, pairs, job_id=job)
    was_best = best(entero, first)
    assembled(entero, pairs, job_id=job, passed=False)

    assert (was_best, best(entero, first)) == (first.id, others[1].id)


def test_the_only_assembly_that_fails_when_it_is_judged_again_is_not_the_best(
    entero: Entero,
) -> None:
    pairs, job = reads(), next(ids) * 100
    first = assembled(entero, pairs, job_id=job)
    assembled(entero, pairs, job_id=job, passed=False)

    assert best(entero, first) is None


# Genomes that come assembled


def test_a_genome_from_elsewhere_is_not_judged(entero: Entero) -> None:
    path = Path(f"/genomes/{next(ids)}.fasta")
    first = entero.store.isolates.add_genome(path, strain=f"LT2-{next(ids)}")
    before = sizes(entero)
    second = entero.store.isolates.add_genome(path, strain=first.strain)

    assert (first.status, first.file_pointer, first) == ("legacy", path, second)
    assert sizes(entero) == before
    assert best(entero, first) == first.id


def test_an_assembly_that_passed_replaces_one_that_nobody_judged(entero: Entero) -> None:
    pairs = reads()
    strain = row_of(entero, "strains", entero.store.isolates.strain_of_reads(pairs)).strain
    legacy = entero.store.isolates.add_genome(Path(f"/g/{next(ids)}.fa"), strain=strain)
    judged = assembled(entero, pairs, n50=20_000)

    assert judged.strain_id == legacy.strain_id
    assert best(entero, legacy) == judged.id


def test_a_file_that_is_known_as_another_strains_is_refused(entero: Entero) -> None:
    path = Path(f"/genomes/{next(ids)}.fasta")
    entero.store.isolates.add_genome(path, strain="LT2")
    before = sizes(entero)
    with pytest.raises(InconsistentInput, match="as strain 'LT2', not 'DT104'"):
        entero.store.isolates.add_genome(path, strain="DT104")

    assert sizes(entero) == before
