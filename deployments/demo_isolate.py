"""The isolate of `limsflow demo`: a synthetic genome and schemes of ours."""

import json
import shutil
from pathlib import Path

import numpy as np

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
    folder.mkdir(exist_ok=True)
    (folder / "limits.json").write_text(json.dumps(LIMITS))
    migrate(home.entero_url)
    store, mlst, cgmlst = entero_store(home), housekeeping_scheme(), reading_frame_scheme()
    for scheme, label in ((mlst, "7 fragments"), (cgmlst, "50 genes")):
        _load(store, folder, scheme, label)
    if shutil.which("pilercr"):
        param = SchemeParam(pipeline="CRISPer")
        store.schemes.save_scheme("CRISPer", name="CRISPR arrays", param=param)
    assembly = store.isolates.add_genome(_genome(folder, mlst, cgmlst), strain=STRAIN)
    truth = f"ST {ST} of {mlst.name}; {cgmlst.name}: ST {CGST} but for a new allele of {NEW_LOCUS}"
    return DemoIsolate(barcode=assembly.barcode, truth=truth)


def _folder(home: Home) -> Path:
    return home.folder / "isolates"


def _load(store: EnteroStore, folder: Path, scheme: SyntheticScheme, label: str) -> None:
    found = read_scheme_folder(write_scheme_folder(scheme, folder / "schemes" / scheme.name))
    param = scheme_param(found, automatic=True, max_missing=None, first_own_number=1)
    if scheme.name not in {known.description for known in store.schemes.schemes()}:
        load_scheme(store.schemes, found, name=label, param=param)


def _genome(folder: Path, mlst: SyntheticScheme, cgmlst: SyntheticScheme) -> Path:
    """Return the file of the genome; its reads are written for who wants to assemble them."""
    path = folder / "demo.scaffold.fastq.gz"
    if path.is_file():
        return path
    carried = dict(mlst.carried(ST)) | dict(cgmlst.carried(CGST))
    rng = np.random.default_rng(SEED)
    carried[NEW_LOCUS] = substituted(carried[NEW_LOCUS], 2, rng)
    genome = synthetic_genome(carried)
    uploads = folder / "uploads"
    uploads.mkdir(exist_ok=True)
    write_reads(genome, *(uploads / name for name in READS))
    return write_genome(genome, path)
