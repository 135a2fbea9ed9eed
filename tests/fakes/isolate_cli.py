"""What a person types about isolates, and what comes back."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from blocks.genomics.synthetic_isolate import (
    SyntheticScheme,
    housekeeping_scheme,
    synthetic_genome,
    write_genome,
)

MLST = housekeeping_scheme(n_alleles=6, n_types=6, name="mlst")
LONG = f"/{'a' * 5000}"  # longer than a file's name may be


class Said(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


Cli = Callable[..., Said]


def a_genome(st: int = 3, scheme: SyntheticScheme = MLST, **carries: bytes) -> str:
    """Write a genome where the command runs; return its name."""
    genome = synthetic_genome(scheme.carried(st) | carries, length=30_000, n_contigs=2)
    return str(write_genome(genome, Path(f"isolate-{len(list(Path().glob('*.gz')))}.fastq.gz")))


def is_one_line(said: Said) -> bool:
    """Whether a failure is status 1 and one line on standard error."""
    one = said.err.count("\n") == 1 and said.err.startswith("limsflow: ")
    return said.status == 1 and said.out == "" and one
