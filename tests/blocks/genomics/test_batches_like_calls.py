"""What the site reads of a pair does not tell whether a batch called it or a run of its own."""

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from blocks.genomics.pairs import Outcome
from blocks.genomics.records import Assembly, Claim, Fate, LookupStatus, Scheme
from tests.fakes.batches import again, generic, outcome
from tests.fakes.entero import Entero

runs = count()
RESULTS: dict[str, Any] = {"O": "4", "H": ["i", None], "ß": {"deep": 1.5}}
OWN = ("id", "assembly_id", "scheme_id")
OF_A_NIGHT = ("job_id", "flow_run_id", "batch_id", "night_id", "attempts", "changed")

# What the site, or we, wrote of a pair before.
DATA = {"job_id": 4711, "job_count": 5, "fail_count": 2, "complete_count": 1, "egg": "EGG"}
BEFORE: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "a failure": [{"status": "FAILED", "other_data": json.dumps(DATA)}],
    "a row without data": [{"status": None, "other_data": None, "annotation": "##gff"}],
    "encoded twice": [{"status": "QUEUED", "other_data": json.dumps(json.dumps(DATA))}],
    "a result of another version": [
        {"status": "COMPLETE", "version": "7", "st_barcode": "SAL_1_ST"}
        | {"other_data": json.dumps(DATA | {"results": {"O": "1"}})}
    ],
    "snp calls": [{"status": "COMPLETE", "st_barcode": f"SAL_{n}_AS"} for n in range(2)],
    "two types": [
        {"status": "COMPLETE", "version": "7", "st_barcode": f"SAL_{n}_ST", "other_data": "{}"}
        for n in range(2)
    ],
    "counters that are none": [{"status": "FAILED", "other_data": '{"job_count": "many"}'}],
}
# What happens, one night after another.
HISTORIES = [
    ["complete"],
    ["permanent"],
    ["bug"],
    ["lost", "complete"],
    ["transient", "transient", "complete"],
    ["transient", "permanent", "by force", "permanent by force"],
    ["complete", "by force", "lost by force"],
    ["begun twice"],
]
FATES = {"permanent": Fate.PERMANENT, "bug": Fate.BUG, "transient": Fate.TRANSIENT}


def a_run() -> str:
    return f"run like another {next(runs)}"


def by_itself(entero: Entero, claim: Claim, what: str) -> None:
    """Let one run call a pair."""
    store, claim = entero.store.calls, claim.model_copy(update={"flow_run_id": a_run()})
    held = store.claim(claim, force=what.endswith("by force"))
    if what == "begun twice":
        store.claim(claim)
    assert held.flow_run_id == claim.flow_run_id
    if what.startswith("lost"):
        store.fail_open(claim.flow_run_id, Fate.TRANSIENT, "silent")
    elif what.split(maxsplit=1)[0] in FATES:
        store.fail(claim, FATES[what.split(maxsplit=1)[0]], "no locus")
    else:
        store.store_results(claim, RESULTS)


def by_batch(entero: Entero, scheme: Scheme, assemblies: Sequence[Assembly], what: str) -> None:
    """Let a batch call a pair, among others."""
    batch, run = again(entero, scheme, assemblies), a_run()
    assert batch.claim(force=what.endswith("by force")) == len(assemblies)
    jobs = batch.begin(run)
    if what == "begun twice":
        batch.begin(run)
    if what.startswith("lost"):
        batch.store.fail_left(batch.id, "silent")
        return
    batch.store.finish(run, [end_of(key, job, what) for key, job in jobs.items()])


def end_of(key: tuple[int, int], job: int, what: str) -> Outcome:
    fate = FATES.get(what.split(maxsplit=1)[0])
    if fate:
        return outcome(key, job, LookupStatus.FAILED, fate=fate, reason="no locus", attempts=2)
    return outcome(key, job, LookupStatus.COMPLETE, results=RESULTS, attempts=2)


def as_read(entero: Entero, assembly: Assembly, scheme: Scheme) -> list[dict[str, Any]]:
    """Return every column that the site reads of a pair, but for keys and the job's number."""
    sql = "SELECT * FROM assembly_lookup WHERE assembly_id = :a AND scheme_id = :s ORDER BY id"
    found = list[dict[str, Any]]()
    for row in entero.species.rows(sql, a=assembly.id, s=scheme.id):
        columns = {name: value for name, value in row._mapping.items() if name not in OWN}
        data = json.loads(columns["other_data"] or "{}")
        assert isinstance(data, dict)  # encoded once, whatever it was
        columns["other_data"] = data | {"job_id": bool(data.get("job_id"))}
        found.append(columns)
    return found


def as_decided(entero: Entero, assembly: Assembly, scheme: Scheme) -> dict[str, Any]:
    """Return what decides about a pair, but for who called it and when."""
    sql = "SELECT * FROM scheme_calls WHERE assembly_id = :a AND scheme_id = :s"
    [row] = entero.species.rows(sql, a=assembly.id, s=scheme.id)
    return {name: row._mapping[name] for name in row._mapping if name not in OWN + OF_A_NIGHT}


@pytest.mark.parametrize("history", HISTORIES, ids=", ".join)
def test_a_batch_leaves_the_rows_that_calls_of_their_own_leave(
    entero: Entero, history: list[str]
) -> None:
    scheme = generic(entero)
    alone, together = ({name: entero.an_assembly() for name in BEFORE} for _ in range(2))
    claim = entero.a_claim(scheme, alone["nothing"])
    for pairs in (alone, together):
        for name, assembly in pairs.items():
            for row in BEFORE[name]:
                entero.add_lookup(claim.model_copy(update={"assembly": assembly}), **row)
    for what in history:
        for assembly in alone.values():
            by_itself(entero, claim.model_copy(update={"assembly": assembly}), what)
        by_batch(entero, scheme, list(together.values()), what)

    for name in BEFORE:
        pair = together[name], alone[name]
        read, expected = (as_read(entero, one, scheme) for one in pair)
        assert read == expected, name
        decided, expected = (as_decided(entero, one, scheme) for one in pair)
        assert decided == expected, name
