"""The story of an isolate with real programs on real PostgreSQL: reads in, types out.

What goes in is a synthetic genome that is known to the last base, and, where they lie beside this
repository, real genomes and reads whose types are known from other programs.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blocks.genomics.genome import Genome, read_genome, reverse_complement
from blocks.genomics.keys import allele_key
from blocks.genomics.records import LookupStatus, SchemeParam
from blocks.genomics.synthetic_isolate import (
    SyntheticScheme,
    substituted,
    synthetic_genome,
    write_genome,
    write_scheme_folder,
)
from deployments.demo_isolate import CGST, GENUS, LIMITS, NEW_LOCUS, READS, ST, write_example
from tasks.genomics.scheme_loading import OWN_NUMBERS_FROM
from tests.acceptance.lab import REPOSITORY, Lab, make_lab, shared
from tests.fakes.served import environment
from tests.postgres.server import PostgresServer

pytestmark = pytest.mark.services

GENOMES = {
    "Sal_GCA_000008105": "salmonella",
    "Sal_SRR6126859": "salmonella",
    "Sal_SRR1002850_SMALL": "salmonella",
    "Ec_GCF_000005845": "ecoli_achtman_4",
    "Ec_GCF_000010485": "ecoli_achtman_4",
    "Ec_GCF_001566635": "ecoli_achtman_4",
    "Sb_GCF_016726285": "ecoli_achtman_4",
    "Lm_CFSAN023463": "listeria_2",
}
SALMONELLA = [name for name, scheme in GENOMES.items() if scheme == "salmonella"]
K = 31


# The example: a genome of ours, from reads with errors to types


@dataclass(frozen=True)
class Example:
    """The example's reads, assembled and typed."""

    lab: Lab
    truth: Genome
    assembly: str
    before: int

    def n_alleles(self) -> int:
        """How many alleles the database has."""
        return self.lab.look.count("alleles")


