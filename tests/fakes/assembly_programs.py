"""Executables for tests of assembling: they check what they are asked, then leave what the real
ones would, of a genome that lies beside them.

What is beside them: `genome.fasta`, the contigs of the next assembly; `reads_over.json`, what the
reads say of its bases; `<program>.plan`, what each start does; `<program>.started`, each start.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.genomics.fastp import ADAPTERS
from tests.fakes.programs import script

VERSIONS = {
    "fastp": "fastp 0.23.2",
    "spades.py": "SPAdes genome assembler v3.15.5",
    "megahit": "MEGAHIT v1.2.9",
    "minimap2": "2.24-r1122",
    "samtools": "samtools 1.16.1\nUsing htslib 1.16",
    "kraken2": "Kraken version 2.1.2",
}

# The command line of each; None is any one argument.
FASTP = [
    *("--in1", None, "--in2", None, "--out1", "trimmed_1.fastq.gz", "--out2", "trimmed_2.fastq.gz"),
    *("--json", "fastp.json", "--html", "fastp.html", "--thread", None),
    *("--cut_front", "--cut_tail", "--cut_mean_quality", "6", "--qualified_quality_phred", "0"),
    *("--n_base_limit", "2", "--length_required", "23", "--adapter_fasta", str(ADAPTERS)),
    "--dont_eval_duplication",
]
PAIR = ("-1", "trimmed_1.fastq.gz", "-2", "trimmed_2.fastq.gz")
SPADES = ["--isolate", *PAIR, "-t", None, "-m", None, "-o", "spades"]
MEGAHIT = [*PAIR, "-t", None, "-m", None, "-o", "megahit"]
MINIMAP2 = [
    *("-ax", "sr", "-t", None, "--secondary=no", "--sam-hit-only", "-o", "mapped.sam"),
    *(None, "trimmed_1.fastq.gz", "trimmed_2.fastq.gz"),
]
SORT = ["sort", "-@", None, "-m", None, "-l", "1", "-T", "sorting", "-o", "mapped.bam"]
PILEUP = ["consensus", "-f", "pileup", "-C", "0", "--show-del", "yes", "--show-ins", "yes"]
KRAKEN2 = [
    *("--db", None, "--threads", None, "--output", "-", "--use-mpa-style"),
    *("--report", "kraken2.report", "long_contigs.fasta"),
]

# What all share. A deed is "good", or one of those below, or one of a program's own.
BEGIN = """#!{python} -IS
import gzip, json, os, pathlib, signal, subprocess, sys, time
me, asked = pathlib.Path(__file__), sys.argv[1:]
beside, here = me.parent, pathlib.Path.cwd()
def stop(why, status=97):
    print(why, file=sys.stderr)
    sys.exit(status)
if asked == ["--version"]:
    print({version!r})
    sys.exit(0)
commands = {commands!r}
if not any(len(asked) == len(one) and all(w in (None, a) for a, w in zip(asked, one))
           for one in commands):
    stop(f"{{me.name}} is not asked so: {{asked}}")
working = here / (me.name + ".pid")
if working.is_file() and pathlib.Path("/proc", working.read_text(), "cwd").exists():
    stop("another one is at work here")
working.write_text(str(os.getpid()))
started = beside / (me.name + ".started")
with started.open("a") as log:
    log.write(json.dumps([str(here), asked]) + "\\n")
plan = json.loads((beside / (me.name + ".plan")).read_text())
deed = plan[min(len(started.read_text().splitlines()), len(plan)) - 1]
def after(option):
    return asked[asked.index(option) + 1]
def lines_of(path):
    return gzip.decompress(pathlib.Path(path).read_bytes()).decode().splitlines()
def contigs_of(path):
    records = pathlib.Path(path).read_text().split(">")[1:]
    return {{r.split()[0]: "".join(r.split("\\n")[1:]) for r in records}}
def misbehave():
    if deed == "hang":
        sleep = [sys.executable, "-IS", "-c", "import time; time.sleep(1000)"]
        subprocess.Popen(sleep, start_new_session=True)
        time.sleep(1000)
    if deed == "hang on":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    if deed == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "nothing":
        sys.exit(0)
"""

TRIM = """
reads = [lines_of(after("--in1")), lines_of(after("--in2"))]
assert all(lines[0].startswith("@") for lines in reads), "no FASTQ"
misbehave()
for option, lines in zip(("--out1", "--out2"), reads):
    pathlib.Path(after(option)).write_bytes(gzip.compress("\\n".join(lines).encode() + b"\\n"))
