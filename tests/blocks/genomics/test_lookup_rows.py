"""The rows of `assembly_lookup`: what the site reads, old rows and ours, on both databases."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import InconsistentInput
from blocks.genomics.gff import gff_text, positions_of
from blocks.genomics.legacy_json import plain_text
from blocks.genomics.records import CallStatus, Claim, Fate
from tests.fakes.entero import Entero, a_place, calls_of, exact, novel, without

REPOSITORY = Path(__file__).parents[3]
REFERENCES = ("SAL_AA0001AA_AS", "SAL_AA0002AA_AS", "SAL_AA0003AA_AS")
POINTER = "/share_space/outputs/12/snps.gff.gz"
OLD_KEYS = {"old_key": [1, {"ß": None}], "file_location": "/mask.gff", "sample": "3½"}


def data_of(entero: Entero, claim: Claim) -> dict[str, Any]:
    """Return what a program reads that decodes a column once."""
    found = json.loads(entero.lookup(claim).other_data)
    assert isinstance(found, dict)
    return found


def typed(entero: Entero, claim: Claim, *numbers: int) -> None:
    entero.store.calls.store_typing(claim, calls_of(*(numbers or (1, 1, 1))))


def again(entero: Entero, claim: Claim) -> Claim:
    """Return a claim of the same pair in a newer version of the scheme, given."""
    newer = claim.scheme.model_copy(update={"version": claim.scheme.version + 1})
    return entero.given(entero.a_claim(newer, claim.assembly))


# What is written


def test_a_typing_is_one_row_with_type_positions_and_results(entero: Entero) -> None:
    claim = entero.given()
    calls = [exact("aroC", 2, places=(a_place(),)), exact("dnaN", 1), exact("hemD", 2)]
    typing = entero.store.calls.store_typing(claim, calls)
    row = entero.lookup(claim)
    sql = "SELECT barcode FROM sequence_types WHERE scheme_id = :id AND number = 2"

    assert (row.status, row.version) == ("COMPLETE", "1")
    assert row.st_barcode == entero.species.value(sql, id=claim.scheme.id)
    assert row.annotation == gff_text(positions_of(typing.calls))
    assert data_of(entero, claim)["results"] == {
        "ST": 2,
        "loci": {"exact": 3},
        "alleles": {"aroC": 2, "dnaN": 1, "hemD": 2},
    }


def test_codes_in_the_results_are_those_of_enterobase(entero: Entero) -> None:
    claim = entero.given()
    calls = [
        without("aroC"),
        novel("dnaN", min_quality=None),
        without("hemD", CallStatus.DUPLICATED),
    ]
    entero.store.calls.store_typing(claim, calls)

    assert data_of(entero, claim)["results"] == {
        "ST": None,
        "loci": {"missing": 1, "novel": 1, "duplicated": 1},
        "alleles": {"aroC": 0, "dnaN": None, "hemD": -1},
    }


def test_the_results_of_a_large_scheme_are_counts(entero: Entero) -> None:
    loci = {f"locus_{number}": ((1, b"ATG"),) for number in range(101)}
    claim = entero.given(entero.a_claim(entero.a_scheme(loci, ())))
    entero.store.calls.store_typing(claim, [exact(locus) for locus in loci])

    assert data_of(entero, claim)["results"] == {"ST": 1, "loci": {"exact": 101}}


def test_what_a_generic_scheme_found_is_in_its_results(entero: Entero) -> None:
    claim = entero.given(entero.a_claim(entero.a_scheme({}, ())))
    found = {"O": "4", "H": ["i", "1,2"], "text": "½ \0 \ud83d 'q'", "share": 0.5, "none": None}
    entero.store.calls.store_results(claim, found)
    row = entero.lookup(claim)

    assert (row.status, row.version, row.st_barcode, row.annotation) == ("COMPLETE", "1", "", None)
    assert data_of(entero, claim)["results"] == found
    assert entero.store.calls.calls(claim.assembly.id)[0].results == found


def test_a_newer_result_replaces_the_older_one(entero: Entero) -> None:
    claim = entero.given()
    typed(entero, claim)
    newer = again(entero, claim)
    while_it_runs = entero.lookup(claim)
    typed(entero, newer, 2, 1, 2)
    row = entero.lookup(claim)

    assert (while_it_runs.status, while_it_runs.version) == ("QUEUED", "1")
    assert while_it_runs.st_barcode != row.st_barcode != ""
    assert (row.status, row.version) == ("COMPLETE", "2")
    assert data_of(entero, claim)["results"]["ST"] == 2


@pytest.mark.parametrize("kind", ["typing", "results"])
def test_a_result_that_is_delivered_three_times_is_one_result_and_the_same_row(
    entero: Entero, kind: str
) -> None:
    claim = entero.given()
    new = [novel("aroC", places=(a_place(),)), *calls_of(1, 1, 1)[1:]]
    deliver: Callable[[], object] = (
        (lambda: entero.store.calls.store_typing(claim, new))
        if kind == "typing"
        else (lambda: entero.store.calls.store_results(claim, {"O": "4"}))
    )
    seen = [(deliver(), every_row(entero, claim)) for _ in range(3)]

    assert seen[0] == seen[1] == seen[2]


def every_row(entero: Entero, claim: Claim) -> list[object]:
    pair = {"a": claim.assembly.id, "s": claim.scheme.id}
    of_pair = "WHERE assembly_id = :a AND scheme_id = :s"
    tables = ("assembly_lookup", "scheme_calls", "locus_positions")
    rows = [entero.species.rows(f"SELECT * FROM {table} {of_pair}", **pair) for table in tables]
    return [*rows, entero.species.count("sequence_types", scheme_id=claim.scheme.id)]


# Old rows


def test_rows_of_snp_calls_stay_as_they_are(entero: Entero) -> None:
    claim = entero.a_claim()
    for reference in REFERENCES:
        data = json.dumps({"file_pointer": json.dumps(POINTER), "fail_count": 3})
        entero.add_lookup(claim, st_barcode=reference, status="COMPLETE", other_data=data)
    before = entero.lookups(claim)
    entero.given(claim)
    typed(entero, claim)
    failed = again(entero, claim)
    entero.store.calls.fail(failed, Fate.PERMANENT, "x")
    *old, ours = entero.lookups(claim)

    assert old == before
    assert (ours.status, ours.version) == ("FAILED", "1")
    found = entero.store.calls.lookups(claim.assembly.id, claim.scheme.id)
    assert [one.st_barcode for one in found] == [*REFERENCES, ours.st_barcode]


def test_the_only_row_of_a_snp_call_stays_as_it_is_too(entero: Entero) -> None:
    claim = entero.a_claim()
    entero.add_lookup(claim, st_barcode=REFERENCES[0], status="QUEUED")
    before = entero.lookups(claim)
    entero.given(claim)

    assert entero.lookups(claim)[:1] == before
    assert len(entero.lookups(claim)) == 2


@pytest.mark.parametrize("times", [1, 2, 3])
def test_keys_of_an_old_row_stay_and_are_encoded_once(entero: Entero, times: int) -> None:
    claim = entero.a_claim()
    old: Any = OLD_KEYS | {"file_pointer": json.dumps(json.dumps(POINTER)), "results": {"a": 1}}
    text = old
    for _ in range(times):
        text = json.dumps(text)
    entero.add_lookup(claim, st_barcode="", status="FAILED", other_data=text)
    [read] = entero.store.calls.lookups(claim.assembly.id, claim.scheme.id)
    typed(entero, entero.given(claim))

    assert read.other_data == old
    assert plain_text(read.other_data["file_pointer"]) == POINTER
    stored = data_of(entero, claim)
    assert {key: stored[key] for key in OLD_KEYS} == OLD_KEYS
    assert stored["file_pointer"] == old["file_pointer"]
    assert stored["results"]["ST"] == 1


@pytest.mark.parametrize("other_data", [None, "", "null", "{}"])
def test_an_old_row_without_barcode_and_data_is_the_row_of_its_pair(
    entero: Entero, other_data: str | None
) -> None:
    claim = entero.a_claim()
    entero.add_lookup(claim, st_barcode=None, status="QUEUED", other_data=other_data)
    typed(entero, entero.given(claim))

    assert entero.lookup(claim).status == "COMPLETE"
    assert entero.lookup(claim).st_barcode.endswith("_ST")


@pytest.mark.parametrize("status", [None, "", "KILLED", "x" * 300])
def test_an_old_row_is_read_whatever_it_says(entero: Entero, status: str | None) -> None:
    claim = entero.a_claim()
    entero.add_lookup(claim, st_barcode="EGG", status=status, annotation="##gff", version="7 b")
    [read] = entero.store.calls.lookups(claim.assembly.id, claim.scheme.id)

    assert (read.status, read.st_barcode, read.version) == (status, "EGG", "7 b")
    assert (read.annotation, read.other_data) == ("##gff", {})


def test_an_old_row_that_cannot_be_read_is_not_written_over(entero: Entero) -> None:
    claim = entero.a_claim()
    entero.add_lookup(claim, st_barcode="", other_data="{'results': ")
    before = entero.lookups(claim)
    place = f"other_data of assembly {claim.assembly.id} and scheme {claim.scheme.id} holds no JSON"
    with pytest.raises(InconsistentInput, match=place):
        entero.store.calls.claim(claim)

    assert entero.lookups(claim) == before
    assert entero.store.calls.calls(claim.assembly.id) == []


@pytest.mark.parametrize("results", ["EGG", None, [1], 7])
def test_old_results_of_another_shape_are_no_results(entero: Entero, results: object) -> None:
    claim = entero.a_claim()
    entero.add_lookup(claim, st_barcode="", other_data=json.dumps({"results": results}))

    assert entero.store.calls.claim(claim).results == {}


def test_two_old_rows_that_come_to_say_the_same_become_one(entero: Entero) -> None:
    claim = entero.a_claim()
    barcodes = {
        number: entero.species.value(
            "SELECT barcode FROM sequence_types WHERE scheme_id = :id AND number = :number",
            id=claim.scheme.id, number=number,
        )
        for number in (1, 2)
    }  # fmt: skip
    entero.add_lookup(claim, st_barcode=barcodes[1], other_data='{"older": 1, "both": "old"}')
    entero.add_lookup(claim, st_barcode=barcodes[2], other_data='{"newer": 2, "both": "new"}')
    typed(entero, entero.given(claim), 1, 1, 1)
    row, data = entero.lookup(claim), data_of(entero, claim)

    assert (row.status, row.st_barcode) == ("COMPLETE", barcodes[1])
    assert (data["older"], data["newer"], data["both"]) == (1, 2, "new")


def test_an_older_row_of_another_type_stays(entero: Entero) -> None:
    claim = entero.a_claim()
    entero.add_lookup(claim, st_barcode="SAL_ZZ0001AA_ST", status="COMPLETE", other_data="{}")
    entero.add_lookup(claim, st_barcode=None, status="FAILED", other_data="{}")
    before = entero.lookups(claim)
    typed(entero, entero.given(claim))
    old, ours = entero.lookups(claim)

    assert old == before[0]
    assert (ours.id, ours.status) == (before[1].id, "COMPLETE")


def test_columns_that_we_do_not_know_do_no_harm(entero: Entero) -> None:
    entero.species.change("ALTER TABLE assembly_lookup ADD nobody_knows VARCHAR(9) DEFAULT 'kept'")
    claim = entero.given()
    typed(entero, claim)

    assert entero.lookup(claim).nobody_knows == "kept"


def test_a_row_that_somebody_removed_is_made_again(entero: Entero) -> None:
    claim = entero.given()
    entero.species.change(
        "DELETE FROM assembly_lookup WHERE assembly_id = :id", id=claim.assembly.id
    )
    closed = entero.store.calls.fail_open(claim.flow_run_id, Fate.TRANSIENT, "the worker is gone")

    assert (closed, entero.lookup(claim).status) == (1, "FAILED")


# Counters


COUNTERS = ("fail_count", "job_count", "complete_count", "queued_count")
TEXTS = ("*.py", "*.sql", "*.json", "*.yaml", "*.mako", "*.md", "*.sh")


def mentions() -> dict[str, set[int]]:
    """Return the files of the four layers that name a counter, with the lines."""
    found = dict[str, set[int]]()
    for layer in ("blocks", "tasks", "flows", "deployments"):
        for path in (path for kind in TEXTS for path in (REPOSITORY / layer).rglob(kind)):
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
                if any(counter in line for counter in COUNTERS):
                    found.setdefault(str(path.relative_to(REPOSITORY)), set()).add(number)
    return found


def test_the_counters_are_named_where_they_are_written_and_nowhere_else() -> None:
    [(name, lines)] = mentions().items()
    module = ast.parse((REPOSITORY / name).read_text())
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    named = {node.name for node in functions for line in lines if is_within(node, line)}
    using = {node.name for node in functions for use in uses(node, "COUNTERS", "QUEUED_NOW")}

    assert (name, named) == ("blocks/genomics/lookup_rows.py", set())
    assert len(lines) == 2  # two constants
    assert using == {"old_standing", "_counters"}  # what continues them, and what writes them


def is_within(function: ast.FunctionDef, line: int) -> bool:
    return function.lineno <= line <= (function.end_lineno or 0)


def uses(function: ast.FunctionDef, *names: str) -> list[ast.Name]:
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    return [node for node in nodes if node.id in names]
