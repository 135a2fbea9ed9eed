"""Nights in which things fail: what is put aside, what is tried again, and what is left open."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from blocks.genomics.pairs import Skip
from blocks.genomics.records import Fate, LookupStatus
from tests.fakes.served import environment, processes_of, wait_for
from tests.flows.isolates import MLST, Isolates, a_run
from tests.flows.nights import (
    REHEARSED,
    called,
    counts,
    finding,
    named,
    nothing_is_open,
    rehearsed,
    runs_of,
    update,
)

SCHEME = "Finding"


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.genomics.calling.WAIT_S", 0.0)


def standing(isolates: Isolates, barcode: str, scheme: str = SCHEME) -> tuple[Any, ...]:
    """Return status, fate and number of tries of a pair."""
    call = isolates.call(barcode, scheme)
    where = {"assembly": isolates.store.isolates.assembly(barcode).id, "scheme": scheme}
    attempts = isolates.look.value(
        "SELECT attempts FROM scheme_calls WHERE assembly_id = :assembly AND scheme_id ="
        " (SELECT id FROM schemes WHERE description = :scheme)",
        **where,
    )
    return call.status, call.fate, attempts


def job_of(isolates: Isolates, barcode: str, scheme: str = SCHEME) -> str:
    """Return the status of a pair's newest job."""
    return str(isolates.store.jobs.job(isolates.call(barcode, scheme).job_id or 0).status)


# For good


def test_what_failed_for_good_is_put_aside_for_five_nights_and_counted_as_such(
    isolates: Isolates,
) -> None:
    options = finding(isolates)
    bad = named(isolates, "bad")
    first = update(isolates, SCHEME, **options)
    nights = [counts(update(isolates, SCHEME, **options)) for _ in range(5)]

    assert counts(first).failed == {Fate.PERMANENT: 1}
    assert [(one.eligible, one.claimed, one.skipped) for one in nights] == [
        (0, 0, {Skip.PUT_ASIDE: 1})
    ] * 5
    assert called(isolates) == ["bad"]
    assert standing(isolates, bad) == (LookupStatus.FAILED, Fate.PERMANENT, 1)


def test_what_was_put_aside_comes_back_with_another_program_or_by_force(
    isolates: Isolates,
) -> None:
    options = finding(isolates)
    bad = named(isolates, "bad")
    for version, force in (("1.0", False), ("1.0", True), ("1.1", False), ("1.1", False)):
        update(isolates, SCHEME, force=force, **(options | finding(isolates, version)))

    assert called(isolates) == ["bad"] * 3
    data = json.loads(isolates.look.value("SELECT other_data FROM assembly_lookup"))
    assert (data["job_count"], data["fail_count"], data["queued_count"]) == (3, 3, 0)
    assert isolates.look.count("user_jobs", accession=bad, status="FAILED") == 3


def test_siblings_of_what_fails_are_called_to_their_end(isolates: Isolates) -> None:
    options = finding(isolates)
    names = ("fine_1", "bad", "fine_2", "killed", "fine_3")
    barcodes = {name: named(isolates, name) for name in names}
    report = update(isolates, SCHEME, **options)
    [batch] = runs_of("call-batch", isolates.name)

    found = {name: standing(isolates, barcodes[name])[:2] for name in names}
    assert found == {
        "bad": (LookupStatus.FAILED, Fate.PERMANENT),
        "killed": (LookupStatus.FAILED, Fate.TRANSIENT),
    } | dict.fromkeys(("fine_1", "fine_2", "fine_3"), (LookupStatus.COMPLETE, None))
    assert counts(report).failed == {Fate.PERMANENT: 1, Fate.TRANSIENT: 1}
    assert batch.state.type.value == "COMPLETED"
    jobs = [job_of(isolates, barcodes[name]) for name in names]
    assert jobs == ["COMPLETE", "FAILED", "COMPLETE", "FAILED", "COMPLETE"]
    assert {one.about: one.reason for one in report.parts[0].failures}.keys() == {
        barcodes["bad"], barcodes["killed"],
    }  # fmt: skip
    assert "this is no genome" in isolates.call(barcodes["bad"], SCHEME).reason


# By the machine's fault


