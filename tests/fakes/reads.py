"""Read pairs of genomes that a test knows, and runs of programs that ended as a test says."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from blocks.genomics.synthetic_isolate import SyntheticGenome, random_bases, text, write_reads
from blocks.program import Run

TRUSEQ = (b"AGATCGGAAGAGCACACGTCTGAACTCCAGTCA", b"AGATCGGAAGAGCGTCGTGTAGGGAAAGAGTGT")
COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def random_sequence(length: int, seed: int) -> bytes:
    """Return a sequence without repeats, the same for the same seed."""
    return text(random_bases(length, np.random.default_rng(seed)))


def reverse(sequence: bytes) -> bytes:
    """Return the other strand."""
    return sequence.translate(COMPLEMENT)[::-1]


def sequenced(
    directory: Path, depths: Mapping[bytes, float], *, name: str = "reads"
) -> tuple[Path, Path]:
    """Write 2 x 150 bases of paired reads, inserts about 400, each sequence with its depth."""
    files = (directory / f"{name}_1.fastq.gz", directory / f"{name}_2.fastq.gz")
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for number, (sequence, depth) in enumerate(depths.items()):
        genome = SyntheticGenome(f"part{number}", (("contig", sequence),), {})
        written = (directory / "part_1.fq", directory / "part_2.fq")
        write_reads(genome, *written, depth=depth, seed=number)
        for mate, path in enumerate(written):
            parts[mate].append(path.read_bytes())
            path.unlink()
    for path, content in zip(files, parts, strict=True):
        path.write_bytes(gzip.compress(b"".join(content), 1, mtime=0))
    return files


def write_pairs(directory: Path, pairs: list[tuple[bytes, bytes]]) -> tuple[Path, Path]:
    """Write read pairs as they are, every base of quality 37."""
    files = (directory / "given_1.fastq", directory / "given_2.fastq")
    for mate, path in enumerate(files):
        reads = (pair[mate] for pair in pairs)
        records = (b"@r%d\n%s\n+\n%s\n" % (n, r, b"F" * len(r)) for n, r in enumerate(reads))
        path.write_bytes(b"".join(records))
    return files


def short_fragment(length: int, seed: int) -> tuple[bytes, bytes]:
    """Return a pair of 150 bases whose fragment is shorter: both run into the adapter."""
    fragment, filling = random_sequence(length, seed), random_sequence(150, seed + 1)
    reads = zip((fragment, reverse(fragment)), TRUSEQ, strict=True)
    one, two = ((read + adapter + filling)[:150] for read, adapter in reads)
    return one, two


def write_fasta(path: Path, contigs: Mapping[str, bytes]) -> Path:
    """Write contigs as an assembler does."""
    path.write_bytes(b"".join(b">%s\n%s\n" % (n.encode(), s) for n, s in contigs.items()))
    return path


def an_end(
    directory: Path,
    *argv: str,
    stdout: str = "",
    stderr: str = "",
    exit_status: int | None = 0,
    signal: int | None = None,
) -> Run:
    """Return a run of a program that printed this and ended so."""
    out, err = directory / "ended.stdout", directory / "ended.stderr"
    out.write_text(stdout)
    err.write_text(stderr)
    return Run(
        argv=argv or ("program",),
        directory=directory,
        exit_status=exit_status,
        signal=signal,
        stdout=out,
        stderr=err,
    )
