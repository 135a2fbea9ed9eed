"""Many pairs at once: who may call them, what the site shows of them, and what becomes of them."""

import json
from itertools import count

import pytest
from sqlalchemy import create_engine

from blocks.genomics.batches import BatchStore
from blocks.genomics.records import Fate, LookupStatus
from tests.fakes.batches import ABatch, a_batch, again, complete, failed, next_night, outcome
from tests.fakes.entero import Entero, at_once, calls_of, only_postgres

COMPLETE, FAILED = LookupStatus.COMPLETE, LookupStatus.FAILED
TABLES = ("scheme_calls", "assembly_lookup", "locus_positions")
DAMAGED = ["{", "[1]", "17", "true"]
runs = count()


def a_run() -> str:
    return f"run of a batch {next(runs)}"


def all_rows(entero: Entero) -> dict[str, list[str]]:
    return {
        table: sorted(str(tuple(row)) for row in entero.species.rows(f"SELECT * FROM {table}"))
        for table in TABLES
    }


# Claiming


def test_a_claim_takes_each_pair_that_nobody_has_and_says_how_many(entero: Entero) -> None:
    batch = a_batch(entero)
    n_taken = batch.claim()
    row = batch.rows()[0]

    assert n_taken == 3 == batch.store.n_queued(batch.id)
    assert batch.standing() == [("QUEUED", None)] * 3
    assert (row["batch_id"], row["night_id"], row["flow_run_id"]) == (
        *(batch.id, batch.night_id, batch.night_run),
    )
    assert (row["assembly_version"], row["scheme_version"], row["tool"]) == (1, 1, batch.tool)
    assert (row["job_id"], row["attempts"], row["sent"]) == (None, None, 0)
    assert batch.shown() == [None] * 3  # nobody works on it yet


def test_what_one_night_has_another_does_not_get(entero: Entero) -> None:
    batch = a_batch(entero)
    batch.claim()
    before = all_rows(entero)
    other = again(entero, batch.scheme, [*batch.assemblies, entero.an_assembly()])

    assert (next_night(batch).claim(), next_night(batch).claim(force=True)) == (0, 0)
    assert all_rows(entero) == before
    assert other.claim() == 1


def test_a_claim_that_is_made_again_after_an_answer_that_never_came_is_the_same(
    entero: Entero,
) -> None:
    batch = a_batch(entero)
    n_taken = batch.claim()
    before = all_rows(entero)

    assert (n_taken, batch.claim()) == (3, 3)
    assert all_rows(entero) == before


def test_a_claim_of_nothing_takes_nothing(entero: Entero) -> None:
    assert a_batch(entero, 0).claim() == 0


@pytest.mark.parametrize("n_nights", [2, 6])
def test_nights_that_claim_the_same_pairs_at_once_take_each_once(
    entero: Entero, n_nights: int
) -> None:
    first = a_batch(entero, 40)
    others = (
        again(entero, first.scheme, first.assemblies[::step]) for step in ([-1, 1] * n_nights)
    )
    batches = [first, *others][:n_nights]
    n_taken = at_once([lambda one=one: one.claim() for one in batches])

    assert sum(n_taken) == 40
    assert [batch.store.n_queued(batch.id) for batch in batches] == n_taken
    assert entero.species.count("scheme_calls", scheme_id=first.scheme.id) == 40


def test_nights_that_claim_again_at_once_what_the_machine_failed_take_each_once(
    entero: Entero,
) -> None:
    for _ in range(3):
        first, run = a_batch(entero, 20), a_run()
        first.begun(run)
        first.store.fail_left(first.id, "no power")
        batches = [next_night(first) for _ in range(5)]
        n_taken = at_once([lambda one=one: one.claim() for one in batches])

        assert sum(n_taken) == 20
        assert [batch.store.n_queued(batch.id) for batch in batches] == n_taken