def test_a_file_that_is_away_is_looked_for_three_times_and_again_the_next_night(
    isolates: Isolates,
) -> None:
    path = isolates.root / "later.fasta"
    later = isolates.register(path)
    options, nights = finding(isolates), list[Any]()
    for _ in range(2):
        nights.append(counts(update(isolates, SCHEME, **options)).failed)
        assert standing(isolates, later) == (LookupStatus.FAILED, Fate.TRANSIENT, 3)
    path.write_text(f">later\n{'ACGT' * 100}\n")
    update(isolates, SCHEME, **options)

    assert nights == [{Fate.TRANSIENT: 1}] * 2
    assert standing(isolates, later) == (LookupStatus.COMPLETE, None, 1)
    statuses = isolates.look.rows("SELECT status FROM user_jobs ORDER BY job_id")
    assert [row.status for row in statuses] == ["FAILED", "FAILED", "COMPLETE"]


def test_a_program_that_was_killed_is_run_again_the_next_night(isolates: Isolates) -> None:
    options = finding(isolates)
    killed = named(isolates, "killed")
    update(isolates, SCHEME, **options)
    first = set(called(isolates))
    report = update(isolates, SCHEME, **options)

    assert standing(isolates, killed)[:2] == (LookupStatus.FAILED, Fate.TRANSIENT)
    assert first == {"killed"}
    assert (counts(report).claimed, counts(report).skipped) == (1, {})
    assert len(called(isolates)) >= 2


# Bugs

BREAKS = (
    "CREATE TRIGGER broken BEFORE UPDATE OF completed ON scheme_calls WHEN NEW.completed > 0 AND"
    " NEW.assembly_id = (SELECT id FROM assemblies WHERE barcode = '{barcode}')"
    " BEGIN SELECT RAISE(ABORT, 'out of order'); END"
)


def test_a_bug_is_one_pair_s_outcome_and_fails_the_run_after_its_siblings(
    isolates: Isolates,
) -> None:
    barcodes = [isolates.genome() for _ in range(3)]
    isolates.look.change(BREAKS.format(barcode=barcodes[1]))
    report = update(isolates)
    [batch] = runs_of("call-batch", isolates.name)
    again = update(isolates)
    isolates.look.change("DROP TRIGGER broken")
    forced = update(isolates, force=True, limit=2)

    assert (report.parts[0].bugs, counts(report).complete) == (1, 2)
    assert "a bug, for a person to look at" in report.parts[0].failures[0].reason
    assert "out of order" in report.parts[0].failures[0].reason
    assert (batch.state.type.value, "out of order" in batch.state.message) == ("FAILED", True)
    assert (counts(again).claimed, counts(again).skipped) == (0, {Skip.COMPLETE: 2, Skip.BUG: 1})
    assert (counts(forced).complete, nothing_is_open(isolates.look)) == (2, True)


def test_a_bug_that_ends_a_whole_batch_leaves_no_pair_of_it_open(isolates: Isolates) -> None:
    scheme = rehearsed(isolates)
    barcodes = [isolates.genome() for _ in range(4)]
    isolates.look.change(BREAKS.format(barcode=barcodes[0]))
    report = update(isolates, scheme, batch_size=2)

    assert [isolates.call(one, scheme).status for one in barcodes] == (
        [LookupStatus.FAILED] * 2 + [LookupStatus.COMPLETE] * 2
    )
    assert sum(counts(report).failed.values()) == 2
    assert nothing_is_open(isolates.look)


# Ended from outside


def a_night_with_a_batch(isolates: Isolates, engine: str) -> tuple[str, str]:
    """Return the run of a night, and that of its batch which has begun one of two pairs."""
    from tasks.genomics.batch import Batch, begin_batch  # noqa: PLC0415 - loads Prefect

    rehearsed(isolates)
    night_run, batch_run = a_run("RUNNING"), a_run("RUNNING")
    facts = {"fan_out": {"engine": engine}}
    store = isolates.store
    night = store.nights.start(night_run, "update-scheme", facts)
    for number in (1, 2):
        isolates.genome()
        wanted = asyncio.run(_wanted(isolates))
        [window] = [store.pairs.window(wanted)]
        assert window
        store.batches.claim(
            window.pairs,
            {one.scheme.id: one for one in wanted},
            batch_id=f"batch-{number}", flow_run_id=night_run, night_id=night.id,
        )  # fmt: skip
    batch = Batch(id="batch-1", night_id=night.id, night_run=night_run)
    asyncio.run(begin_batch(asyncio.run(_lims(isolates)), batch, batch_run))
    return night_run, batch_run


async def _lims(isolates: Isolates) -> Any:
    from blocks.connections import EnteroBase  # noqa: PLC0415 - loads Prefect

    return await EnteroBase.named(isolates.name)


