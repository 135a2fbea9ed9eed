"""`limsflow scheme`: what a person types, reads, and gets back as a status."""

import json
from pathlib import Path

import numpy as np
import pytest

from blocks.genomics.records import Claim, Column, SchemeParam
from blocks.genomics.store import EnteroStore
from blocks.genomics.synthetic_isolate import (
    SyntheticScheme,
    reading_frame_scheme,
    substituted,
    write_scheme_folder,
)
from tests.fakes.entero import exact, novel
from tests.fakes.isolate_cli import LONG, MLST, Cli, is_one_line


def larger() -> SyntheticScheme:
    """Return a newer version of the scheme: two more alleles of each locus, two more types."""
    rng = np.random.default_rng(7)
    alleles = {
        locus: (*known, *(substituted(known[0], 12, rng) for _ in range(2)))
        for locus, known in MLST.alleles.items()
    }
    profiles = (*MLST.profiles, (7,) * 7, (8,) * 7)
    return SyntheticScheme("mlst", alleles, profiles, (1,) * 8)


# The database


def test_init_makes_the_tables_of_an_enterobase_once(limsflow: Cli, tmp_path: Path) -> None:
    first, again = (limsflow("init", "--for", "entero", f"{tmp_path}/a.db") for _ in range(2))

    assert first.out.startswith("created ")
    assert again == (0, "all tables are there\n", "")
    tables = json.loads(limsflow("init", "--for", "entero", f"{tmp_path}/b.db", "--json").out)[
        "created"
    ]
    assert {"user_jobs", "assembly_lookup", "schemes", "alleles", "scheme_calls"} <= {*tables}
    assert "ProcessingJob" not in tables


def test_a_database_for_ispyb_is_sent_to_init_for_entero(limsflow: Cli, tmp_path: Path) -> None:
    limsflow("init", str(tmp_path / "ispyb.db"))
    said = limsflow("scheme", "list", "--entero", "ispyb.db")

    assert is_one_line(said)
    assert "limsflow init" in said.err