@only_postgres
def test_nights_on_hosts_of_their_own_take_each_of_200_pairs_once(entero: Entero) -> None:
    first = a_batch(entero, 200)
    batches = [first, next_night(first)]
    engines = [create_engine(entero.species.url, pool_size=1) for _ in batches]

    def night(number: int) -> int:
        store, batch = BatchStore(engines[number]), batches[number]
        some = [batch.assemblies[start : start + 20] for start in range(0, 200, 20)]
        parts = [again(entero, batch.scheme, one) for one in some]
        return sum(part.claim(store=store) for part in parts)

    n_taken = at_once([lambda number=number: night(number) for number in range(2)])
    for engine in engines:
        engine.dispose()

    assert sum(n_taken) == 200
    assert entero.species.count("scheme_calls", scheme_id=first.scheme.id) == 200


@pytest.mark.parametrize("fate", [Fate.PERMANENT, Fate.BUG, Fate.TRANSIENT])
def test_what_was_settled_after_a_night_looked_is_seen_when_it_claims(
    entero: Entero, fate: Fate
) -> None:
    batch = a_batch(entero, 4)
    put_aside, done, queued = (batch.claim_of(number) for number in range(3))
    for claim in (put_aside, done, queued):
        entero.given(claim)
    entero.store.calls.fail(put_aside, fate, "no bases")
    entero.store.calls.store_results(done, {})

    assert batch.claim() == 1 + (fate is Fate.TRANSIENT)
    assert next_night(batch).claim(force=True) == 1 + (fate is not Fate.TRANSIENT)


@pytest.mark.parametrize("newer", ["assembly", "scheme", "tool"])
def test_what_failed_for_good_is_free_when_what_it_came_from_changes(
    entero: Entero, newer: str
) -> None:
    batch, run = a_batch(entero, 1), a_run()
    jobs = batch.begun(run)
    batch.store.finish(run, [failed(key, job) for key, job in jobs.items()])
    update = {"version": 2}
    scheme = batch.scheme.model_copy(update=update if newer == "scheme" else {})
    [assembly] = batch.assemblies
    assembly = assembly.model_copy(update=update if newer == "assembly" else {})
    tool = "limsflow 2" if newer == "tool" else batch.tool
    before = next_night(batch).claim()
    if newer != "tool":
        entero.species.change(f"UPDATE {newer.replace('y', 'ie')}s SET version = 2")

    assert before == 0
    assert again(entero, scheme, [assembly], tool=tool).claim() == 1


@pytest.mark.parametrize("version", ["1", None, "2"])
def test_what_the_old_site_completed_is_taken_only_in_another_version(
    entero: Entero, version: str | None
) -> None:
    batch = a_batch(entero, 2)
    old = {"version": version, "other_data": '{"job_id": 4711, "fail_count": 3}'}
    entero.add_lookup(batch.claim_of(0), status="COMPLETE", **old)
    n_taken = batch.claim()
    row = batch.rows()[0]

    assert n_taken == 1 + (version == "2")
    assert row["status"] == ("QUEUED" if version == "2" else "COMPLETE")
    assert row["failed"] == 3


# Beginning


def test_a_batch_that_begins_is_shown_as_queued_with_a_job_for_each_pair(entero: Entero) -> None:
    batch, run = a_batch(entero), a_run()
    jobs = batch.begun(run)

    assert sorted(jobs) == sorted(batch.keys)
    assert len(set(jobs.values())) == 3
    assert batch.shown() == ["QUEUED"] * 3
    assert [row["flow_run_id"] for row in batch.rows()] == [run] * 3
    assert [(one["job_id"], one["queued_count"], one["job_count"]) for one in batch.data()] == [
        (jobs[key], 1, 1) for key in batch.keys
    ]


def test_what_waits_is_said_with_assembly_strain_job_and_tool_newest_first(entero: Entero) -> None:
    batch = a_batch(entero)
    batch.claim()
    waiting = batch.store.waiting(batch.id)

    assert [one.assembly for one in waiting] == list(reversed(batch.assemblies))
    assert {(one.scheme_id, one.job_id, one.tool) for one in waiting} == {
        (batch.scheme.id, None, batch.tool)
    }


