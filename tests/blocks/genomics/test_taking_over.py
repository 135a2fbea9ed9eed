"""An old EnteroBase is taken over: listed first, done in pieces, and undone."""

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from blocks.database import engine_for
from blocks.errors import InconsistentInput, InvalidRequest
from blocks.genomics.changes import Found, Why, WhyLeft
from blocks.genomics.taking_over import open_taking_over
from tests.fakes.old_entero import DATABASE, OldEntero, twice, use_for_years
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

WEEK = timedelta(days=7)
MANY = 4_500  # lookups: more than two pages


class Killed(BaseException):
    """The process ends at this moment."""


@pytest.fixture(params=OLD_KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldEntero]:
    """An EnteroBase without rows, that knows nothing of us."""
    made = old_entero(request.param, tmp_path, lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()


# The list, the change, and the way back


@every_kind
def test_a_dry_run_writes_nothing(old: OldEntero) -> None:
    use_for_years(old)
    before = old.dump()
    found = list(old.taking_over().find())

    assert len(changes(found)) > 10
    assert old.dump() == before


@every_kind
def test_what_is_listed_is_what_is_then_done(old: OldEntero) -> None:
    use_for_years(old)
    listed = list(old.taking_over().find())
    done = taken(old)

    assert done == listed
    assert records(old) == len(changes(listed))
    assert {one.why for one in changes(done)} == set(Why)


@every_kind
def test_what_was_taken_over_is_undone_byte_for_byte(old: OldEntero) -> None:
    use_for_years(old)
    first = old.legacy()
    old.migrate()
    before = old.dump()
    done = changes(taken(old))
    between = old.legacy()
    back = undone(old)

    assert between != first
    assert sorted(back, key=repr) == sorted(done, key=repr)
    assert (old.legacy(), old.dump()) == (first, before)


def test_taking_over_again_finds_nothing_more(old: OldEntero) -> None:
    use_for_years(old)
    taken(old)
    before = old.dump()
    again = taken(old)

    assert changes(again) == []
    assert old.dump() == before


def test_undoing_twice_does_nothing_more(old: OldEntero) -> None:
    use_for_years(old)
    taken(old)
    undone(old)
    before = old.dump()

    assert undone(old) == []
    assert undone(old, taking=7) == []
    assert old.dump() == before


def add_many_lookups(old: OldEntero) -> None:
    """Add so many results that they are several pages."""
    assembly, _ = old.add_pair()
    numbers = range(1_000, 1_000 + MANY)
    schemes = ", ".join(f"({n}, 's{n}')" for n in numbers)
    lookups = ", ".join(f"({n}, {assembly}, {n}, 'COMPLETE')" for n in numbers)
    old.look().change(f"INSERT INTO schemes (id, description) VALUES {schemes}")
    into = "INSERT INTO assembly_lookup (id, assembly_id, scheme_id, status)"
    old.look().change(f"{into} VALUES {lookups}")


@contextlib.contextmanager
def killed_at(old: OldEntero, record: int) -> Iterator[None]:
    """Kill the process while the nth page is written down."""
    engine, seen = engine_for(old.url), list[str]()

    def see(*statement: Any) -> None:
        if statement[2].startswith("INSERT INTO taken_over"):
            seen.append(statement[2])
            if len(seen) == record:
                raise Killed

    event.listen(engine, "before_cursor_execute", see)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", see)


@every_kind
def test_an_interrupted_taking_is_finished_by_the_next(old: OldEntero) -> None:
    use_for_years(old)
    add_many_lookups(old)
    first = old.legacy()
    listed = changes(list(old.taking_over().find()))
    with killed_at(old, 2), pytest.raises(Killed):
        taken(old)
    half, n_calls = records(old), len(old.calls())
    recorded = old.look().count("taken_over", table_name="scheme_calls")
    rest = changes(taken(old))
    whole = old.legacy()
    calls = old.calls()
    back = [len(undone(old, taking)) for taking in (2, 1)]

    assert len(listed) > MANY > half > 0
    assert recorded == n_calls
    assert listed[half:] == rest
    assert back == [len(rest), half]
    assert old.legacy() == first
    taken(old)
    assert (old.legacy(), old.calls()) == (whole, calls)


# What an old result, an old failure and an old queue become


def of_pairs(old: OldEntero) -> dict[tuple[int, int], tuple[Any, ...]]:
    return {(row[0], row[1]): tuple(row[2:9]) for row in old.calls()}


def test_an_old_result_counts_as_one_of_now(old: OldEntero) -> None:
    data = {"job_id": 4711, "job_count": 5, "complete_count": 3, "fail_count": 2}
    pair, other = old.add_pair(), old.add_pair()
    old.add_lookup(pair, version="3", other_data=json.dumps(data))
    old.add_lookup(other, version="7 b", other_data=None)
    taken(old)

    assert of_pairs(old) == {
        pair: ("COMPLETE", 4711, 1, 3, 5, 3, 2),
        other: ("COMPLETE", None, 1, 1, 0, 0, 0),
    }
    assert [row[9:] for row in old.calls()] == [(None, None, None)] * 2


def test_an_old_result_is_of_the_versions_that_rows_say(old: OldEntero) -> None:
    pair = old.add_pair()
    old.add_lookup(pair)
    old.migrate()
    old.look().change("UPDATE assemblies SET version = 4")
    old.look().change("UPDATE schemes SET version = 9")
    taken(old)

    assert of_pairs(old)[pair][2:4] == (4, 9)


def test_only_the_newest_row_of_a_pair_says_what_it_is(old: OldEntero) -> None:
    failed, complete, mapped = (old.add_pair() for _ in range(3))
    old.add_lookup(failed, st_barcode="SAL_AA0001AA_ST")
    old.add_lookup(failed, status="FAILED", st_barcode="")
    old.add_lookup(complete, status="FAILED")
    old.add_lookup(complete, st_barcode="SAL_AA0001AA_ST")
    old.add_lookup(mapped)
    old.add_lookup(mapped, status="FAILED", st_barcode="SAL_AA0009AA_AS")
    taken(old)

    assert set(of_pairs(old)) == {complete, mapped}


def test_snp_calls_are_no_results_but_their_paths_are_made_plain(old: OldEntero) -> None:
    data = {"file_pointer": json.dumps(json.dumps("/share/é.gff")), "egg": [1]}
    row_id = old.add_lookup(st_barcode="SAL_AA0009AA_AS", other_data=json.dumps(data))
    queued = old.add_lookup(st_barcode="SAL_AA0009AA_AS", status="QUEUED")
    taken(old)

    assert json.loads(old.lookup(row_id).other_data) == data | {"file_pointer": "/share/é.gff"}
    assert (old.calls(), old.lookup(queued).status) == ([], "QUEUED")


ODD: list[object] = [0, 1, 99, -3, "many", [1], 1e9, True, "9" * 40]


@pytest.mark.parametrize("status", ["COMPLETE", "FAILED", "QUEUED"])
def test_no_counter_decides_anything(old: OldEntero, status: str) -> None:
    old.add_lookup(status=status, other_data=json.dumps({"egg": 1}))
    for count in ODD:
        counters = dict.fromkeys(("fail_count", "queued_count"), count)
        old.add_lookup(status=status, other_data=json.dumps({"egg": 1} | counters))
    found = list(old.taking_over().find())

    assert [said_without_counters(one) for one in found] == [
        said_without_counters(found[0]) for _ in range(len(ODD) + 1)
    ]


def said_without_counters(one: Found) -> Any:
    """Return what is said of a row, but not of which one, nor what was counted."""
    facts = one.model_dump(exclude={"key"})
    if facts.get("after", "").startswith("{"):
        after = json.loads(facts["after"])
        return facts | {"after": after | dict.fromkeys(("assembly_id", "scheme_id", "failed"))}
    return facts


def test_statuses_and_keys_that_nobody_knows_stay(old: OldEntero) -> None:
    rows = [old.add_lookup(status=status) for status in ("KILLED", "", None, "complete", "queued")]
    keys = old.add_lookup(other_data=twice({"egg": "EGG", "no": None, "deep": {"a": [1.5]}}))
    jobs = [old.add_job(days=900, status=status) for status in ("KILLED", "COMPLETE", "?", None)]
    found = changes(taken(old))

    assert [one.key for one in found if one.table != "scheme_calls"] == [{"id": keys}]
    assert old.lookup(keys).other_data == '{"egg": "EGG", "no": null, "deep": {"a": [1.5]}}'
    assert [old.lookup(one).status for one in rows] == ["KILLED", "", None, "complete", "queued"]
    assert [old.job_status(one) for one in jobs] == ["KILLED", "COMPLETE", "?", None]
    assert (old.lookup(keys).odd, old.lookup(keys).annotation) == ("kept", None)


@every_kind
def test_what_was_queued_for_years_is_free_and_what_was_queued_today_is_not(
    old: OldEntero,
) -> None:
    jobs = [old.add_job(days=8), old.add_job(days=6), old.add_job(days=None), 424_242, "egg"]
    rows = [old.add_lookup(status="QUEUED", other_data=json.dumps({"job_id": one})) for one in jobs]
    found = taken(old)
    [young] = [one for one in left(found) if one.table == "assembly_lookup"]
    statuses = [old.lookup(one).status for one in rows]
    taken(old, days=0)

    assert statuses == ["FAILED", "QUEUED", "FAILED", "FAILED", "FAILED"]
    assert (young.key, young.why, young.said) == ({"id": rows[1]}, WhyLeft.YOUNG, f"job {jobs[1]}")
    assert old.lookup(rows[1]).status == "FAILED"


@every_kind
def test_open_jobs_of_a_system_that_is_gone_are_closed(old: OldEntero) -> None:
    words = ("QUEUED", "RUNNING", "WAIT RESUME", "QUEUE", "WAIT", "RESUME", "Running")
    gone = [old.add_job(days=30, status=word) for word in words]
    young = old.add_job(days=1, status="RUNNING")
    others = old.add_job(days=30, database="ecoli")
    found = taken(old)

    assert {old.job_status(one) for one in gone} == {"FAILED"}
    assert [(one.key, one.why) for one in left(found)] == [({"job_id": young}, WhyLeft.YOUNG)]
    assert [old.job_status(one) for one in (young, others)] == ["RUNNING", "QUEUED"]


# What is no old EnteroBase


def test_another_database_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    taking_over = open_taking_over(url, database=DATABASE, system_url=None, older_than=WEEK)
    for ask in (taking_over.missing, lambda: list(taking_over.find())):
        with pytest.raises(InconsistentInput, match="it is no species database of an EnteroBase"):
            ask()


def test_jobs_cannot_be_older_than_less_than_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"

    with pytest.raises(InvalidRequest, match="give 0 days or more"):
        open_taking_over(url, database=DATABASE, system_url=None, older_than=-WEEK)
