"""Genomes and schemes to type: real ones when they lie beside this repository, else synthetic.

The whole-gene scheme is grown to the size of a cgMLST: to the exemplar of each of 2,959 loci come
the alleles that the genomes carry, and mutated ones (1 to 6 random substitutions).
"""

import csv
import gzip
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blocks.genomics.genome import Genome, genome_of, read_genome, reverse_complement
from blocks.genomics.records import LocusCall, Profile
from blocks.genomics.scheme_folder import read_scheme_folder
from blocks.genomics.synthetic_isolate import (
    LETTERS,
    SyntheticScheme,
    codes,
    housekeeping_scheme,
    reading_frame_scheme,
    synthetic_genome,
    write_genome,
)
from tasks.genomics.alleles import LocusAlleles

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "genomics"
GENOME_BP = 5_000_000
SYNTHETIC_LOCI, SYNTHETIC_ALLELES, SYNTHETIC_GENOMES = 2_900, 1_800, 8
MOST_SUBSTITUTIONS = 6
BASES = b"ACGT"


@dataclass(frozen=True)
class GeneScheme:
    """A scheme of seven genes."""

    loci: Sequence[LocusAlleles] = field(repr=False)
    profiles: Sequence[Profile] = field(repr=False)

    @property
    def n_alleles(self) -> int:
        """How many alleles it has."""
        return sum(len(locus.alleles) for locus in self.loci)


@dataclass(frozen=True)
class Material:
    """What is typed.

    `genomes` and `edited` (small, one edit of one locus each) are files, `scheme_of` names the
    scheme of each. `exemplars` are one whole gene for each locus, `carriers` the genomes that have
    most of them, and `carried` what they have.
    """

    origin: str
    genomes: Mapping[str, Path]
    edited: Mapping[str, Path]
    scheme_of: Mapping[str, str]
    schemes: Mapping[str, GeneScheme] = field(repr=False)
    exemplars: Mapping[str, bytes] = field(repr=False)
    carriers: Mapping[str, Path]
    carried: Mapping[str, Mapping[str, bytes]] = field(repr=False)

    def whole_genes(self, mutants: int, *, seed: int = 1) -> list[LocusAlleles]:
        """Return the whole-gene scheme, with so many mutated alleles for each locus."""
        rng = np.random.default_rng((seed, mutants))
        return [
            LocusAlleles(name, self._alleles(name, exemplar, mutants, rng))
            for name, exemplar in self.exemplars.items()
        ]

    def _alleles(
        self, name: str, exemplar: bytes, mutants: int, rng: np.random.Generator
    ) -> list[tuple[int, bytes]]:
        own = [genome[name] for genome in self.carried.values() if name in genome]
        known = dict.fromkeys([exemplar, *own, *mutated(exemplar, mutants, rng)])
        usable = [sequence for sequence in known if not sequence.translate(None, BASES)]
        return list(enumerate(usable, start=1))


