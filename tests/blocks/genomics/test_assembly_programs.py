"""The real programs of an assembly, on a small genome that is known to the last base."""

import asyncio
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from blocks.errors import InconsistentInput
from blocks.genomics import consensus, fastp, minimap2, samtools
from blocks.genomics.assemblers import ASSEMBLERS, assemble
from blocks.genomics.assembly_job import AssemblerName, AssemblyJob
from blocks.genomics.consensus import Changes, Consensus
from blocks.genomics.fastp import TRIMMED, TrimJob
from blocks.genomics.genome import Genome, read_genome
from blocks.genomics.minimap2 import MappingJob
from blocks.genomics.records import MINTABLE_QUALITY, ReadCounts
from blocks.genomics.samtools import SortJob
from blocks.program import Program
from tests.fakes.reads import (
    random_sequence,
    reverse,
    sequenced,
    short_fragment,
    write_fasta,
    write_pairs,
)

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

GENOME = random_sequence(60_000, seed=1)
LIMIT_S = 250.0
JOB = AssemblyJob(read1=TRIMMED[0], read2=TRIMMED[1], n_threads=2, memory_gb=4)


class Stopped(Exception):
    """A worker that is taken away."""


def trim(directory: Path, read1: Path, read2: Path) -> ReadCounts:
    job = TrimJob(read1=read1, read2=read2)
    program = Program(name="fastp")
    return asyncio.run(fastp.trim(program, job, directory=directory, timeout_s=LIMIT_S))


def assembled(name: AssemblerName, directory: Path) -> Path:
    assembler = ASSEMBLERS[name]
    program = Program(name=assembler.program)
    run = assemble(assembler, program, JOB, directory=directory, timeout_s=LIMIT_S)
    return asyncio.run(run)


def polished(draft: Path, read1: Path, read2: Path, directory: Path) -> Consensus:
    """Map reads to a draft and return what they make of it."""
    mapping = MappingJob(reference=draft, read1=read1, read2=read2, n_threads=2)
    where = {"directory": directory, "timeout_s": LIMIT_S}

    async def chain() -> Path:
        tool = Program(name="samtools")
        sam = await minimap2.map_reads(Program(name="minimap2"), mapping, **where)
        order = SortJob(alignments=sam, n_threads=2, memory_mb=256)
        bam = await samtools.sort(tool, order, **where)
        return await samtools.pile_up(tool, bam, **where)

    return consensus.polish(draft, asyncio.run(chain()), directory=directory, stem="final")


def quality_of(genome: Genome, contig: int = 0) -> np.ndarray:
    quality = genome.contig_quality(contig)
    assert quality is not None
    return quality


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return sequenced(tmp_path_factory.mktemp("reads"), {GENOME: 40.0})


@pytest.fixture
def trimmed(tmp_path: Path, reads: tuple[Path, Path]) -> Path:
    trim(tmp_path, *reads)
    return tmp_path


def require_genome(draft: Path, directory: Path) -> None:
    """Require that the polished contigs of a draft are the genome but for its ends."""
    made = polished(draft, *(directory / name for name in TRIMMED), directory)
    found = read_genome(made.fastq)
    longest = found.contig_sequence(0)

    assert len(longest) > 0.99 * len(GENOME)
    assert longest in GENOME or reverse(longest) in GENOME
    assert made.mean_depth == pytest.approx(40, rel=0.1)
    assert (quality_of(found) >= MINTABLE_QUALITY).mean() > 0.995
    assert read_genome(made.fasta).contig_sequence(0) == longest


@pytest.mark.parametrize("name", ["megahit", "skesa"])
def test_reads_become_the_genome_that_they_are_of(trimmed: Path, name: AssemblerName) -> None:
    require_genome(assembled(name, trimmed), trimmed)


def test_a_spades_that_lost_its_worker_goes_on_to_the_same_genome(trimmed: Path) -> None:
    def lose_the_worker(_fraction: float, sentence: str) -> None:
        if "k-mers of 55" in sentence:
            raise Stopped

    spades = ASSEMBLERS["spades"]
    run = assemble(
        spades,
        Program(name=spades.program),
        JOB,
        directory=trimmed,
        timeout_s=LIMIT_S,
        tell=lose_the_worker,
    )
    with pytest.raises(Stopped):
        asyncio.run(run)
    assert not spades.contigs(trimmed).exists()

    contigs = assembled("spades", trimmed)

    said = (trimmed / "spades.stdout").read_text()
    assert "Skipping K21 (already processed)" in said
    require_genome(contigs, trimmed)


def test_adapters_and_what_follows_them_are_trimmed_off(tmp_path: Path) -> None:
    # Overlaps of 30 bases or more show the adapter; for shorter fragments it must be known.
    lengths = (25, 28, 60, 100, 140)
    pairs = [short_fragment(length, seed=10 * length) for length in lengths]

    counts = trim(tmp_path, *write_pairs(tmp_path, pairs))

    for mate, path in enumerate(TRIMMED):
        lines = gzip.decompress((tmp_path / path).read_bytes()).split(b"\n")
        whole = [pair[mate][:length] for pair, length in zip(pairs, lengths, strict=True)]
        assert lines[1::4] == whole
    assert (counts.reads_kept, counts.bases_kept) == (10, 2 * sum(lengths))


