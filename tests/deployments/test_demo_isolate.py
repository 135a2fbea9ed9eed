"""The demo's isolate: what is written and loaded is what its truth says."""

import gzip
import shutil
from pathlib import Path

import pytest

from blocks.genomics.genome import read_genome
from blocks.genomics.profiles import profile_of
from blocks.genomics.records import CallStatus
from deployments.demo_isolate import (
    CGST,
    NEW_LOCUS,
    READS,
    ST,
    DemoIsolate,
    entero_store,
    make_isolate,
    write_example,
)
from deployments.embedded import Home, make_home
from tasks.genomics.alleles import type_genome
from tasks.genomics.indexes import IndexCache
from tests.fakes.isolate_cli import Cli, is_one_line

GENOME = "demo.scaffold.fastq.gz"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, DemoIsolate]:
    """A home with the demo's isolate."""
    home = make_home(tmp_path_factory.mktemp("home"))
    return home, make_isolate(home)


def test_the_genome_has_the_types_that_the_demo_says(made: tuple[Home, DemoIsolate]) -> None:
    home, isolate = made
    store = entero_store(home)
    path = store.isolates.assembly(isolate.barcode).file_pointer
    assert path is not None
    calls = {}
    for name in ("demo_mlst", "demo_cgmlst"):
        scheme = store.schemes.scheme(name)
        index = IndexCache().index(store.schemes, scheme, where="")
        calls[name] = scheme, type_genome(read_genome(path), index)

    scheme, found = calls["demo_mlst"]
    assert profile_of(found, 0) == store.schemes.profile(scheme.id, ST)
    scheme, found = calls["demo_cgmlst"]
    [novel] = [call for call in found if call.status is not CallStatus.EXACT]
    assert (novel.locus, novel.status, novel.is_mintable) == (NEW_LOCUS, CallStatus.NOVEL, True)
    known = store.schemes.profile(scheme.id, CGST)
    differ = [locus for locus, call, n in zip(scheme.loci, found, known, strict=True)
              if call.code != n]  # fmt: skip
    assert [locus.name for locus in differ] == [NEW_LOCUS]
    assert (f"ST {ST}" in isolate.truth, NEW_LOCUS in isolate.truth) == (True, True)


def test_a_demo_that_is_started_again_has_one_isolate(made: tuple[Home, DemoIsolate]) -> None:
    home, isolate = made
    before = entero_store(home).schemes.schemes()

    assert make_isolate(home) == isolate
    assert entero_store(home).schemes.schemes() == before


def test_an_example_that_was_cut_short_is_written_again(
    made: tuple[Home, DemoIsolate], tmp_path: Path
) -> None:
    whole = made[0].folder / "isolates"
    shutil.copytree(whole / "uploads", tmp_path / "uploads")
    (tmp_path / f"part.{GENOME}").write_bytes((whole / GENOME).read_bytes()[:1000])
    written = write_example(tmp_path)

    assert written.genome.read_bytes() == (whole / GENOME).read_bytes()
    assert [path.name for path in written.reads] == list(READS)
    assert all(gzip.decompress(path.read_bytes()).startswith(b"@") for path in written.reads)
    assert not list(tmp_path.glob("part.*"))


def test_a_folder_that_cannot_be_written_is_one_line(limsflow: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert is_one_line(limsflow("isolate", "example", "file/folder"))
