"""`limsflow type` and `isolate add/show`: what a person types, reads, and gets back."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blocks.genomics.records import SchemeParam
from blocks.genomics.store import EnteroStore
from blocks.genomics.synthetic_isolate import (
    reading_frame_scheme,
    substituted,
    synthetic_genome,
    write_genome,
    write_scheme_folder,
)
from tests.fakes.isolate_cli import LONG, MLST, Cli, a_genome, is_one_line

REPOSITORY = Path(__file__).parents[2]


def by_folder(limsflow: Cli, entero: Cli, folder: str) -> Cli:
    return lambda *arguments: limsflow("type", *arguments, "--scheme", folder)


def by_database(limsflow: Cli, entero: Cli, folder: str) -> Cli:
    entero("scheme", "load", folder)
    return lambda *arguments: entero("type", *arguments, "--scheme", "mlst")


@pytest.fixture(params=[by_folder, by_database])
def typing(request: pytest.FixtureRequest, limsflow: Cli, entero: Cli, folder: str) -> Cli:
    """`limsflow type` with the scheme in a folder, and with it in a database."""
    return request.param(limsflow, entero, folder)


def test_a_genome_is_typed_and_its_loci_are_a_table(typing: Cli) -> None:
    name = a_genome(3)
    said = typing(name)

    first, *rows = said.out.splitlines()
    assert (said.status, said.err, first) == (0, "", f"{name}  mlst  ST 3  (7 exact)")
    table = [row.split() for row in rows]
    assert [(row[0], int(row[1]), row[2]) for row in table] == [
        (locus, allele, "exact") for locus, allele in zip(MLST.loci, MLST.profiles[2], strict=True)
    ]
    assert all(row[3].startswith("contig_") for row in table)


def test_a_typing_as_json_has_every_call(typing: Cli) -> None:
    facts = json.loads(typing(a_genome(2), "--json").out)

    assert facts["st"]["number"] == 2
    assert tuple(call["allele"] for call in facts["calls"]) == MLST.profiles[1]
    assert facts["calls"][0]["places"][0]["strand"] in "+-"


def test_new_and_missing_loci_are_named_and_nothing_is_minted(
    typing: Cli, store: EnteroStore
) -> None:
    new = substituted(MLST.carried(1)["demB"], 3, np.random.default_rng(1))
    said = typing(a_genome(1, demB=new, demC=b""))

    rows = {line.split()[0]: line.split()[1:3] for line in said.out.splitlines()[1:]}
    assert said.out.splitlines()[0].endswith("mlst  ST -  (5 exact, 1 novel, 1 missing)")
    assert (rows["demB"], rows["demC"]) == (["new", "novel"], ["0", "missing"])
    assert [store.schemes.allele_stamp(one.id)[0] for one in store.schemes.schemes()] in ([], [42])


@pytest.mark.parametrize("way", [by_folder, by_database])
def test_only_a_genome_truly_without_a_locus_has_the_type_with_a_null_allele(
    limsflow: Cli, entero: Cli, folder: str, way: Callable[[Cli, Cli, str], Cli]
) -> None:
    table = Path(folder, "mlst.txt")
    null = next(line for line in table.read_text().splitlines() if line.startswith("3\t"))
    _, _, *others = null.split("\t")
    table.write_text(table.read_text() + "\t".join(["99", "0", *others]) + "\n")
    whole = MLST.carried(3)["demA"]
    typing = way(limsflow, entero, folder)
    without, split = typing(a_genome(3, demA=b"")), typing(a_genome(3, demA=whole[:300]))

    assert "  ST 99  (6 exact, 1 missing)" in without.out
    assert "  ST -  (6 exact, 1 fragmented)" in split.out


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.fasta", "the assembly nowhere.fasta is not on this disk"),
        (".", "cannot be read: Is a directory"),
        (LONG, "cannot be read: File name too long"),
        ("protein.faa", "has the letter 'L' in a sequence: not DNA"),
        ("half.fa.gz", "half.fa.gz is a damaged gzip file"),
        ("empty.fa", "empty.fa is empty"),
    ],
)
def test_a_file_that_is_no_genome_is_one_line(typing: Cli, name: str, reason: str) -> None:
    Path("protein.faa").write_text(">p\nMKVLAAGIVGLCAKAYD\n")
    Path("half.fa.gz").write_bytes(gzip.compress(b">a\nACGT\n")[:-8])
    Path("empty.fa").touch()
    said = typing(name)

    assert is_one_line(said)
    assert reason in said.err


def test_a_large_scheme_shows_only_what_is_no_known_allele(limsflow: Cli, tmp_path: Path) -> None:
    many = reading_frame_scheme(n_loci=61, n_alleles=2, n_types=1, name="cgmlst")
    where = write_scheme_folder(many, tmp_path / "cgmlst")
    genome = synthetic_genome(many.carried(1) | {many.loci[9]: b""}, length=150_000)
    write_genome(genome, Path("large.fasta"))
    first, *rows = limsflow("type", "large.fasta", "--scheme", str(where)).out.splitlines()

    assert first.endswith("ST -  (60 exact, 1 missing)")
    assert [row.split() for row in rows] == [[many.loci[9], "0", "missing"]]


def test_names_in_a_genome_do_nothing_to_the_terminal(typing: Cli) -> None:
    Path("red.fa").write_text(f">c\x1b[31m\n{MLST.carried(1)['demA'].decode()}\n")

    assert "\x1b" not in typing("red.fa").out


@pytest.mark.parametrize("scheme", ["nowhere", LONG, "isolate.fa"])
def test_a_scheme_that_is_no_folder_is_one_line(limsflow: Cli, scheme: str) -> None:
    Path("isolate.fa").write_text(">a\nACGT\n")
    said = limsflow("type", "isolate.fa", "--scheme", scheme)

    assert is_one_line(said)
    assert "is no folder: name a scheme's folder, or a database with --entero" in said.err


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        ("nowhere", "there is no scheme 'nowhere'; known: SeroPred, empty"),
        ("SeroPred", "SeroPred is a program's scheme"),
        ("empty", "scheme empty has no alleles"),
    ],
)
def test_a_scheme_of_the_database_that_has_no_alleles_is_one_line(
    entero: Cli, store: EnteroStore, scheme: str, reason: str
) -> None:
    store.schemes.save_scheme("SeroPred", name="", param=SchemeParam(pipeline="SeroPred"))
    store.schemes.save_scheme("empty", name="", param=SchemeParam(scheme="empty"))
    said = entero("type", a_genome(), "--scheme", scheme)

    assert is_one_line(said)
    assert reason in said.err


def test_a_failure_is_json_on_standard_output_and_a_line_beside_it(entero: Cli) -> None:
    said = entero("type", a_genome(), "--scheme", "nowhere", "--json")

    assert json.loads(said.out)["kind"] == "NoSuchRecord"
    assert said.err == f"limsflow: {json.loads(said.out)['error']}\n"


def test_a_genome_is_typed_without_loading_prefect(tmp_path: Path, folder: str) -> None:
    # `import prefect` costs 2-6 s.
    (tmp_path / "a.fa").write_text(f">a\n{MLST.alleles['demA'][0].decode()}\n")
    arguments = ("type", "a.fa", "--scheme", folder)
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deployments.cli", *arguments],
        cwd=tmp_path,
        env={"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines()}
    assert said.stdout.startswith("a.fa  mlst  ST -  (1 exact, 6 missing)")
    assert "tasks.genomics.alleles" in loaded
    assert "prefect" not in loaded


# Isolates


def test_a_genome_is_added_once_and_shown(entero: Cli, tmp_path: Path) -> None:
    name = a_genome()
    first, again = (entero("isolate", "add", name, "--strain", "K-12") for _ in range(2))

    assert first == again == (0, "SAL_AA0001AA_AS\n", "")
    assert entero("isolate", "show", "SAL_AA0001AA_AS").out.splitlines() == [
        "SAL_AA0001AA_AS  strain K-12  legacy",
        f"  file {tmp_path / name}",
    ]


def test_an_isolate_as_json_has_its_schemes(entero: Cli) -> None:
    added = json.loads(entero("isolate", "add", a_genome(), "--strain", "K-12", "--json").out)
    facts: dict[str, Any] = json.loads(entero("isolate", "show", added["barcode"], "--json").out)

    assert (facts["strain"], facts["status"], facts["schemes"]) == ("K-12", "legacy", [])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("show", "SAL_XX0000XX_AS"), "there is no assembly 'SAL_XX0000XX_AS'"),
        (("show", "'; DROP TABLE assemblies"), "there is no assembly"),
        (("add", "nowhere.fa", "--strain", "x"), "is not on this disk"),
        (("add", "notes.txt", "--strain", "x"), "is neither FASTA nor FASTQ"),
        (("add", "a.fa", "--strain", "K-12\x1b[31m"), "a strain's name is one line of at most 200"),
        (("add", "a.fa", "--strain", "K" * 201), "a strain's name is one line of at most 200"),
        (("add", "a.fa", "--strain", " "), "a strain without a name would be everybody's"),
    ],
)
def test_what_cannot_be_shown_or_added_is_one_line_and_no_row(
    entero: Cli, store: EnteroStore, arguments: tuple[str, ...], reason: str
) -> None:
    Path("notes.txt").write_text("about this isolate")
    Path("a.fa").write_text(">a\nACGT\n")
    said = entero("isolate", *arguments)

    assert is_one_line(said)
    assert reason in said.err
    assert is_one_line(entero("isolate", "show", "SAL_AA0001AA_AS"))


def test_a_file_is_of_one_strain(entero: Cli) -> None:
    name = a_genome()
    entero("isolate", "add", name, "--strain", "K-12")
    said = entero("isolate", "add", name, "--strain", "B")

    assert is_one_line(said)
    assert "as strain 'K-12', not 'B'" in said.err
