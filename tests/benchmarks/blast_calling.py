"""Allele calling with blastn, by the rules that tseemann/mlst documents: the peer of ours.

The genome is the query, every known allele a subject; arguments are those that mlst 2.35 prints
(https://github.com/tseemann/mlst). Of the hits that cover a tenth of their allele:

* `n`: all of allele n, without a difference; `n,m` when there are more;
* `~n`: as long as allele n, with differences (at most 5 %);
* `n?`: a part of allele n; and `-`: nothing.

Like mlst, this reads the assembly with any2fasta; where that is not installed, with gzip.
"""

import gzip
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.genomics.records import CallStatus, LocusCall
from tasks.genomics.alleles import LocusAlleles

SEARCH = ("-ungapped", "-dust", "no", "-word_size", "32", "-perc_identity", "95")
SEARCH += ("-evalue", "1E-20", "-num_threads", "1")
MLST_TARGETS = 100_000  # subjects of one query; more alleles than this need a higher limit
COLUMNS = "6 sseqid slen length nident qseqid qstart qend qseq sstrand"
LEAST_COVERED = 0.1

Codes = Mapping[tuple[str, str], str]  # by scheme and locus


def is_installed() -> bool:
    """Whether there is a BLAST on this machine."""
    return all(shutil.which(name) for name in ("blastn", "makeblastdb"))


@dataclass(frozen=True)
class BlastCaller:
    """The alleles of some schemes as a BLAST database in a folder."""

    folder: Path
    n_alleles: int

    def call(self, assembly: Path) -> Codes:
        """Return what mlst would print of every locus that has a hit."""
        query, hits = self.folder / "genome.fna", self.folder / "hits.tsv"
        read_assembly(assembly, query)
        targets = str(max(MLST_TARGETS, self.n_alleles))
        given = ("-query", query, "-db", self.folder / "alleles", "-out", hits)
        _run("blastn", *given, *SEARCH, "-max_target_seqs", targets, "-outfmt", COLUMNS)
        with hits.open() as lines:
            return codes_of(lines)


def make_caller(folder: Path, schemes: Mapping[str, Sequence[LocusAlleles]]) -> BlastCaller:
    """Write the alleles of these schemes and make the database of them, as mlst does."""
    folder.mkdir(parents=True)
    fasta, n_alleles = folder / "alleles.fa", 0
    with fasta.open("wb") as file:
        for scheme, loci in schemes.items():
            for locus in loci:
                n_alleles += len(locus.alleles)
                name = f"{scheme}.{locus.name}".encode()
                file.writelines(b">%s_%d\n%s\n" % (name, *one) for one in locus.alleles)
    kind = ("-dbtype", "nucl", "-title", "alleles", "-hash_index", "-parse_seqids")
    _run("makeblastdb", "-in", fasta, *kind, "-out", folder / "alleles")
    fasta.unlink()
    return BlastCaller(folder, n_alleles)


def read_assembly(assembly: Path, target: Path) -> None:
    """Write an assembly as plain FASTA."""
    with target.open("wb") as file:
        if shutil.which("any2fasta"):
            subprocess.run(["any2fasta", "-q", str(assembly)], stdout=file, check=True)
        else:
            content = assembly.read_bytes()
            file.write(gzip.decompress(content) if assembly.suffix == ".gz" else content)


def codes_of(lines: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return the code of every locus that has a hit; the first inexact one is told."""
    codes = dict[tuple[str, str], str]()
    for line in lines:
        subject, subject_length, length, identical, _ = line.split("\t", 4)
        allele, _, number = subject.rpartition("_")
        scheme, _, locus = allele.partition(".")
        whole, alike = int(length) == int(subject_length), int(identical)
        if alike < LEAST_COVERED * int(subject_length):
            continue
        if whole and alike == int(subject_length):
            known = codes.get((scheme, locus), "?")
            exact = known if is_exact(known) else ""
            codes[scheme, locus] = f"{exact},{number}".lstrip(",")
        else:
            codes.setdefault((scheme, locus), f"~{number}" if whole else f"{number}?")
    return codes


def is_exact(code: str) -> bool:
    """Whether a code names known alleles."""
    return not (code == "-" or "~" in code or "?" in code)


def _run(program: str, *arguments: object) -> None:
    subprocess.run(
        [program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )  # fmt: skip


# Beside ours

KIND = {
    CallStatus.MISSING: "missing",
    CallStatus.NOVEL: "novel",
    CallStatus.FRAGMENTED: "no use",
    CallStatus.DUPLICATED: "no use",
    CallStatus.AMBIGUOUS: "no use",
    CallStatus.NO_ORF: "no use",
}
EXPLAINED = {
    ("~", CallStatus.AMBIGUOUS): "it has letters other than A, C, G, T: no allele, and no number",
    ("~", CallStatus.FRAGMENTED): "alike, but its ends are not there, or it is broken",
    ("~", CallStatus.DUPLICATED): "a second copy; mlst tells the first hit that is not exact",
    ("n", CallStatus.DUPLICATED): "a second copy, of no known allele; mlst tells the known one",
    ("n,m", CallStatus.EXACT): "an allele inside another one; ours is the longest",
    ("?", CallStatus.NOVEL): "a gap, or an unlike end: an ungapped hit ends there",
    ("?", CallStatus.MISSING): "10 to 60 % of it, inside a contig: we call that missing",
    ("-", CallStatus.NOVEL): "less than 95 % alike",
    ("-", CallStatus.FRAGMENTED): "a piece shorter than a tenth, or less than 95 % alike",
    ("-", CallStatus.AMBIGUOUS): "letters other than A, C, G, T leave no equal word of 32",
    ("-", CallStatus.DUPLICATED): "two copies, less than 95 % alike",
}


@dataclass(frozen=True)
class Difference:
    """A locus that the two callers see differently."""

    genome: str
    locus: str
    blast: str
    ours: str
    reason: str  # empty if there is none that we know of: that would be a fault

    def __str__(self) -> str:
        return f"{self.genome} {self.locus}: BLAST {self.blast}, ours {self.ours}: {self.words}"

    @property
    def words(self) -> str:
        """Why, in words."""
        return self.reason or "UNEXPLAINED"


def differences(
    genome: str, calls: Iterable[LocusCall], codes: Codes, scheme: str
) -> Iterator[Difference]:
    """Return the loci that differ in kind, or in the number of a known allele.

    The kinds of mlst's codes: `n` a known allele, `~n` a novel one, `n,m` and `n?` of no use, `-`
    missing.
    """
    for call in calls:
        code = codes.get((scheme, call.locus), "-")
        if _kind(code) == (KIND.get(call.status) or f"allele {call.allele}"):
            continue
        ours = call.status.value + (f" {call.allele}" if call.allele else "")
        yield Difference(genome, call.locus, code, ours, _reason(code, call))


def _kind(code: str) -> str:
    sort = sort_of(code)
    return {"n": f"allele {code}", "~": "novel", "-": "missing"}.get(sort, "no use")


def sort_of(code: str) -> str:
    """Return which of mlst's five sorts a code is: n, n,m, ~, ?, -."""
    if is_exact(code):
        return "n,m" if "," in code else "n"
    return next(sort for sort in "~?-" if sort in code)


def _reason(code: str, call: LocusCall) -> str:
    sort = sort_of(code)
    if sort == "n,m" and str(call.allele) not in code.split(","):
        return ""
    return EXPLAINED.get((sort, call.status), "")