def test_what_has_no_job_is_not_begun(entero: Entero) -> None:
    batch = a_batch(entero)
    batch.claim()

    assert batch.store.begin(batch.id, a_run(), {batch.keys[1]: 7}) == {batch.keys[1]}
    assert batch.shown() == [None, "QUEUED", None]


def test_a_second_run_of_a_batch_takes_over_and_the_first_writes_nothing_more(
    entero: Entero,
) -> None:
    batch, first, second = a_batch(entero), a_run(), a_run()
    jobs = batch.begun(first)
    done = complete(batch.keys[0], jobs[batch.keys[0]], by="first")
    batch.store.finish(first, [done])
    taken = batch.begin(second)
    before = all_rows(entero)
    late = [complete(key, jobs[key], by="first") for key in batch.keys]

    assert sorted(taken) == sorted(batch.keys[1:])
    assert taken == {key: jobs[key] for key in taken}  # the jobs go on
    assert [one.assembly_id for one in batch.store.finish(first, late)] == [done.assembly_id]
    assert batch.store.hand_back(batch.id, first, batch.night_run) == []
    assert all_rows(entero) == before


def test_a_second_run_takes_what_is_left_and_nothing_that_has_failed(
    entero: Entero,
) -> None:
    batch, run = a_batch(entero, 4), a_run()
    jobs = batch.begun(run)
    fates = [Fate.PERMANENT, Fate.BUG, Fate.TRANSIENT]
    ends = [failed(key, jobs[key], fate) for key, fate in zip(batch.keys[:3], fates, strict=True)]
    batch.store.finish(run, ends)

    assert sorted(batch.begin(a_run())) == sorted(batch.keys[3:])
    assert batch.standing()[:3] == [("FAILED", fate.value) for fate in fates]


# Finishing


def test_outcomes_are_stored_with_fate_reason_attempts_results_and_version(entero: Entero) -> None:
    batch, run = a_batch(entero), a_run()
    jobs = [batch.begun(run)[key] for key in batch.keys]
    keys = batch.keys
    outcomes = [
        outcome(keys[0], jobs[0], COMPLETE, results={"O": "4", "H": ["i", None]}, attempts=3),
        failed(keys[1], jobs[1], reason="no\0bases \ud83d"),
        outcome(keys[2], jobs[2], FAILED, fate=Fate.TRANSIENT, reason="disk", attempts=2),
    ]
    stored = batch.store.finish(run, outcomes)
    columns = ("status", "fate", "reason", "attempts", "completed", "failed")
    data = batch.data()

    assert [tuple(row[one] for one in columns) for row in batch.rows()] == [
        ("COMPLETE", None, None, 3, 1, 0),
        ("FAILED", "permanent", "no\ufffdbases ?", 1, 0, 1),
        ("FAILED", "transient", "disk", 2, 0, 1),
    ]
    assert [one.job_id for one in stored] == jobs
    assert batch.shown() == ["COMPLETE", "FAILED", "FAILED"]
    assert [row.version for row in batch.lookups() if row] == ["1", None, None]
    assert [one.get("results") for one in data] == [{"O": "4", "H": ["i", None]}, None, None]
    assert [(one["complete_count"], one["fail_count"], one["queued_count"]) for one in data] == [
        *((1, 0, 0), (0, 1, 0), (0, 1, 0)),
    ]


def test_outcomes_that_are_stored_twice_are_as_once(entero: Entero) -> None:
    batch, run = a_batch(entero, 2), a_run()
    jobs = batch.begun(run)
    ends = [complete(batch.keys[0], jobs[batch.keys[0]], O="4"), failed(batch.keys[1], 1)]
    first = batch.store.finish(run, ends)
    before = all_rows(entero)

    assert batch.store.finish(run, ends) == first == ends
    assert all_rows(entero) == before