@pytest.fixture(scope="module")
def example(
    prefect: None, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Example:
    root = tmp_path_factory.mktemp("example")
    files = write_example(root)
    url = postgres.create_database("isolate_example")
    limits = LIMITS["genera"][GENUS]
    lab = make_lab(root, url, name="example", prefix="SYN", genus=GENUS, limits=limits)
    for folder in files.schemes:
        lab.load(folder)
    for name in ("CRISPer", "annotation"):
        lab.store.schemes.save_scheme(name, name=name, param=SchemeParam(pipeline=name))
    before = lab.look.count("alleles")
    outcome = lab.assemble("#".join(("demo", *READS)), strain="example", assembler="spades")
    assert outcome.passed, outcome.reason
    assert outcome.failed_schemes == ()
    return Example(lab, read_genome(files.genome), outcome.assembly, before)


@pytest.mark.timeout(280)
def test_the_reads_become_the_genome_that_they_are_of(example: Example) -> None:
    row = example.lab.store.isolates.assembly(example.assembly)
    assert row.file_pointer
    found = read_genome(row.file_pointer)
    truth = example.truth.sequence
    contigs = [found.contig_sequence(n) for n in range(len(found.contigs))]
    inside = [c for c in contigs if c in truth or reverse_complement(c) in truth]

    assert row.status == "Assembled"
    assert inside == contigs
    assert sum(map(len, contigs)) > 0.99 * len(truth)


@pytest.mark.timeout(280)
def test_the_type_is_what_the_genome_is_made_of(example: Example) -> None:
    call = example.lab.call(example.assembly, "demo_mlst")

    assert (call.status, call.results["ST"]) == (LookupStatus.COMPLETE, ST)
    assert call.results["loci"] == {"exact": 7}


@pytest.mark.timeout(280)
def test_the_one_new_allele_is_minted_once_and_gives_a_new_type(example: Example) -> None:
    call = example.lab.call(example.assembly, "demo_cgmlst")
    rows = example.lab.look.rows(
        "SELECT l.name, a.sequence FROM alleles a JOIN loci l ON l.id = a.locus_id"
        " WHERE a.minted_for = :barcode",
        barcode=example.assembly,
    )

    assert call.results["loci"] == {"exact": 49, "novel": 1}
    [(locus, sequence)] = rows
    assert locus == NEW_LOCUS
    new = sequence.encode()
    assert new in example.truth.sequence or reverse_complement(new) in example.truth.sequence
    assert example.n_alleles() == example.before + 1
    assert call.results["ST"] == OWN_NUMBERS_FROM != CGST


@pytest.mark.timeout(280)
def test_programs_schemes_are_called_too(example: Example) -> None:
    crispr = example.lab.call(example.assembly, "CRISPer")
    annotation = example.lab.call(example.assembly, "annotation")

    assert (crispr.status, crispr.results["n_arrays"]) == (LookupStatus.COMPLETE, 0)
    assert annotation.results["genes"] > 50
    assert all(Path(annotation.results[f"{kind}_file"]).is_file() for kind in ("gff", "gbk"))


@pytest.mark.timeout(280)
def test_another_assembler_gives_the_same_alleles_and_mints_nothing(example: Example) -> None:
    lab, minted = example.lab, example.n_alleles()
    types = lab.look.count("sequence_types")
    outcome = lab.assemble("#".join(("demo", *READS)), assembler="megahit")

    assert outcome.passed
    for scheme in ("demo_mlst", "demo_cgmlst"):
        keys = lab.alleles(example.assembly, scheme)
        assert lab.alleles(outcome.assembly, scheme) == keys
        assert len(keys) == len(lab.store.schemes.scheme(scheme).loci)
    assert (example.n_alleles(), lab.look.count("sequence_types")) == (minted, types)
    assert lab.call(outcome.assembly, "demo_cgmlst").results["ST"] == OWN_NUMBERS_FROM


# Many at once

WORKER = """
import sys
from pathlib import Path
from blocks.genomics.genome import read_genome
from blocks.genomics.records import Claim
from blocks.genomics.store import open_store
from tasks.genomics.alleles import type_genome
from tasks.genomics.indexes import IndexCache

url, name, *barcodes = sys.argv[1:]
store = open_store(url, database="crowd", prefix="SYN")
scheme = store.schemes.scheme(name)
index = IndexCache().index(store.schemes, scheme, where=url)
work = []
for barcode in barcodes:
    assembly = store.isolates.assembly(barcode)
    job = store.jobs.start(accession=barcode, pipeline="x", flow_run_id=barcode)
    claim = Claim(assembly=assembly, scheme=scheme, job_id=job.id, flow_run_id=barcode)
    store.calls.claim(claim)
    work.append((claim, type_genome(read_genome(assembly.file_pointer), index)))
print("ready", flush=True)
sys.stdin.readline()
for claim, calls in work:
    typing = store.calls.store_typing(claim, calls)
    print(typing.st.number, typing.st.is_new, *(call.allele for call in typing.calls))
"""


@pytest.mark.timeout(120)
def test_fifty_genomes_in_eight_processes_with_the_same_new_allele_mint_one_and_one_type(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    from blocks.genomics.schema import migrate  # noqa: PLC0415
    from blocks.genomics.store import open_store  # noqa: PLC0415
    from tests.flows.isolates import MLST, with_new_allele  # noqa: PLC0415

    url = postgres.create_database("isolate_crowd")
    migrate(url)
    store = open_store(url, database="crowd", prefix="SYN")
    lab = Lab(name="crowd", url=url, root=tmp_path, store=store)
    lab.load(write_scheme_folder(MLST, tmp_path / MLST.name))
    before = lab.look.count("alleles"), lab.look.count("sequence_types")
    carried = MLST.carried(1) | with_new_allele(MLST, 1, "demC")
    genome = write_genome(synthetic_genome(carried, length=20_000), tmp_path / "new.fastq")
    barcodes = list[str]()
    for number in range(50):
        path = shutil.copy(genome, tmp_path / f"new_{number}.fastq")
        barcodes.append(store.isolates.add_genome(path, strain=str(number)).barcode)
    said = at_once([[url, MLST.name, *barcodes[n::8]] for n in range(8)])

    numbers = {line.split(" ", 2)[2] for line in said}
    assert (len(said), len(numbers), len({line.split()[0] for line in said})) == (50, 1, 1)
    assert [line.split()[1] for line in said].count("True") == 1
    after = lab.look.count("alleles"), lab.look.count("sequence_types")
    assert after == (before[0] + 1, before[1] + 1)
    assert lab.look.count("scheme_calls", status="COMPLETE") == 50


def at_once(arguments: list[list[str]]) -> list[str]:
    """Run workers that all begin to store at the same moment; return what they print."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *given],
            cwd=REPOSITORY,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for given in arguments
    ]
    try:
        for worker in workers:
            assert worker.stdout
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [
            line
            for worker in workers
            for line in worker.communicate(timeout=60)[0].split("\n")
            if line
        ]
    finally:
        for worker in workers:
            worker.kill()


# Real genomes


@pytest.fixture(scope="module")
def real(prefect: None, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """An EnteroBase with the schemes of PubMLST, loaded as a person loads them."""
    schemes, root = shared("schemes"), tmp_path_factory.mktemp("real")
    url = postgres.create_database("isolate_real")
    lab = make_lab(root, url, name="real", prefix="SAL", genus="Salmonella", n_processes=1)
    for name in sorted(set(GENOMES.values())):
        with tarfile.open(schemes / f"{name}.tar.xz") as tar:
            tar.extractall(root, filter="data")
        assert lab.load(root / name, "--not-automatic")["loci"] == 7
    lab.store.schemes.save_scheme(
        "SeroPred", name="serovar", param=SchemeParam(pipeline="SeroPred")
    )
    return lab


def registered(lab: Lab, name: str) -> str:
    path = shared("genomes") / f"{name}.fna.gz"
    return lab.store.isolates.add_genome(path, strain=name).barcode


def expected(name: str) -> dict[str, Any]:
    return json.loads(shared("expected_genomes.json").read_text())[name]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", GENOMES)
def test_a_real_genome_has_its_known_type(real: Lab, name: str) -> None:
    known, barcode = expected(name)["mlst"], registered(real, name)
    typed = asyncio.run(real.typing(barcode, known["scheme"]))

    assert str(typed.st) == known["ST"]
    alleles = real.call(barcode, known["scheme"]).results["alleles"]
    assert [f"{locus}({number})" for locus, number in alleles.items()] == known["alleles"]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", GENOMES)
def test_the_places_of_its_loci_are_where_the_gff_text_says_and_hold_its_alleles(
    real: Lab, name: str
) -> None:
    known, barcode = expected(name)["mlst"], registered(real, name)
    asyncio.run(real.typing(barcode, known["scheme"]))
    places = real.look.rows(
        "SELECT l.name, p.contig, p.start, p.stop, p.strand, p.allele FROM locus_positions p"
        " JOIN loci l ON l.id = p.locus_id JOIN assemblies a ON a.id = p.assembly_id"
        " WHERE a.barcode = :barcode",
        barcode=barcode,
    )
    genome = read_genome(shared("genomes") / f"{name}.fna.gz")
    keys = real.alleles(barcode, known["scheme"])

    assert len(places) == 7
    assert {tuple(place) for place in places} == in_gff(real, barcode)
    for locus, contig, start, stop, strand, _ in places:
        piece = genome.contig_sequence(genome.contigs.index(contig))[start:stop]
        allele = piece if strand == "+" else reverse_complement(piece)
        assert str(allele_key(allele)) == keys[locus]


def in_gff(lab: Lab, barcode: str) -> set[tuple[str, str, int, int, str, int]]:
    """Return locus, contig, start, stop, strand and allele of each line of the site's text."""
    text = lab.look.value(
        "SELECT annotation FROM assembly_lookup l JOIN assemblies a ON a.id = l.assembly_id"
        " WHERE a.barcode = :barcode AND annotation != ''",
        barcode=barcode,
    )
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    about = [dict(pair.split("=") for pair in line[8].split(";")) for line in lines]
    return {
        (one["locus"], line[0], int(line[3]) - 1, int(line[4]), line[6], int(one["allele"]))
        for line, one in zip(lines, about, strict=True)
    }


@pytest.mark.timeout(200)
def test_real_salmonella_have_their_known_serovars(real: Lab) -> None:
    barcodes = {name: registered(real, name) for name in SALMONELLA}

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(real.typing(b, "SeroPred") for b in barcodes.values()))

    found = asyncio.run(all_at_once())

    for name, typed in zip(SALMONELLA, found, strict=True):
        known = expected(name)["sistr"]
        for field in ("serovar", "antigenic_formula", "serogroup", "h1", "h2", "o_antigen"):
            assert typed.results[field] == known[field], name
        assert real.call(barcodes[name], "SeroPred").status is LookupStatus.COMPLETE


# Reads of a real plasmid


def seven_loci(reference: bytes) -> SyntheticScheme:
    """Return a scheme of seven pieces of a sequence, whose ST 2 the sequence is."""
    rng, loci = np.random.default_rng(1), dict[str, tuple[bytes, ...]]()
    for number, start in enumerate(np.linspace(5_000, 170_000, 7).astype(int)):
        piece = reference[start : start + 450]
        piece = reverse_complement(piece) if number % 2 else piece
        loci[f"plas{number}"] = (substituted(piece, 3, rng), piece)
    return SyntheticScheme("plasmid", loci, ((1,) * 7, (2,) * 7), (1, 2))


def words(sequence: bytes) -> list[bytes]:
    return [sequence[at : at + K] for at in range(len(sequence) - K + 1)]


@pytest.mark.timeout(280)
def test_real_reads_become_the_plasmid_that_they_are_of_and_its_type(
    prefect: None, postgres: PostgresServer, tmp_path: Path
) -> None:
    data = shared("reads_assembly")
    limits = {"min_length": 150_000, "max_length": 220_000, "min_n50": 10_000, "max_contigs": 200}
    url = postgres.create_database("isolate_plasmid")
    lab = make_lab(tmp_path, url, name="plasmid", prefix="DEI", genus="Deinococcus", limits=limits)
    for mate in ("shovill_R1.fq.gz", "shovill_R2.fq.gz"):
        shutil.copy(data / mate, tmp_path / "uploads" / mate)
    reference = read_genome(data / "reference.fna").sequence
    lab.load(write_scheme_folder(seven_loci(reference), tmp_path / "plasmid"))
    outcome = lab.assemble("MP1#shovill_R1.fq.gz#shovill_R2.fq.gz", assembler="megahit")

    found = read_genome(lab.store.isolates.assembly(outcome.assembly).file_pointer or Path())
    known = {word for n in range(len(found.contigs)) for word in words(found.contig_sequence(n))}
    covered = [w in known or reverse_complement(w) in known for w in words(reference)]
    assert outcome.passed, outcome.reason
    assert np.mean(covered) > 0.95
    assert lab.call(outcome.assembly, "plasmid").results["ST"] == 2