async def _wanted(isolates: Isolates) -> Any:
    from blocks.connections import Toolchain  # noqa: PLC0415 - loads Prefect
    from tasks.genomics.night import wanted_schemes  # noqa: PLC0415

    programs = await Toolchain.named("PATH")
    return await wanted_schemes(await _lims(isolates), programs, [REHEARSED])


async def _hook(run_id: str, state: str, parameters: dict[str, Any]) -> None:
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.objects import State, StateType  # noqa: PLC0415

    from tasks.genomics.closing import close_what_run_left  # noqa: PLC0415

    async with get_client() as client:
        run = await client.read_flow_run(UUID(run_id))
    run.parameters = parameters
    await close_what_run_left(None, run, State(type=StateType(state), message="by a test"))


@pytest.mark.parametrize("state", ["CANCELLED", "CRASHED", "FAILED"])
@pytest.mark.parametrize("key", ["database", "databases"])
def test_a_night_that_is_ended_leaves_nothing_queued(
    isolates: Isolates, state: str, key: str
) -> None:
    night_run, batch_run = a_night_with_a_batch(isolates, "threads")
    parameters = {key: [isolates.name] if key == "databases" else isolates.name}
    asyncio.run(_hook(night_run, state, parameters))

    assert nothing_is_open(isolates.look)
    calls = [isolates.store.calls.calls(number)[0] for number in (1, 2)]
    assert {call.status for call in calls} == {LookupStatus.FAILED}
    assert "by a test" in calls[0].reason
    assert runs_ended(batch_run) == "CRASHED"


def runs_ended(run_id: str) -> str:
    from tasks.prefect_runs import run_state  # noqa: PLC0415 - loads Prefect

    return asyncio.run(run_state(run_id)).type


def test_batches_on_other_hosts_go_on_when_their_night_is_ended(isolates: Isolates) -> None:
    night_run, batch_run = a_night_with_a_batch(isolates, "work pool")
    asyncio.run(_hook(night_run, "CANCELLED", {"database": isolates.name}))

    assert [isolates.store.calls.calls(number)[0].status for number in (1, 2)] == [
        LookupStatus.QUEUED, LookupStatus.FAILED,
    ]  # fmt: skip
    assert runs_ended(batch_run) == "RUNNING"


@contextmanager
def a_night_in_a_process(isolates: Isolates, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Let a night go over the isolates in a process of its own, at the same Prefect."""
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415 - loads Prefect

    names = {"database": isolates.name} | options
    code = (
        f"from flows.update_scheme import update_scheme as u; asyncio.run(u({SCHEME!r}, **{names}))"
    )
    with (isolates.root / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", f"import asyncio; {code}"],
            cwd=isolates.root,
            env=environment() | {"PREFECT_API_URL": str(PREFECT_API_URL.value())},
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["worker", "Ctrl-C"])
def test_a_night_that_is_stopped_ends_at_once_and_leaves_no_program_and_nothing_open(
    isolates: Isolates, how: signal.Signals
) -> None:
    options = finding(isolates)
    last, slow, first = (named(isolates, name) for name in ("last", "slow", "first"))
    with a_night_in_a_process(isolates, **options) as night:
        wait_for(lambda: "slow" in called(isolates))
        night.send_signal(how)
        night.wait(60)  # the program would take 1000 s

    wait_for(lambda: not processes_of(isolates.share))
    assert called(isolates) == ["first", "slow"]
    assert nothing_is_open(isolates.look)
    assert {standing(isolates, one)[:2] for one in (last, slow)} == {
        (LookupStatus.FAILED, Fate.TRANSIENT)
    }
    assert isolates.call(first, SCHEME).fate is not Fate.BUG
    assert {job_of(isolates, one) for one in (last, slow)} == {"FAILED"}


def test_a_night_is_ended_between_two_pairs_when_somebody_says_so_in_the_database(
    isolates: Isolates,
) -> None:
    update(isolates, MLST.name)
    scheme = rehearsed(isolates)
    for _ in range(3):
        isolates.genome()
    # As a reconciler does that takes the night for lost: it ends when its second pair begins.
    isolates.look.change(
        "CREATE TRIGGER ends AFTER UPDATE OF completed ON scheme_calls BEGIN"
        " UPDATE nights SET ended = '2026-11-22 00:00:00.000000' WHERE ended IS NULL; END"
    )
    report = update(isolates, scheme, batch_size=1)

    assert (counts(report).claimed, counts(report).complete) == (1, 1)
    assert nothing_is_open(isolates.look)