def test_a_typing_that_its_call_stored_keeps_its_type_and_tells_its_attempts(
    entero: Entero,
) -> None:
    batch, run = a_batch(entero, 1, entero.a_scheme()), a_run()
    [(key, job)] = batch.begun(run).items()
    facts = {"flow_run_id": run, "job_id": job}
    claim = batch.claim_of(0).model_copy(update=facts)
    entero.store.calls.store_typing(claim, calls_of(1, 1, 1))
    before = batch.lookups()
    end = outcome(key, job, COMPLETE, is_stored=True, attempts=3)

    assert batch.store.finish(run, [end]) == [end]
    assert batch.lookups() == before
    assert batch.data()[0]["results"]["ST"] == 1
    assert [(row["status"], row["attempts"]) for row in batch.rows()] == [("COMPLETE", 3)]


def test_what_came_of_a_pair_that_was_closed_meanwhile_is_told_as_it_is_stored(
    entero: Entero,
) -> None:
    batch, run = a_batch(entero, 1), a_run()
    [(key, job)] = batch.begun(run).items()
    batch.store.fail_night(batch.night_id, "the night was ended")
    before = all_rows(entero)
    [told] = batch.store.finish(run, [complete(key, job)])

    assert (told.status, told.fate, told.reason) == (FAILED, Fate.TRANSIENT, "the night was ended")
    assert all_rows(entero) == before


def test_keys_of_other_data_that_are_not_ours_stay(entero: Entero) -> None:
    batch, run = a_batch(entero, 2), a_run()
    kept = {"egg": "EGG", "file_location": "/mask.gff", "ß": [1, {"x": None}]}
    for number in range(2):
        twice = json.dumps(json.dumps(kept | {"job_count": 5}))
        entero.add_lookup(batch.claim_of(number), status="FAILED", other_data=twice)
    jobs = batch.begun(run)
    ends = [complete(batch.keys[0], jobs[batch.keys[0]]), failed(batch.keys[1], 1)]
    batch.store.finish(run, ends)

    for data in batch.data():
        assert {key: data[key] for key in kept} == kept
        assert data["job_count"] == 6


# Damage


def left_alone(batch: ABatch) -> list[str | None]:
    """Return other_data of each pair, as text."""
    return [row.other_data if row else None for row in batch.lookups()]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_row_of_one_pair_fails_that_pair_and_no_other(entero: Entero, text: str) -> None:
    batch, run = a_batch(entero), a_run()
    entero.add_lookup(batch.claim_of(1), status="FAILED", other_data=text)
    jobs = batch.begun(run)
    shown = batch.shown()
    told = batch.store.finish(run, [complete(key, jobs[key], O="4") for key in batch.keys])
    aside = ("FAILED", "permanent")

    assert shown == ["QUEUED"] * 3
    assert batch.shown() == ["COMPLETE", "FAILED", "COMPLETE"]
    assert batch.standing() == [("COMPLETE", None), aside, ("COMPLETE", None)]
    assert left_alone(batch)[1] == text
    assert [one.status for one in told] == [COMPLETE, FAILED, COMPLETE]
    assert "other_data of assembly" in batch.rows()[1]["reason"]
    assert batch.rows()[1]["completed"] == 0


def test_a_damaged_row_does_not_keep_a_night_from_being_ended(entero: Entero) -> None:
    batch = a_batch(entero)
    entero.add_lookup(batch.claim_of(1), status="QUEUED", other_data="{")
    jobs = batch.begun(a_run())

    assert sorted(batch.store.fail_night(batch.night_id, "x")) == sorted(jobs.values())
    assert batch.shown() == ["FAILED"] * 3


def test_rows_of_snp_calls_are_left_alone(entero: Entero) -> None:
    batch, run = a_batch(entero, 2), a_run()
    claim = batch.claim_of(0)
    facts = {"status": "COMPLETE", "version": "3", "other_data": '"\\"/snps.gff\\""'}
    for reference in ("SAL_AA0001AA_AS", "SAL_AA0002AA_AS"):
        entero.add_lookup(claim, st_barcode=reference, **facts)
    before = entero.lookups(claim)
    jobs = batch.begun(run)
    batch.store.finish(run, [complete(key, jobs[key], O="4") for key in batch.keys])
    rows = entero.lookups(claim)

    assert rows[:2] == before
    assert [(row.st_barcode, row.status) for row in rows[2:]] == [("", "COMPLETE")]