number, bases = sum(map(len, reads)) // 4, sum(len(one) for r in reads for one in r[1::4])
counts = {"total_reads": number, "total_bases": bases, "q30_bases": bases // 2}
summary = {"before_filtering": counts, "after_filtering": counts}
pathlib.Path("fastp.json").write_text(json.dumps({"summary": summary}))
"""

ASSEMBLE_SPADES = """
out = here / "spades"
if asked[0] == "--continue":
    if not (out / "params.txt").is_file():
        stop("== Error ==  there is nothing to continue", 1)
    print("===== Skipping K21 (already processed)", flush=True)
else:
    assert lines_of("trimmed_1.fastq.gz") and lines_of("trimmed_2.fastq.gz")
    if out.exists():
        stop("== Error ==  the output directory is not empty", 1)
    out.mkdir()
    files = {"-1", "-2", "-o"}
    whole = [str(here / a) if b in files else a for b, a in zip([""] + asked, asked)]
    (out / "params.txt").write_text("Command line: " + "\\t".join([str(me), *whole]) + "\\t\\n")
    print("Default k-mer sizes were set to [21, 33]\\n===== K21 started. ", flush=True)
if deed == "unknown":
    stop("== Error ==  the moon is full", 21)
if deed == "child killed":
    stop("== Error ==  system call finished abnormally, OS return value: -9", 1)
misbehave()
print("===== K33 started. ", flush=True)
(out / "contigs.fasta").write_text((beside / "genome.fasta").read_text())
print("===== Copy files started.", flush=True)
"""

ASSEMBLE_MEGAHIT = """
misbehave()
(here / "megahit").mkdir()
(here / "megahit" / "final.contigs.fa").write_text((beside / "genome.fasta").read_text())
"""

MAP = """
reference = pathlib.Path(asked[8])
sizes = {name: len(bases) for name, bases in contigs_of(reference).items()}
misbehave()
head = "".join(f"@SQ\\tSN:{name}\\tLN:{size}\\n" for name, size in sizes.items())
pathlib.Path("mapped.sam").write_text(head + f"@CO\\t{reference}\\n")
"""

SAMTOOLS = """
text = pathlib.Path(asked[-1]).read_text()
misbehave()
if asked[0] == "sort":
    pathlib.Path("mapped.bam").write_text(text)
    sys.exit(0)
reads_over = json.loads((beside / "reads_over.json").read_text())
reference = text.rpartition("@CO\\t")[2].strip()
with open("pileup.tsv", "w") as table:
    for name, bases in contigs_of(reference).items():
        depth = reads_over["depths"].get(name, reads_over["depth"])
        weak = reads_over["weak"].get(name, [0, 0])
        for place, base in enumerate(bases):
            quality = 3 if weak[0] <= place < weak[1] else reads_over["quality"]
            seen = f"{base * depth}\\t{'F' * depth}"
            if depth:
                table.write(f"{name}\\t{place + 1}\\t0\\t{depth}\\t{base}\\t{quality}\\t{seen}\\n")
"""

SPECIES = """
assert all((pathlib.Path(after("--db")) / f"{part}.k2d").is_file() for part in ("hash", "opts"))
misbehave()
number = pathlib.Path("long_contigs.fasta").read_text().count(">")
lineage = (beside / "species").read_text()
pathlib.Path("kraken2.report").write_text(f"{lineage}\\t{number}\\n")
print(f"{number} sequences (0.10 Mbp) processed in 0.1s", file=sys.stderr)
"""

BODIES: dict[str, tuple[list[list[Any]], str]] = {
    "fastp": ([FASTP], TRIM),
    "spades.py": ([SPADES, ["--continue", "-o", "spades"]], ASSEMBLE_SPADES),
    "megahit": ([MEGAHIT], ASSEMBLE_MEGAHIT),
    "minimap2": ([MINIMAP2], MAP),
    "samtools": ([[*SORT, "mapped.sam"], [*PILEUP, "-o", "pileup.tsv", "mapped.bam"]], SAMTOOLS),
    "kraken2": ([KRAKEN2], SPECIES),
}


@dataclass(frozen=True)
class AssemblyPrograms:
    """The stand-ins, in a directory."""

    directory: Path

    def plan(self, program: str, *deeds: str) -> None:
        """Say what a program does on its next starts; the last deed goes on for ever.

        Deeds: "good"; "hang", with a child in a session of its own; "hang on", whatever SIGTERM
        says; "killed", by SIGKILL; "nothing", and status 0. SPAdes also: "unknown", "child killed".
        """
        (self.directory / f"{program}.started").write_text("")
        (self.directory / f"{program}.plan").write_text(json.dumps(deeds))

    def genome(self, contigs: Sequence[tuple[str, bytes]]) -> None:
        """Set what the next assembly consists of."""
        text = "".join(f">{name}\n{bases.decode()}\n" for name, bases in contigs)
        (self.directory / "genome.fasta").write_text(text)

    def reads_over(
        self,
        *,
        depth: int = 30,
        quality: int = 40,
        depths: dict[str, int] | None = None,
        weak: dict[str, tuple[int, int]] | None = None,
    ) -> None:
        """Set what the reads say of the next assembly.

        Args:
            depth: Reads over each base.
            quality: Of each base.
            depths: Reads over each base of these contigs.
            weak: Where, on these contigs, the quality is 3.
        """
        facts = {"depth": depth, "quality": quality, "depths": depths or {}, "weak": weak or {}}
        (self.directory / "reads_over.json").write_text(json.dumps(facts))

    def species(self, lineage: str) -> None:
        """Set what each contig is, as Kraken writes it: d__Bacteria|s__Vibrio cholerae."""
        (self.directory / "species").write_text(lineage)

    def version(self, program: str, said: str) -> None:
        """Put another version of a program in place."""
        commands, body = BODIES[program]
        begin = BEGIN.format(python=sys.executable, version=said, commands=commands)
        script(self.directory / program, begin + body)

    def starts(self, program: str) -> list[list[str]]:
        """Return the arguments of each start since its plan was made."""
        lines = (self.directory / f"{program}.started").read_text().splitlines()
        return [json.loads(line)[1] for line in lines]

    def all_starts(self) -> list[list[str]]:
        """Return the arguments of each start of each program since its plan was made."""
        return [one for program in VERSIONS for one in self.starts(program)]

    def remove(self, program: str) -> None:
        """Take a program away."""
        (self.directory / program).unlink()


def fake_assembly_programs(directory: Path) -> AssemblyPrograms:
    """Write the stand-ins into a directory, made if missing; each does what is good."""
    directory.mkdir(parents=True, exist_ok=True)
    programs = AssemblyPrograms(directory)
    for name, version in VERSIONS.items():
        programs.version(name, version)
        programs.plan(name, "good")
    programs.reads_over()
    return programs