@pytest.mark.parametrize(
    ("first", "second"), [((), ("--for", "entero")), (("--for", "entero"), ())]
)
def test_a_database_is_of_one_product(
    limsflow: Cli, tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    path = str(tmp_path / "lab.db")
    limsflow("init", *first, path)
    said = limsflow("init", *second, path)

    assert is_one_line(said)
    assert "this database is an " in said.err
    assert limsflow("init", *first, path).out == "all tables are there\n"


@pytest.mark.parametrize("name", ["nowhere.db", "./nowhere", LONG, "/nowhere/x/y.db"])
@pytest.mark.parametrize("command", [("scheme", "list"), ("isolate", "show", "SAL_AA0001AA_AS")])
def test_a_file_that_is_no_database_is_one_line(
    limsflow: Cli, command: tuple[str, ...], name: str
) -> None:
    assert is_one_line(limsflow(*command, "--entero", name))


@pytest.mark.parametrize("name", ["e?x.db", "p%20q.db"])
def test_a_file_that_a_url_would_take_for_another_is_refused(limsflow: Cli, name: str) -> None:
    Path(name).touch()
    said = limsflow("scheme", "list", "--entero", name)

    assert is_one_line(said)
    assert "which means something else in a URL: rename it" in said.err


def test_a_url_is_a_database_too_and_its_password_is_not_shown(
    limsflow: Cli, entero: Cli, tmp_path: Path
) -> None:
    assert limsflow("scheme", "list", "--entero", f"sqlite:///{tmp_path / 'e.db'}").status == 0
    said = limsflow("scheme", "list", "--entero", "postgresql://me:hunter2@127.0.0.1:1/none?x=1")

    assert is_one_line(said)
    assert "hunter2" not in said.err


# Loading


def test_a_scheme_is_loaded_and_says_what_is_new(entero: Cli, folder: str) -> None:
    said = entero("scheme", "load", folder)

    assert said == (
        0,
        "mlst, version 1: 7 loci, 42 alleles (42 new), 6 types (6 new)\n",
        "",
    )


def test_a_scheme_that_is_loaded_again_is_the_same(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    entero("scheme", "load", folder)
    before = store.schemes.scheme("mlst")
    facts = json.loads(entero("scheme", "load", folder, "--json").out)

    assert (facts["new_alleles"], facts["new_types"], facts["version"]) == (0, 0, 1)
    assert store.schemes.scheme("mlst") == before


def test_a_newer_version_adds_what_is_new_and_raises_the_version(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    entero("scheme", "load", folder)
    write_scheme_folder(larger(), Path(folder))
    facts = json.loads(entero("scheme", "load", folder, "--json").out)

    assert (facts["new_alleles"], facts["new_types"], facts["version"]) == (14, 2, 2)
    assert store.schemes.profile(1, 8) == larger().profiles[7]


def test_what_a_site_has_chosen_outlives_a_newer_version(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    chosen = ("--not-automatic", "--own-numbers-from", "9000", "--max-missing", "0.1")
    entero("scheme", "load", folder, *chosen, "--label", "7 genes")
    param = store.schemes.scheme("mlst").param.model_copy(
        update={"display": "private", "scheme": "Senterica_UoW", "input_type": "assembly"}
    )
    store.schemes.save_scheme("mlst", name="7 genes", param=param)
    write_scheme_folder(larger(), Path(folder))
    entero("scheme", "load", folder)

    scheme = store.schemes.scheme("mlst")
    assert (scheme.version, scheme.name, scheme.param) == (2, "7 genes", param)


def test_what_is_asked_for_changes_a_scheme_that_is_there(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    entero("scheme", "load", folder)
    changed = ("--not-automatic", "--own-numbers-from", "50", "--max-missing", "0.2")
    entero("scheme", "load", folder, *changed, "--label", "seven")

    scheme = store.schemes.scheme("mlst")
    assert (scheme.is_automatic, scheme.name) == (False, "seven")
    assert (scheme.param.first_own_number, scheme.param.max_missing) == (50, 0.2)


def test_a_scheme_of_many_loci_may_lack_some_of_them(
    entero: Cli, store: EnteroStore, tmp_path: Path
) -> None:
    many = reading_frame_scheme(n_loci=101, n_alleles=2, n_types=1, name="cgmlst")
    entero("scheme", "load", str(write_scheme_folder(many, tmp_path / "cgmlst")))

    param = store.schemes.scheme("cgmlst").param
    assert (param.max_missing, param.coding) == (0.05, True)


def test_own_numbers_are_far_from_those_of_others_unless_a_site_says_so(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    entero("scheme", "load", folder)
    entero("scheme", "load", folder, "--name", "ours", "--own-numbers-from", "1")
    entero("scheme", "load", folder, "--name", "ours")
    first = {one.description: one.param.first_own_number for one in store.schemes.schemes()}

    assert first == {"mlst": 1_000_000, "ours": 1}


def test_what_was_minted_here_takes_the_numbers_of_a_newer_folder_and_that_is_said(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    entero("scheme", "load", folder)
    typed_with_own_alleles(store)
    write_scheme_folder(larger(), Path(folder))
    table = Path(folder, "mlst.txt")
    table.write_text(table.read_text() + "9\t7\t7\t1\t1\t1\t1\t1\n")
    said = entero("scheme", "load", folder)
    again = json.loads(entero("scheme", "load", folder, "--json").out)

    assert said.out.splitlines() == [
        "mlst, version 2: 7 loci, 56 alleles (12 new), 9 types (2 new)",
        "2 alleles and 1 types of this site's own have the folder's numbers now",
        "renumbered: allele demA 1000000 is 7 now",
        "renumbered: allele demB 1000000 is 7 now",
        "renumbered: sequence type 1000000 is 9 now",
    ]
    assert store.schemes.profile(1, 9) == (7, 7, 1, 1, 1, 1, 1)
    assert (again["renumbered"], again["version"]) == ([], 2)


def typed_with_own_alleles(store: EnteroStore) -> None:
    """Mint two alleles, and a type of them, that the newer version of the scheme has too."""
    scheme = store.schemes.scheme("mlst")
    assembly = store.isolates.add_genome(Path("/share/new.fastq"), strain="new")
    job = store.jobs.start(accession=assembly.barcode, pipeline="x", flow_run_id="run")
    claim = Claim(assembly=assembly, scheme=scheme, job_id=job.id, flow_run_id="run")
    store.calls.claim(claim)
    new = [novel(one, larger().alleles[one][6].decode()) for one in MLST.loci[:2]]
    store.calls.store_typing(claim, [*new, *(exact(one) for one in MLST.loci[2:])])


def test_what_a_site_says_of_whole_genes_outlives_a_newer_version(
    entero: Cli, store: EnteroStore, tmp_path: Path
) -> None:
    genes = reading_frame_scheme(n_loci=2, n_alleles=2, n_types=1, name="genes")
    folder = str(write_scheme_folder(genes, tmp_path / "genes"))
    file = tmp_path / "genes" / f"{genes.loci[0]}.tfa"

    def coding(*options: str) -> bool:
        assert entero("scheme", "load", folder, *options).status == 0
        return store.schemes.scheme("genes").param.coding

    first = coding()
    cut = "".join(f">{genes.loci[0]}_{n}\n{'ACGT' * n}\n" for n in range(20, 30))
    file.write_text(file.read_text() + cut)

    assert (first, coding(), coding("--coding", "no"), coding()) == (True, True, False, False)
    assert (coding("--coding", "yes"), coding()) == (True, True)


def test_another_sequence_under_a_number_is_refused_and_nothing_is_written(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    entero("scheme", "load", folder)
    write_scheme_folder(larger(), Path(folder))
    file = Path(folder, "demG.tfa")
    file.write_text(file.read_text().replace("_6\n", "_60\n").replace("_7\n", "_6\n"))
    said = entero("scheme", "load", folder)

    assert is_one_line(said)
    assert "allele demG_6 is another sequence in the database" in said.err
    assert store.schemes.allele_stamp(1)[0] == 42
    assert store.schemes.scheme("mlst").version == 1


def test_a_programs_scheme_is_not_turned_into_one_of_alleles(
    entero: Cli, store: EnteroStore, folder: str
) -> None:
    param, columns = SchemeParam(pipeline="SeroPred"), [Column(name="serovar", label="Serovar")]
    store.schemes.save_scheme("mlst", name="Serovar", param=param, columns=columns)
    said = entero("scheme", "load", folder)

    assert is_one_line(said)
    assert "give this one another name" in said.err
    assert store.schemes.scheme("mlst").param == param


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no FASTA file of a locus"),
        ({"a;rm -rf.tfa": ">a_1\nACGT\n"}, "has no name to use in a scheme; rename it"),
        ({"demA.tfa": "\0\0\0"}, "demA.tfa"),
        ({"demA.tfa": ">demA_1\nMEEP\n"}, "demA"),
        ({"demA.tfa.gz": "not gzip"}, "demA.tfa.gz"),
        ({"demA.tfa": f">demA_1\n{'ACGT' * 9}\n", "t.txt": "ST\tdemA\n1\tx\x1b[31m\n"}, ""),
    ],
)
def test_a_hostile_folder_is_one_line_and_no_rows(
    entero: Cli, store: EnteroStore, tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for name, text in files.items():
        (hostile / name).write_text(text)
    said = entero("scheme", "load", str(hostile))

    if reason:
        assert is_one_line(said)
        assert reason in said.err
        assert store.schemes.schemes() == []
    assert "\x1b" not in said.out + said.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--name", "../x"), "'../x' is no name for a scheme"),
        (("--name", ""), "'' is no name for a scheme"),
        (("--own-numbers-from", "9" * 30), "are too large"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(
    entero: Cli, folder: str, options: tuple[str, ...], reason: str
) -> None:
    said = entero("scheme", "load", folder, *options)

    assert is_one_line(said)
    assert reason in said.err


def test_what_is_left_out_of_a_folder_is_said(entero: Cli, folder: str) -> None:
    path = Path(folder, "demA.tfa")
    path.write_text(path.read_text() + "".join(f">demA_{n}\nACGN\n" for n in range(50, 70)))
    said = entero("scheme", "load", folder).out.splitlines()
    as_json = json.loads(entero("scheme", "load", folder, "--json").out)

    assert len(as_json["left_out"]) == 20
    assert [line[:9] for line in said[1:]] == ["left out:"] * 13
    assert said[-1] == "left out: 8 more; --json has them all"


# Listing


def test_the_schemes_of_a_database_are_listed(entero: Cli, store: EnteroStore, folder: str) -> None:
    entero("scheme", "load", folder)
    store.schemes.save_scheme("sero\x1b[31m", name="", param=SchemeParam(pipeline="SeroPred"))
    store.schemes.save_scheme("AMR", name="", param=SchemeParam())
    said = entero("scheme", "list")

    assert [" ".join(line.split()) for line in said.out.splitlines()] == [
        "mlst version 1 nomenclature, called on every assembly",
        "sero\ufffd[31m version 1 SeroPred, called on every assembly",
        "AMR version 1 generic, called on request",
    ]
    listed = json.loads(entero("scheme", "list", "--json").out)
    assert [scheme["description"] for scheme in listed] == ["mlst", "sero\x1b[31m", "AMR"]


def test_a_database_without_schemes_says_how_to_load_one(entero: Cli) -> None:
    assert entero("scheme", "list") == (0, "", "no schemes: see 'limsflow scheme load'\n")
    assert entero("scheme", "list", "--json").out == "[]\n"
