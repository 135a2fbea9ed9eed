"""The generic schemes that are shipped, with the real PILER-CR, Prodigal and SISTR."""

import asyncio
import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from blocks.errors import ProgramFailed
from blocks.genomics.genome import read_genome
from blocks.genomics.pipeline import load_pipeline
from blocks.program import Program
from tasks.genomics.generic import GenericResult, run_pipeline
from tests.fakes.planted_genome import (
    REPEAT,
    contig_with_array,
    contig_with_genes,
    write_fasta,
)

pytestmark = pytest.mark.services

REPOSITORY = Path(__file__).parents[3]
SHARED = REPOSITORY.parent / "shared" / "data" / "genomics"
GENOMES = SHARED / "genomes"


def sistr() -> Program:
    """Return SISTR, which lives in an environment of its own."""
    named = os.environ.get("LIMSFLOW_SISTR") or shutil.which("sistr")
    path = Path(named) if named else REPOSITORY / ".venv-sistr" / "bin" / "sistr"
    if not path.is_file():
        pytest.fail(f"SISTR is not at {path}: run 'make services'")
    return Program(name="sistr", directory=path.parent)


def run(name: str, assembly: Path, place: Path) -> GenericResult:
    pipeline = load_pipeline(name)
    program = sistr() if pipeline.program == "sistr" else Program(name=pipeline.program)
    return asyncio.run(run_pipeline(pipeline, program, assembly, place / name, n_processes=2))


def a_shared_genome(name: str) -> Path:
    path = GENOMES / f"{name}.fna.gz"
    if not path.is_file():
        pytest.skip(f"the reference genome {name} is not on this machine")
    return path


def proteins(path: Path) -> dict[str, str]:
    """Return Prodigal's own translations by the gene's id, without their stops."""
    records = gzip.decompress(path.read_bytes()).decode().split(">")[1:]
    return {
        re.findall(r"ID=([^;]+)", record)[0]: "".join(record.split("\n")[1:]).rstrip("*")
        for record in records
    }


def translations(genbank: str) -> dict[str, str]:
    found = re.findall(r'/locus_tag="(\S+)".*?/translation="([A-Z\s]+)"', genbank, re.DOTALL)
    return {tag: re.sub(r"\s", "", text) for tag, text in found}


def test_planted_crispr_arrays_are_found_base_by_base(tmp_path: Path) -> None:
    first, array = contig_with_array(6, contig="first")
    second, other = contig_with_array(9, contig="second", seed=8)
    contigs = [("first", first), ("second", second.lower())]

    found = run("CRISPer", write_fasta(tmp_path / "a.fasta", contigs), tmp_path)

    assert found.tools == (("pilercr", "1.06"),)
    assert (found.results["copies"], found.results["n_spacers"]) == ("6+9", 13)
    assert [
        (one["contig"], one["start"], one["end"], tuple(one["spacers"]), one["consensus"])
        for one in found.results["arrays"]
    ] == [
        (one.place.contig, one.place.start, one.place.end, one.spacers, REPEAT)
        for one in (array, other)
    ]


def test_a_genome_without_crispr_has_none(tmp_path: Path) -> None:
    sequence, _ = contig_with_genes(10)

    found = run("CRISPer", write_fasta(tmp_path / "a.fasta", [("c1", sequence)]), tmp_path)

    assert found.results == {"n_arrays": 0, "n_spacers": 0, "copies": "", "arrays": []}


def test_planted_genes_are_annotated_in_three_files(tmp_path: Path) -> None:
    sequence, places = contig_with_genes(40)
    cut = (places[20].start + places[20].end) // 2
    contigs = [("left", sequence[:cut]), ("right", sequence[cut:])]

    found = run("annotation", write_fasta(tmp_path / "a.fasta", contigs), tmp_path)

    assert found.tools == (("prodigal", "2.6.3"),)
    assert (found.results["genes"], found.results["partial_genes"]) == (41, 2)
    assert found.results["coding_bases"] == sum(place.end - place.start for place in places)
    genbank = gzip.decompress(found.files["gbk_file"].read_bytes()).decode()
    assert genbank.count("\n//\n") == 2
    assert len(translations(genbank)) == 41
    assert translations(genbank) == proteins(found.files["faa_file"])
    gff = gzip.decompress(found.files["gff_file"].read_bytes()).decode()
    assert gff.count("\tCDS\t") == 41


def test_an_assembly_too_short_to_learn_genes_from_says_so(tmp_path: Path) -> None:
    sequence, _ = contig_with_genes(5)

    with pytest.raises(ProgramFailed, match=r"prodigal ended .*must be 20000 characters"):
        run("annotation", write_fasta(tmp_path / "a.fasta", [("c1", sequence)]), tmp_path)


def test_a_genome_that_is_no_salmonella_has_no_serovar(tmp_path: Path) -> None:
    sequence, _ = contig_with_genes(5)

    found = run("SeroPred", write_fasta(tmp_path / "a.fasta", [("c1", sequence)]), tmp_path)

    assert (found.results["serovar"], found.results["qc_status"]) == ("-:-:-", "FAIL")
    assert found.tools == (("sistr", "1.1.3"),)


@pytest.mark.parametrize(
    ("genome", "copies"), [("Sal_GCA_000008105", "5+7"), ("Ec_GCF_000005845", "10+7")]
)
def test_known_genomes_have_their_crispr_arrays(tmp_path: Path, genome: str, copies: str) -> None:
    assembly = a_shared_genome(genome)
    contigs = read_genome(assembly)

    arrays = run("CRISPer", assembly, tmp_path).results["arrays"]

    assert "+".join(str(len(array["repeats"])) for array in arrays) == copies
    for array in arrays:
        sequence = contigs.contig_sequence(contigs.contigs.index(array["contig"])).decode()
        pairs = zip(array["repeats"], [*array["spacers"], ""], strict=True)
        assert sequence[array["start"] : array["end"]] == "".join(a + b for a, b in pairs)


def test_a_known_salmonella_has_its_serovar(tmp_path: Path) -> None:
    assembly = a_shared_genome("Sal_SRR6126859")
    genomes = json.loads((SHARED / "expected_genomes.json").read_text())
    expected = genomes["Sal_SRR6126859"]["sistr"]

    results = run("SeroPred", assembly, tmp_path).results

    shared = expected.keys() & results.keys()
    assert {"serovar", "antigenic_formula", "o_antigen", "h1", "h2", "qc_status"} <= shared
    assert {key: str(results[key]) for key in shared} == {key: expected[key] for key in shared}