def test_poor_ends_are_trimmed_and_poor_middles_are_not(tmp_path: Path) -> None:
    files = write_pairs(tmp_path, [(random_sequence(150, 1), random_sequence(150, 2))])
    quality = b"#" * 20 + b"F" * 30 + b"#" * 60 + b"F" * 20 + b"#" * 20
    files[0].write_bytes(files[0].read_bytes().replace(b"F" * 150, quality))

    counts = trim(tmp_path, *files)

    kept = gzip.decompress((tmp_path / TRIMMED[0]).read_bytes()).split(b"\n")[1]
    assert 110 <= len(kept) <= 116  # a window of four bases may keep up to three poor ones
    assert counts.reads_kept == 2


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_read_file_that_is_cut_short_is_refused(
    tmp_path: Path, reads: tuple[Path, Path], share: float
) -> None:
    whole = reads[0].read_bytes()
    (tmp_path / "cut_1.fastq.gz").write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(InconsistentInput, match=r"cut_1.fastq.gz .* get them again"):
        trim(tmp_path, tmp_path / "cut_1.fastq.gz", reads[1])


def test_mapping_files_of_different_length_is_refused(
    tmp_path: Path, reads: tuple[Path, Path]
) -> None:
    draft = write_fasta(tmp_path / "draft.fasta", {"contig": GENOME})
    short = sequenced(tmp_path, {GENOME: 20.0}, name="short")

    with pytest.raises(InconsistentInput, match="not the same number of reads"):
        polished(draft, reads[0], short[1], tmp_path)


def with_errors(sequence: bytes, substituted: Sequence[int], deleted: int, added: int) -> bytes:
    """Return a draft with errors in it: a base too few, and two too many, at these places."""
    draft = bytearray(sequence)
    for position in substituted:
        draft[position] = b"ACGT"[b"CGTA".index(draft[position])]
    draft[added:added] = b"CA"
    del draft[deleted]
    return bytes(draft)


def test_errors_of_a_draft_are_corrected_by_the_reads(
    tmp_path: Path, reads: tuple[Path, Path]
) -> None:
    errors = with_errors(GENOME, [500, 501, 20_000], deleted=30_000, added=40_000)
    draft = write_fasta(tmp_path / "draft.fasta", {"contig": errors})

    made = polished(draft, *reads, tmp_path)

    assert made.changes == Changes(substituted=3, inserted=1, deleted=2)
    assert read_genome(made.fastq).contig_sequence(0) == GENOME


def test_bases_with_few_reads_or_none_are_kept_but_not_trusted(tmp_path: Path) -> None:
    good, thin, bare = (random_sequence(n, seed=n) for n in (20_000, 3_000, 600))
    files = sequenced(tmp_path, {good: 40.0, thin: 0.6})
    draft = write_fasta(tmp_path / "draft.fasta", {"contig": good + thin + bare})

    made = polished(draft, *files, tmp_path)

    found = read_genome(made.fastq)
    quality = quality_of(found)
    assert found.contig_sequence(0) == good + thin + bare
    assert (quality[1_000:19_000] >= MINTABLE_QUALITY).all()
    assert (quality[20_500:23_000] < MINTABLE_QUALITY).mean() > 0.9
    assert not quality[23_200:].any()


def test_a_contig_that_few_reads_cover_is_removed(tmp_path: Path) -> None:
    parts = [random_sequence(n, seed=n) for n in (20_000, 6_000, 5_000)]
    files = sequenced(tmp_path, dict(zip(parts, (40.0, 4.0, 16.0), strict=True)))
    names = {f"contig{n}": sequence for n, sequence in enumerate(parts)}
    draft = write_fasta(tmp_path / "draft.fasta", names | {"short": parts[0][:150]})

    made = polished(draft, *files, tmp_path)

    found = read_genome(made.fasta)
    assert [found.contig_sequence(n) for n in range(2)] == [parts[0], parts[2]]
    assert (made.n_contigs, made.n_removed) == (2, 2)


def test_the_reads_of_two_strains_leave_the_bases_where_they_differ_in_doubt(
    tmp_path: Path,
) -> None:
    one = random_sequence(20_000, seed=5)
    other = with_errors(one, [5_000, 12_000], deleted=0, added=0)
    files = sequenced(tmp_path, {one: 24.0, other: 16.0})
    draft = write_fasta(tmp_path / "draft.fasta", {"contig": one})

    quality = quality_of(read_genome(polished(draft, *files, tmp_path).fastq))

    assert (quality[[5_000, 12_000]] < MINTABLE_QUALITY).all()
    assert (quality[[4_999, 5_001, 11_999, 12_001]] >= MINTABLE_QUALITY).all()


def test_the_programs_say_their_versions(tmp_path: Path) -> None:
    async def versions() -> list[str]:
        assemblers = [
            await one.version(Program(name=one.program), tmp_path) for one in ASSEMBLERS.values()
        ]
        return [
            *assemblers,
            await fastp.version(Program(name="fastp"), tmp_path),
            await minimap2.version(Program(name="minimap2"), tmp_path),
            await samtools.version(Program(name="samtools"), tmp_path),
        ]

    found = asyncio.run(versions())

    assert [version.partition(".")[0].isdigit() for version in found] == [True] * 6
    assert all("." in version for version in found)
