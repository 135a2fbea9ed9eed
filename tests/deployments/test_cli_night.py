"""`limsflow update-scheme` and its kin: what a person types, reads, and gets back."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine

from blocks.genomics.records import SchemeParam
from blocks.genomics.store import EnteroStore
from tests.fakes.entero import Look
from tests.fakes.isolate_cli import LONG, Cli, Said, a_genome, is_one_line

COMMANDS = (("update-scheme", "rehearsal"), ("update-all-schemes",), ("update-assemblies",))


pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture
def barcodes(entero: Cli, store: EnteroStore) -> list[str]:
    """Two genomes, newest first, and a scheme that calls nothing."""
    param = SchemeParam(pipeline="rehearsal")
    store.schemes.save_scheme("rehearsal", name="rehearsal", param=param)
    added = [entero("isolate", "add", a_genome(n), "--strain", f"s{n}").out for n in (1, 2)]
    return [one.strip() for one in added[::-1]]


def tables() -> dict[str, list[Any]]:
    """Return all that the database holds that a night may change."""
    look = Look(create_engine(f"sqlite:///{Path('e.db').resolve()}", poolclass=NullPool))
    names = ("scheme_calls", "assembly_lookup", "user_jobs", "nights", "assembly_calls")
    return {name: look.rows(f"SELECT * FROM {name}") for name in names}


def is_refused(said: Said) -> bool:
    """Whether a command line was wrong: status 2, and the last line says how."""
    return said.status == 2 and said.out == "" and "error: " in said.err.splitlines()[-1]


# A night


def test_a_scheme_is_called_where_it_is_missing_and_counted(
    entero: Cli, barcodes: list[str]
) -> None:
    said, again = (entero("update-scheme", "rehearsal") for _ in range(2))

    assert (said.status, again.status) == (0, 0)
    assert "rehearsal" in said.out
    assert "2 eligible: 2 claimed, 2 complete" in said.out
    assert said.out.splitlines()[-1].startswith("2 claimed, 0 failed in ")
    assert "0 eligible: 0 claimed, 0 complete; 2 complete" in again.out
    shown = entero("isolate", "show", barcodes[0]).out
    assert "rehearsal" in shown
    assert "COMPLETE" in shown


def test_what_a_night_did_as_json_is_all_of_standard_output(
    entero: Cli, barcodes: list[str]
) -> None:
    said = entero("update-all-schemes", "--limit", "1", "--json")
    facts = json.loads(said.out)

    [part] = facts["parts"]
    assert (part["kind"], part["limit"], facts["dry_run"]) == ("update-all-schemes", 1, False)
    [counts] = part["counts"]
    assert (counts["eligible"], counts["claimed"], counts["complete"]) == (2, 1, 1)


@pytest.mark.parametrize("command", ["update-scheme", "update-all-schemes"])
def test_a_dry_run_lists_what_would_be_claimed_and_writes_nothing(
    entero: Cli, barcodes: list[str], command: str
) -> None:
    name = ["rehearsal"] if command == "update-scheme" else []
    before = tables()
    said = entero(command, *name, "--dry-run")
    one = entero(command, *name, "--dry-run", "--limit", "1", "--json")

    assert said.out.splitlines() == [f"{barcode}  rehearsal" for barcode in barcodes]
    assert said.err == "dry run: 2 would be claimed; nothing was written\n"
    assert [json.loads(line) for line in one.out.splitlines()] == [[barcodes[0], "rehearsal"]]
    assert one.err == "dry run: 1 would be claimed; nothing was written\n"
    assert tables() == before


def test_strains_that_wait_are_listed_with_their_reads(entero: Cli, store: EnteroStore) -> None:
    look = Look(create_engine(f"sqlite:///{Path('e.db').resolve()}", poolclass=NullPool))
    look.change("INSERT INTO strains (id, strain) VALUES (7, 'K\x1b[31m12')")
    look.change(
        "INSERT INTO traces (strain_id, accession, seq_platform, seq_library)"
        " VALUES (7, 'SRR1234567', 'ILLUMINA', 'PAIRED')"
    )
    before = tables()
    said = entero("update-assemblies", "--dry-run")

    assert said.out == "SRR1234567  K\ufffd[31m12\n"
    assert said.err == "dry run: 1 would be claimed; nothing was written\n"
    assert tables() == before


def test_a_night_is_shown_afterwards_by_number_or_the_newest(
    entero: Cli, barcodes: list[str]
) -> None:
    for _ in range(2):
        entero("update-scheme", "rehearsal", "--limit", "1")
    newest, first = entero("night"), entero("night", "1")
    facts = json.loads(entero("night", "--json").out)

    assert newest.out.startswith("night 2  update-scheme  ")
    assert "1 eligible: 1 claimed, 1 complete; 1 complete" in newest.out
    assert first.out.startswith("night 1  update-scheme  ")
    assert "2 eligible: 1 claimed, 1 complete" in first.out
    assert (facts["id"], facts["report"]["limit"]) == (2, 1)
    assert facts["parameters"]["limits"]["limit"] == 1


def test_failures_are_lines_with_their_fate_and_do_nothing_to_the_terminal(
    entero: Cli, store: EnteroStore, barcodes: list[str]
) -> None:
    name = "no\x1b[31mwhere"
    store.schemes.save_scheme(name, name="", param=SchemeParam(pipeline=name))
    said = entero("update-scheme", name)
    shown = entero("night")

    assert "2 claimed, 0 complete, 2 failed (permanent)" in said.out
    lines = shown.out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == barcodes
    assert all("permanent: " in line for line in lines)
    assert "\x1b" not in said.out + shown.out


# What is refused


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["night", "dry run"])
def test_a_url_with_a_password_is_refused_before_prefect_keeps_it(
    limsflow: Cli, command: tuple[str, ...], dry: list[str]
) -> None:
    url = "postgresql+psycopg://entero:hunter2@127.0.0.1:1/senterica"
    said = limsflow(*command, "--entero", url, *dry)

    assert is_one_line(said)
    assert "hunter2" not in said.err


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["night", "dry run"])
@pytest.mark.parametrize("scheme", ["MLST_Achtman", "'; DROP TABLE schemes", "\x1b[31m", "x" * 150])
def test_an_unknown_scheme_is_one_line_with_those_that_are_known(
    entero: Cli, barcodes: list[str], scheme: str, dry: list[str]
) -> None:
    before = tables()
    said = entero("update-scheme", scheme, *dry)

    assert is_one_line(said)
    assert "there is no scheme " in said.err
    assert said.err.endswith("; known: rehearsal\n")
    assert "\x1b" not in said.err
    assert tables() == before


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "0"),
        ("--limit", "-3"),
        ("--limit", "many"),
        ("--since", "yesterday"),
        ("--since", "9" * 400),
        ("--engine", "celery"),
        ("--concurrency", "0"),
        ("--batch-size", "0"),
        ("--batch-size", "1e9"),
    ],
    ids=" ".join,
)
def test_an_option_that_means_nothing_is_refused_by_its_name(
    limsflow: Cli, options: tuple[str, str]
) -> None:
    said = limsflow("update-scheme", "rehearsal", *options)

    assert is_refused(said)
    assert f"argument {options[0]}" in said.err


@pytest.mark.parametrize(
    "options",
    [
        ("--dask-scheduler", "file:///etc/passwd"),
        ("--dask-scheduler", "tcp://a b"),
        ("--batch-size", "10001"),
        ("--concurrency", "1001"),
    ],
    ids=" ".join,
)
def test_an_option_beyond_its_range_is_one_line(
    entero: Cli, barcodes: list[str], options: tuple[str, str]
) -> None:
    said = entero("update-scheme", "rehearsal", *options)

    assert is_one_line(said)
    assert tables()["nights"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("update-scheme", "x" * 201), "scheme"),
        (("update-scheme", ""), "scheme"),
        (("update-scheme", "mlst", "--toolchain", "nowhere"), "no toolchain block named"),
    ],
    ids=["long", "empty", "toolchain"],
)
def test_what_no_flow_takes_is_one_line(
    entero: Cli, barcodes: list[str], arguments: tuple[str, ...], reason: str
) -> None:
    said = entero(*arguments)

    assert is_one_line(said)
    assert reason in said.err.lower()


@pytest.mark.parametrize("command", [*COMMANDS, ("night",)], ids=lambda words: words[0])
@pytest.mark.parametrize("database", ["nowhere.db", LONG, "no-such-block", "/"])
def test_a_database_that_is_not_there_is_one_line(
    limsflow: Cli, command: tuple[str, ...], database: str
) -> None:
    said = limsflow(*command, "--entero", database)

    assert is_one_line(said)
    assert not Path("nowhere.db").exists()


def test_a_night_that_never_was_is_one_line(entero: Cli) -> None:
    none, other = entero("night"), entero("night", "12")

    assert none == (1, "", "limsflow: no night has gone over this database yet\n")
    assert other == (1, "", "limsflow: there is no night 12 in this database\n")
