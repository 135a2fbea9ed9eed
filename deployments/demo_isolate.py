"""The isolate of `limsflow demo` and `isolate example`: synthetic, with schemes of ours."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from blocks.errors import InvalidRequest
from blocks.genomics.records import SchemeParam
from blocks.genomics.schema import migrate
from blocks.genomics.scheme_folder import read_scheme_folder
from blocks.genomics.store import EnteroStore, open_store
from blocks.genomics.synthetic_isolate import (
    SyntheticScheme,
    housekeeping_scheme,
    reading_frame_scheme,
    substituted,
    synthetic_genome,
    write_genome,
    write_reads,
    write_scheme_folder,
)
from blocks.record import Record
from deployments.embedded import Home
from tasks.genomics.scheme_loading import load_scheme, scheme_param

GENUS, DATABASE, PREFIX = "Synthetica", "synthetica", "SYN"
STRAIN = "demo isolate"
ST, CGST = 3, 2  # what the genome is made of
NEW_LOCUS = "LIMS_00007"  # where it has an allele that nobody knows
SEED = 300
READS = ("demo_R1.fastq.gz", "demo_R2.fastq.gz")
LIMITS = {  # of a genome of 250 kb; EnteroBase's begin at 0.9 Mb
    "about": "for the demo's synthetic genome",
    "genera": {
        GENUS: {"min_length": 200_000, "max_length": 300_000, "min_n50": 5_000, "max_contigs": 100}
    },
}


class DemoIsolate(Record):
    """The genome that was registered, and what it was made of."""

    barcode: str
    truth: str


class Example(Record):
    """The files of the example, and what its genome is made of."""

    schemes: tuple[Path, ...]
    genome: Path
    reads: tuple[Path, Path]
    truth: str


def entero_options(home: Home) -> list[str]:
    """Return the options of `limsflow deploy` for the demo's EnteroBase."""
    given = {
        "--entero": home.entero_url,
        "--database": DATABASE,
        "--prefix": PREFIX,
        "--genus": GENUS,
        "--limits-file": str(_folder(home) / "limits.json"),
        "--share": str(_folder(home) / "share_space"),
        "--uploads": str(_folder(home) / "uploads"),
    }
    return [token for pair in given.items() for token in pair]


def entero_store(home: Home) -> EnteroStore:
    """Return the store of the demo's EnteroBase."""
    return open_store(home.entero_url, database=DATABASE, prefix=PREFIX)


def make_isolate(home: Home) -> DemoIsolate:
    """Make database, schemes, genome and reads, unless they are there; return the assembly."""
    folder = _folder(home)
    example = write_example(folder)
    (folder / "limits.json").write_text(json.dumps(LIMITS))
    migrate(home.entero_url)
    store = entero_store(home)
    known = {scheme.description for scheme in store.schemes.schemes()}
    for path in example.schemes:
        if path.name not in known:
            found = read_scheme_folder(path)
            param = scheme_param(found, automatic=True)
            load_scheme(store.schemes, found, name=path.name, param=param)
    if shutil.which("pilercr"):
        param = SchemeParam(pipeline="CRISPer")
        store.schemes.save_scheme("CRISPer", name="CRISPR arrays", param=param)
    assembly = store.isolates.add_genome(example.genome, strain=STRAIN)
    return DemoIsolate(barcode=assembly.barcode, truth=example.truth)


def example(options: argparse.Namespace) -> int:
    """Write the example's files; say where they are and what the genome is made of."""
    written = write_example(options.folder)
    if options.json:
        print(written.model_dump_json())
        return 0
    for path in (*written.schemes, written.genome, *written.reads):
        print(path)
    print(written.truth)
    return 0


def write_example(folder: Path) -> Example:
    """Write schemes, genome and reads into a folder; files that are there stay.

    Raises:
        InvalidRequest: the folder cannot be written.
    """
    mlst, cgmlst = housekeeping_scheme(), reading_frame_scheme()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        schemes = [
            write_scheme_folder(scheme, folder / "schemes" / scheme.name)
            for scheme in (mlst, cgmlst)
        ]
        genome, reads = _genome(folder, mlst, cgmlst)
    except OSError as error:
        msg = f"cannot write the example into {folder}: {error.strerror}"
        raise InvalidRequest(msg) from error
    truth = f"ST {ST} of {mlst.name}; {cgmlst.name}: ST {CGST} but for a new allele of {NEW_LOCUS}"
    return Example(schemes=tuple(schemes), genome=genome, reads=reads, truth=truth)


def _folder(home: Home) -> Path:
    return home.folder / "isolates"


def _genome(
    folder: Path, mlst: SyntheticScheme, cgmlst: SyntheticScheme
) -> tuple[Path, tuple[Path, Path]]:
    """Return the file of the genome, and its reads for who wants to assemble them."""
    path, uploads = folder / "demo.scaffold.fastq.gz", folder / "uploads"
    reads = (uploads / READS[0], uploads / READS[1])
    if path.is_file():
        return path, reads
    carried = dict(mlst.carried(ST)) | dict(cgmlst.carried(CGST))
    rng = np.random.default_rng(SEED)
    carried[NEW_LOCUS] = substituted(carried[NEW_LOCUS], 2, rng)
    genome = synthetic_genome(carried)
    uploads.mkdir(exist_ok=True)
    write_reads(genome, *reads)
    whole = write_genome(genome, path.with_name(f"part.{path.name}"))
    return whole.replace(path), reads  # last: a genome that is there has its reads, and is whole
