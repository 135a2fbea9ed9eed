"""Kraken 2: which species contigs look like, counted as EnteroBase counts."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from blocks.errors import InvalidRequest, OutputInvalid
from blocks.genomics import kraken2
from blocks.genomics.kraken2 import SpeciesJob
from blocks.genomics.records import SpeciesShare
from blocks.genomics.running import version_in
from blocks.program import Program
from tests.fakes.reads import an_end, random_sequence, write_fasta

FAMILY = "d__Bacteria|f__Enterobacteriaceae"
REPORT = f"""d__Bacteria\t18
{FAMILY}\t17
{FAMILY}|g__Escherichia\t12
{FAMILY}|g__Escherichia|s__Escherichia coli\t8
{FAMILY}|g__Escherichia|s__Escherichia fergusonii\t2
{FAMILY}|g__Shigella|s__Shigella flexneri\t4
{FAMILY}|g__Shigella|s__Shigella sonnei\t1
{FAMILY}|g__Salmonella|s__Salmonella enterica\t1
"""
JOB = SpeciesJob(database=Path("/data/minikraken2"), n_threads=2)
GENOMES = {562: 1, 623: 2, 28901: 3}  # taxon: seed of its random genome
TAXA = {
    1: (1, "no rank", "root"),
    561: (1, "genus", "Escherichia"),
    562: (561, "species", "Escherichia coli"),
    620: (1, "genus", "Shigella"),
    623: (620, "species", "Shigella flexneri"),
    590: (1, "genus", "Salmonella"),
    28901: (590, "species", "Salmonella enterica"),
}


def a_database(place: Path) -> Path:
    """Build a database of three random genomes with Kraken's own builder."""
    taxonomy = place / "db" / "taxonomy"
    taxonomy.mkdir(parents=True)
    nodes = ([taxon, parent, rank, *[""] * 10] for taxon, (parent, rank, _) in TAXA.items())
    names = ([taxon, name, "", "scientific name"] for taxon, (_, _, name) in TAXA.items())
    for file, table in (("nodes.dmp", nodes), ("names.dmp", names)):
        text = "".join("\t|\t".join(map(str, row)) + "\t|\n" for row in table)
        (taxonomy / file).write_text(text)
    build = ["kraken2-build", "--db", "db"]
    for taxon, seed in GENOMES.items():
        genome = {f"g{taxon}|kraken:taxid|{taxon}": random_sequence(20_000, seed)}
        library = write_fasta(place / f"{taxon}.fna", genome)
        add = ["--no-masking", "--add-to-library", library.name]
        subprocess.run([*build, *add], cwd=place, check=True, capture_output=True)
    subprocess.run([*build, "--build"], cwd=place, check=True, capture_output=True)
    return place / "db"


def species_of(database: Path, assembly: Path, directory: Path) -> tuple[SpeciesShare, ...]:
    job = SpeciesJob(database=database, n_threads=1)
    program = Program(name="kraken2")
    run = kraken2.species_of(program, job, assembly, directory=directory, timeout_s=60)
    return asyncio.run(run)


def test_species_count_once_each_and_shigella_is_e_coli(tmp_path: Path) -> None:
    (tmp_path / "kraken2.report").write_text(REPORT)

    shares = kraken2.read_report(tmp_path / "kraken2.report")

    assert [str(share) for share in shares] == [
        "Escherichia coli / Shigella;81.25%",
        "Escherichia fergusonii;12.50%",
        "Salmonella enterica;6.25%",
    ]


def test_contigs_that_fit_no_species_give_none(tmp_path: Path) -> None:
    (tmp_path / "kraken2.report").write_text(REPORT.partition("\n")[0])

    assert kraken2.read_report(tmp_path / "kraken2.report") == ()


@pytest.mark.parametrize("text", ["no report", "a|s__b\t1\t2", "d__a|s__b\tmany"])
def test_a_report_that_is_none_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "kraken2.report").write_text(text)

    with pytest.raises(OutputInvalid, match=r"kraken2.report is no report of Kraken 2"):
        kraken2.read_report(tmp_path / "kraken2.report")


def test_only_contigs_of_more_than_a_kilobase_are_judged(tmp_path: Path) -> None:
    contigs = {name: random_sequence(n, n) for name, n in (("a", 1001), ("b", 1000), ("c", 5000))}
    assembly = write_fasta(tmp_path / "assembly.fasta", contigs)

    assert kraken2.write_long_contigs(assembly, tmp_path / "long.fasta") == 2
    written = (tmp_path / "long.fasta").read_bytes()
    assert written == b">1\n%s\n>3\n%s\n" % (contigs["a"], contigs["c"])


def test_the_database_is_read_from_disk_when_it_does_not_fit_into_memory() -> None:
    (fault,) = kraken2.FAULTS
    mended = fault.remedy(JOB)

    assert mended is not None
    assert "--memory-mapping" not in kraken2.arguments(JOB)
    assert "--memory-mapping" in kraken2.arguments(mended)
    assert fault.remedy(mended) is None


def test_success_without_all_contigs_is_no_success(tmp_path: Path) -> None:
    said = "6 sequences (0.04 Mbp) processed in 0.007s (49.8 Kseq/m, 369.45 Mbp/m).\n"
    run = an_end(tmp_path, "kraken2", stderr=said)
    kraken2.check(run, 6)

    with pytest.raises(OutputInvalid, match="read 6 of 7 contigs"):
        kraken2.check(run, 7)
    with pytest.raises(OutputInvalid, match="read 0 of 7 contigs"):
        kraken2.check(an_end(tmp_path, "kraken2"), 7)


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "opts.k2d").touch()

    with pytest.raises(InvalidRequest, match=r"hash.k2d, taxo.k2d is missing"):
        species_of(tmp_path, tmp_path / "assembly.fasta", tmp_path)


def test_the_version_is_found_in_what_it_says() -> None:
    text = "Kraken version 2.1.2\nCopyright 2013-2021, Derrick Wood (dwood@cs.jhu.edu)\n"

    assert version_in(text, kraken2.VERSION) == "2.1.2"


@pytest.mark.services
def test_the_contigs_of_an_assembly_are_told_by_species(tmp_path: Path) -> None:
    database = a_database(tmp_path)
    coli, flexneri, enterica = (random_sequence(20_000, seed) for seed in GENOMES.values())
    contigs = {
        **{f"coli{n}": coli[2_000 * n : 2_000 * (n + 1)] for n in range(7)},
        **{f"flexneri{n}": flexneri[2_000 * n : 2_000 * (n + 1)] for n in range(2)},
        "enterica": enterica[:9_000],
        "unknown": random_sequence(3_000, seed=9),
        **{f"short{n}": enterica[900 * n : 900 * (n + 1)] for n in range(10)},
    }

    shares = species_of(database, write_fasta(tmp_path / "assembly.fasta", contigs), tmp_path)

    assert [str(share) for share in shares] == [
        "Escherichia coli / Shigella;90.00%",
        "Salmonella enterica;10.00%",
    ]
    assert asyncio.run(kraken2.version(Program(name="kraken2"), tmp_path)).startswith("2.")


@pytest.mark.services
@pytest.mark.parametrize("length", [900, 9_000])
def test_an_assembly_that_fits_nothing_has_no_species(tmp_path: Path, length: int) -> None:
    assembly = write_fasta(tmp_path / "assembly.fasta", {"a": random_sequence(length, seed=9)})

    assert species_of(a_database(tmp_path), assembly, tmp_path) == ()
