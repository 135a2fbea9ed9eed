"""An old EnteroBase that is taken over while runs of ours, and others, work on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from blocks.database import engine_for
from blocks.genomics.changes import Change, WhyLeft
from blocks.genomics.records import Claim, Fate, LookupStatus
from blocks.genomics.sessions import writing
from blocks.genomics.taken_over import do
from tests.fakes.entero import Entero
from tests.fakes.old_entero import OldEntero, twice
from tests.fakes.old_kinds import (
    OLD_KINDS,
    changes,
    every_kind,
    left,
    old_entero,
    records,
    taken,
    undone,
)


@pytest.fixture(params=OLD_KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldEntero]:
    made = old_entero(request.param, tmp_path, lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()


# Our own runs


def a_claim(old: OldEntero, pair: tuple[int, int]) -> Claim:
    store, look = old.store(), old.look()
    barcode = look.value("SELECT barcode FROM assemblies WHERE id = :id", id=pair[0])
    name = look.value("SELECT description FROM schemes WHERE id = :id", id=pair[1])
    entero = Entero(store, look, look)
    return entero.a_claim(store.schemes.scheme(name), store.isolates.assembly(barcode))


def test_what_a_run_of_ours_works_on_is_left_alone(old: OldEntero) -> None:
    pair = old.add_pair()
    row_id = old.add_lookup(pair, status="QUEUED")
    job = old.add_job(days=900)
    old.migrate()
    old.store().jobs.add_run(job, "run")
    claim = a_claim(old, pair)
    old.store().calls.claim(claim)
    listed = changes(list(old.taking_over(days=0).find()))

    assert listed == changes(taken(old, days=0)) == []
    assert (old.lookup(row_id).status, old.job_status(job)) == ("QUEUED", "QUEUED")


@every_kind
def test_what_a_run_takes_after_it_was_listed_is_left_alone(old: OldEntero) -> None:
    queued, complete = old.add_pair(), old.add_pair()
    row_id = old.add_lookup(queued, status="QUEUED")
    old.add_lookup(complete)
    answered = old.add_lookup(status="QUEUED")
    job = old.add_job(days=900)
    old.migrate()
    listed = changes(list(old.taking_over().find()))
    for pair in (queued, complete):
        old.store().calls.claim(a_claim(old, pair), force=True)
    old.look().change("UPDATE assembly_lookup SET status = 'COMPLETE' WHERE id = :id", id=answered)
    old.store().jobs.add_run(job, "run")
    done = list[Change]()
    for url, of_system in ((old.url, False), (old.system_url, True)):
        mine = [one for one in listed if (one.table == "user_jobs") is of_system]
        with writing(engine_for(url)) as session:
            done += do(session, 1, mine)

    assert (len(listed), done) == (4, [])
    assert [old.lookup(one).status for one in (row_id, answered)] == ["QUEUED", "COMPLETE"]
    assert records(old) == 0


@pytest.mark.parametrize(
    "old", [pytest.param("postgresql", marks=pytest.mark.services)], indirect=True
)
def test_a_race_that_is_lost_is_not_said_to_be_won(old: OldEntero) -> None:
    pairs = [old.add_pair(), old.add_pair()]
    for pair in pairs:
        old.add_lookup(pair)
    old.migrate()
    engine = engine_for(old.url)

    def be_first(*statement: Any) -> None:
        if statement[2].startswith("INSERT INTO scheme_calls"):
            ours = "INSERT INTO scheme_calls (assembly_id, scheme_id, status, sent, completed, "
            ours += "failed) VALUES (:a, :s, 'QUEUED', 1, 0, 0)"
            old.look().change(ours, a=pairs[0][0], s=pairs[0][1])

    event.listen(engine, "before_cursor_execute", be_first)
    found = taken(old)
    event.remove(engine, "before_cursor_execute", be_first)

    assert [tuple(one.key.values()) for one in found] == [pairs[1]]
    assert records(old) == 1
    assert [row[2] for row in old.calls()] == ["QUEUED", "COMPLETE"]


def test_a_taken_over_database_is_worked_on_as_ours_is(old: OldEntero) -> None:
    complete, queued, failed = (old.add_pair() for _ in range(3))
    old.add_lookup(complete, version="1")
    old.add_lookup(queued, status="QUEUED")
    old.add_lookup(failed, status="FAILED", other_data='{"fail_count": 99}')
    taken(old)
    claims = [a_claim(old, pair) for pair in (complete, queued, failed)]
    held = [old.store().calls.claim(claim) for claim in claims]

    assert [one.status for one in held] == [
        LookupStatus.COMPLETE,
        LookupStatus.QUEUED,
        LookupStatus.QUEUED,
    ]


# What others did meanwhile


def test_undoing_keeps_what_others_changed_since_and_says_so(old: OldEntero) -> None:
    pairs = [old.add_pair() for _ in range(2)]
    old.add_lookup(pairs[0])
    forced = old.add_lookup(pairs[1])
    status = old.add_lookup(status="QUEUED")
    data = old.add_lookup(status="EGG", other_data=twice({"egg": 1}))
    gone = old.add_lookup(status="QUEUED")
    plain = old.add_lookup(status="QUEUED")
    taken(old)
    old.look().change("UPDATE assembly_lookup SET status = 'COMPLETE' WHERE id = :id", id=status)
    old.look().change("UPDATE assembly_lookup SET other_data = '{}' WHERE id = :id", id=data)
    old.look().change("DELETE FROM assembly_lookup WHERE id = :id", id=gone)
    old.store().calls.claim(a_claim(old, pairs[1]), force=True)
    found = undone(old)
    kept = {(one.table, *one.key.values()): one.why for one in left(found)}

    assert kept == {
        ("scheme_calls", *pairs[1]): WhyLeft.CHANGED_SINCE,
        ("assembly_lookup", status): WhyLeft.CHANGED_SINCE,
        ("assembly_lookup", data): WhyLeft.CHANGED_SINCE,
        ("assembly_lookup", gone): WhyLeft.GONE_SINCE,
    }
    assert [old.lookup(one).status for one in (status, plain, forced)] == [
        "COMPLETE", "QUEUED", "QUEUED",
    ]  # fmt: skip
    assert [row[:2] for row in old.calls()] == [pairs[1]]
    assert (records(old), undone(old)) == (4, left(found))


@every_kind
def test_undoing_does_not_queue_again_what_a_run_of_ours_has_called_since(old: OldEntero) -> None:
    pair = old.add_pair()
    row_id = old.add_lookup(pair, status="QUEUED", other_data=None)
    job = old.add_job(days=900)
    taken(old)
    claim = a_claim(old, pair)
    old.store().calls.claim(claim)
    old.store().calls.fail_open(claim.flow_run_id, Fate.TRANSIENT, "lost")
    old.store().jobs.add_run(job, "run")
    found = undone(old)

    assert {one.why for one in left(found)} == {WhyLeft.CALLED_SINCE}
    assert (old.lookup(row_id).status, old.job_status(job)) == ("FAILED", "FAILED")


def test_undoing_queues_again_what_a_run_of_ours_had_called_before(old: OldEntero) -> None:
    pair = old.add_pair()
    row_id = old.add_lookup(pair, status="QUEUED", other_data=None)
    old.migrate()
    claim = a_claim(old, pair)
    old.store().calls.claim(claim)
    old.store().calls.fail(claim, Fate.TRANSIENT, "lost")
    old.look().change("UPDATE assembly_lookup SET status = 'QUEUED' WHERE id = :id", id=row_id)
    taken(old, days=0)
    between = old.lookup(row_id).status
    undone(old)

    assert (between, old.lookup(row_id).status) == ("FAILED", "QUEUED")