def mutated(sequence: bytes, n: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Return `n` sequences with 1 to 6 random substitutions each."""
    bases = np.tile(codes(sequence), (n, 1))
    counts = rng.integers(1, MOST_SUBSTITUTIONS + 1, size=n)
    rows = np.repeat(np.arange(n), counts)
    columns = rng.integers(0, len(sequence), size=len(rows))
    bases[rows, columns] = (bases[rows, columns] + rng.integers(1, 4, size=len(rows))) % 4
    return (LETTERS[row].tobytes() for row in bases)


def edited(genome: Genome, calls: Sequence[LocusCall], *, new: int, lost: int) -> Genome:
    """Return a genome with one other base in some of its loci, and without some others."""
    rng = np.random.default_rng(2)
    once = [(call.places[0], call.locus) for call in calls if len(call.places) == 1]
    chosen = [once[n][0] for n in rng.choice(len(once), size=new + lost, replace=False)]
    bases = np.frombuffer(genome.sequence, np.uint8).copy()
    starts = dict(zip(genome.contigs, genome.starts.tolist(), strict=True))
    for number, place in enumerate(chosen):
        first, last = (starts[place.contig] + at for at in (place.start, place.end))
        if number < new:
            middle = (first + last) // 2
            bases[middle] = LETTERS[(codes(bases[middle : middle + 1].tobytes())[0] + 1) % 4]
        else:
            bases[first:last] = random_letters(last - first, rng)
    return with_sequence(genome, bases)


def variants(genome: Genome, n: int, *, changed: int) -> Iterator[Genome]:
    """Return `n` genomes, each with some random bases instead of its own."""
    rng = np.random.default_rng(3)
    for _ in range(n):
        bases = np.frombuffer(genome.sequence, np.uint8).copy()
        bases[rng.integers(0, len(bases), size=changed)] = random_letters(changed, rng)
        yield with_sequence(genome, bases)


def random_letters(n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return random bases as letters."""
    return LETTERS[rng.integers(0, 4, size=n)]


def with_sequence(genome: Genome, letters: NDArray[np.uint8]) -> Genome:
    """Return a genome that has the same contigs, with other letters."""
    text = letters.tobytes()
    spans = zip(genome.contigs, genome.starts.tolist(), genome.lengths.tolist(), strict=True)
    records = ((name, text[start : start + length], None) for name, start, length in spans)
    return genome_of(genome.name, records)


def load_material(folder: Path, *, n_genomes: int) -> Material:
    """Return the real genomes if they are there, else synthetic ones written to the folder."""
    return _real(folder, n_genomes) if SHARED.is_dir() else _synthetic(folder, n_genomes)


# Real


def _real(folder: Path, n_genomes: int) -> Material:
    facts = json.loads((SHARED / "expected_genomes.json").read_text())
    scheme_of = {name: known["mlst"]["scheme"] for name, known in facts.items() if "mlst" in known}
    names = _of_each_scheme(scheme_of)[:n_genomes]
    edited = {path.stem: path for path in sorted((SHARED / "mlst_edge" / "derived").glob("*.fa"))}
    carrying = [path.name.split(".")[0] for path in sorted(SHARED.glob("cgmlst/*.calls.tsv.gz"))]
    schemes = sorted(set(scheme_of.values()))
    return Material(
        origin="real: INSDC assemblies, PubMLST alleles, chewBBACA's loci of E. coli",
        genomes={name: _assembly(name) for name in names},
        edited=edited,
        scheme_of=scheme_of | dict.fromkeys(edited, "salmonella"),
        schemes={name: _scheme(folder, name) for name in schemes},
        exemplars=dict(_fasta(SHARED / "cgmlst" / "exemplars.fa.gz")),
        carriers={name: _assembly(name) for name in carrying},
        carried={name: dict(_whole_genes_of(name)) for name in carrying},
    )


def _of_each_scheme(scheme_of: Mapping[str, str]) -> list[str]:
    """Return the names so that the first few are of different schemes."""
    seen = Counter[str]()
    turn = dict[str, int]()
    for name, scheme in scheme_of.items():
        turn[name] = seen[scheme]
        seen[scheme] += 1
    return sorted(turn, key=lambda name: turn[name])


def _assembly(name: str) -> Path:
    return SHARED / "genomes" / f"{name}.fna.gz"


def _scheme(folder: Path, name: str) -> GeneScheme:
    with tarfile.open(SHARED / "schemes" / f"{name}.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    found = read_scheme_folder(folder / name)
    loci = [LocusAlleles(locus, found.alleles(locus)) for locus in found.loci]
    return GeneScheme(loci, list(found.profiles()))


def _fasta(path: Path) -> Iterator[tuple[str, bytes]]:
    for record in gzip.decompress(path.read_bytes()).split(b">")[1:]:
        header, _, body = record.partition(b"\n")
        yield header.split()[0].decode(), body.replace(b"\n", b"").upper()


def _whole_genes_of(name: str) -> Iterator[tuple[str, bytes]]:
    genome = read_genome(_assembly(name))
    contigs = {contig: genome.contig_sequence(n) for n, contig in enumerate(genome.contigs)}
    with gzip.open(SHARED / "cgmlst" / f"{name}.calls.tsv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["status"] == "OK":
                piece = contigs[row["contig"]][int(row["start0"]) : int(row["end"])]
                yield row["locus"], piece if row["strand"] == "1" else reverse_complement(piece)


# Synthetic


def _synthetic(folder: Path, n_genomes: int) -> Material:
    names = [f"species_{number}" for number in (1, 2, 3)]
    genes = {
        name: housekeeping_scheme(n_alleles=SYNTHETIC_ALLELES, n_types=50, name=name, seed=seed)
        for seed, name in enumerate(names)
    }
    frames = reading_frame_scheme(n_loci=SYNTHETIC_LOCI, n_alleles=5, n_types=SYNTHETIC_GENOMES)
    genomes, scheme_of, carried = dict[str, Path](), dict[str, str](), dict[str, dict[str, bytes]]()
    for number in range(1, min(n_genomes, SYNTHETIC_GENOMES) + 1):
        name, scheme = f"isolate_{number}", names[number % len(names)]
        carried[name] = frames.carried(number)
        whole = carried[name] | genes[scheme].carried(number)
        made = synthetic_genome(whole, length=GENOME_BP, n_contigs=60, seed=number)
        genomes[name] = write_genome(made, folder / f"{name}.fna.gz")
        scheme_of[name] = scheme
    return Material(
        origin="synthetic: random sequence with planted alleles",
        genomes=genomes,
        edited={},
        scheme_of=scheme_of,
        schemes={name: _of_synthetic(scheme) for name, scheme in genes.items()},
        exemplars={name: alleles[0] for name, alleles in frames.alleles.items()},
        carriers=dict(list(genomes.items())[:3]),
        carried=dict(list(carried.items())[:3]),
    )


def _of_synthetic(scheme: SyntheticScheme) -> GeneScheme:
    numbered = {name: list(enumerate(own, start=1)) for name, own in scheme.alleles.items()}
    profiles = [Profile(number, own) for number, own in enumerate(scheme.profiles, start=1)]
    return GeneScheme([LocusAlleles(*one) for one in numbered.items()], profiles)
