"""chewBBACA as a peer: its schema of the same alleles, its calls, and how they agree with ours.

https://github.com/B-UMMI/chewBBACA (PyPI: chewBBACA). Its PrepExternalSchema takes minutes to
choose representatives of known alleles, so the exemplars are prepared, and the other known alleles
appended to the schema's files: to be found, an allele needs no representative of its own.
"""

import csv
import gzip
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.genomics.records import CallStatus, LocusCall, Place
from tasks.genomics.alleles import is_reading_frame

PROGRAM = "chewBBACA.py"
FOLDER = "LIMSFLOW_CHEWBBACA"
TRAINING = "lib/python3*/site-packages/CHEWBBACA/prodigal_training_files/Escherichia_coli.trn"

Answer = Place | str  # where an allele lies, or the class of what is none
Answers = Mapping[tuple[str, str], Answer]  # by genome and locus


def find() -> Path | None:
    """Return the program, if it is installed."""
    named = Path(os.environ.get(FOLDER, ""))
    folders = [str(one) for one in (named.parent, named, named / "bin") if named.name]
    found = shutil.which(PROGRAM, path=os.pathsep.join(folders)) or shutil.which(PROGRAM)
    return Path(found) if found else None


@dataclass(frozen=True)
class Chewbbaca:
    """A prepared schema in a folder."""

    program: Path
    folder: Path
    n_alleles: int

    @property
    def version(self) -> str:
        """What the program says of itself."""
        said = subprocess.run(
            [self.program, "--version"], check=True, capture_output=True, text=True
        )
        return said.stdout.split()[-1]

    def call(self, genomes: Mapping[str, Path], *, n_cpu: int) -> dict[tuple[str, str], Answer]:
        """Call genomes with a copy of the schema; nothing is added to it."""
        work = self.folder / f"cpu{n_cpu}"
        assemblies, schema, results = (work / name for name in ("genomes", "schema", "results"))
        assemblies.mkdir(parents=True)
        for name, path in genomes.items():
            (assemblies / f"{name}.fasta").write_bytes(gzip.decompress(path.read_bytes()))
        shutil.copytree(self.folder / "schema", schema)
        given = ("-i", assemblies, "-g", schema, "-o", results, "--cpu", n_cpu, "--no-inferred")
        _run(self.program, "AlleleCall", *given)
        return dict(_answers(results))


def prepare(
    program: Path,
    folder: Path,
    exemplars: Mapping[str, bytes],
    known: Mapping[str, Sequence[bytes]],
) -> Chewbbaca:
    """Make the schema of these exemplars and known alleles that are reading frames."""
    source, schema = folder / "exemplars", folder / "schema"
    source.mkdir(parents=True)
    for name, sequence in exemplars.items():
        (source / f"{name}.fasta").write_bytes(b">%s_1\n%s\n" % (name.encode(), sequence))
    training = next(program.resolve().parent.parent.glob(TRAINING), None)
    trained = ("--ptf", training) if training else ()
    _run(program, "PrepExternalSchema", "-g", source, "-o", schema, "--cpu", 1, *trained)
    n_alleles = 0
    for path in schema.glob("*.fasta"):
        frames = [s for s in known.get(path.stem, ()) if is_reading_frame(s.decode())]
        others = [s for s in frames if s != exemplars[path.stem]]
        n_alleles += 1 + len(others)
        with path.open("ab") as file:
            name = path.stem.encode()
            file.writelines(b">%s_%d\n%s\n" % (name, n, s) for n, s in enumerate(others, start=2))
    return Chewbbaca(program, folder, n_alleles)


def _run(program: Path, *arguments: object) -> None:
    given = [program, *map(str, arguments)]
    done = subprocess.run(given, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"chewBBACA failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def _answers(results: Path) -> Iterator[tuple[tuple[str, str], Answer]]:
    """Read the places of alleles, and the classes of what has none."""
    with (results / "results_contigsInfo.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            genome = row.pop("FILE")
            for locus, said in row.items():
                yield (genome, locus), _answer(said)


def _answer(said: str) -> Answer:
    if said.count("&") != 2:
        return said
    contig, span, strand = said.split("&")
    start, end = map(int, span.split("-"))
    return Place(contig=contig, start=start - 1, end=end, strand="+" if strand == "1" else "-")


# Beside ours


def agreement(calls: Mapping[str, Sequence[LocusCall]], answers: Answers) -> dict[str, int]:
    """Return how many loci both see alike, and in which ways others differ."""
    counted = Counter[str]()
    for genome, own in calls.items():
        for call in own:
            answer = answers.get((genome, call.locus))
            if answer is not None:  # chewBBACA refuses loci whose exemplar is no reading frame
                counted[_agreement(call, answer)] += 1
    return dict(counted)


def _agreement(call: LocusCall, answer: Answer) -> str:
    if isinstance(answer, str):
        return f"limsflow {call.status.value}, chewBBACA {answer}"
    if call.status not in (CallStatus.EXACT, CallStatus.NOVEL):
        return f"limsflow {call.status.value}, chewBBACA an allele"
    [place] = call.places
    if place == answer:
        return "identical sequences"
    one_end = place.contig == answer.contig and (
        place.start == answer.start or place.end == answer.end
    )
    return "one end equal, the other not (start codon, stop codon)" if one_end else "another place"
