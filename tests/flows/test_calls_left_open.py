"""A run that is stopped, killed or has a bug: nothing stays QUEUED, and the rows say why."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from blocks.errors import DatabaseUnavailable
from blocks.genomics.records import Claim, Fate, LookupStatus
from tests.fakes.programs import script
from tests.fakes.served import processes_of, wait_for
from tests.flows.isolates import Isolates, a_run

REPOSITORY = Path(__file__).parents[2]
RUN = "import asyncio, sys; from flows.type_assembly import type_assembly as t; "
HANGS = """#!/bin/sh
[ "$1" = -V ] && echo sistr_cmd 1 && exit
sleep 1000
"""


def a_process(isolates: Isolates, barcode: str, scheme: str) -> subprocess.Popen[bytes]:
    """Type an assembly in a process of its own, at the same Prefect."""
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    call = f"t({barcode!r}, {scheme!r}, {isolates.name!r}, {isolates.toolchain()!r})"
    url = PREFECT_API_URL.value()
    assert url
    environment = os.environ | {"PREFECT_API_URL": url, "PYTHONPATH": str(REPOSITORY)}
    with (isolates.root / "said").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-c", f"{RUN}asyncio.run({call})"],
            cwd=isolates.root,
            env=environment,
            stdout=said,
            stderr=said,
        )


def test_a_run_that_is_ended_leaves_no_program_and_nothing_open(isolates: Isolates) -> None:
    script(isolates.programs / "sistr", HANGS)
    scheme = isolates.generic("SeroPred", pipeline="SeroPred")
    barcode = isolates.genome()
    run = a_process(isolates, barcode, scheme)
    wait_for(lambda: any("sleep" in words for words in processes_of(isolates.share).values()))
    assert isolates.call(barcode, scheme).status is LookupStatus.QUEUED
    run.send_signal(signal.SIGTERM)
    run.wait(60)

    wait_for(lambda: not processes_of(isolates.share))
    call = isolates.call(barcode, scheme)
    assert (call.status, call.fate) == (LookupStatus.FAILED, Fate.TRANSIENT)
    assert call.reason.startswith("the flow run crashed")
    assert isolates.look.value("SELECT status FROM assembly_lookup") == "FAILED"
    assert isolates.look.value("SELECT status FROM user_jobs") == "FAILED"


# The hook, as Prefect's worker calls it: with a run and a state, and nothing else


def an_open_call(isolates: Isolates, run_id: str) -> Claim:
    store, barcode = isolates.store, isolates.genome()
    job = store.jobs.start(accession=barcode, pipeline="nomenclature:x", flow_run_id=run_id)
    claim = Claim(
        assembly=store.isolates.assembly(barcode),
        scheme=store.schemes.scheme("mlst"),
        job_id=job.id,
        flow_run_id=run_id,
    )
    store.calls.claim(claim)
    return claim


async def _call_hook(run_id: str, state: Any, entero: str) -> None:
    from prefect import get_client  # noqa: PLC0415

    from tasks.genomics.closing import close_what_run_left  # noqa: PLC0415

    async with get_client() as client:
        run = await client.read_flow_run(UUID(run_id))
    run.parameters = {"entero": entero}
    await close_what_run_left(None, run, state)


def the_hook(isolates: Isolates, run_id: str, state: Any) -> None:
    asyncio.run(_call_hook(run_id, state, isolates.name))


def a_state(name: str) -> Any:
    from prefect.states import State, StateType  # noqa: PLC0415

    return State(type=StateType(name), message="by a test")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("CANCELLED", "cancelled in Prefect: by a test"),
        ("CRASHED", "the flow run crashed: by a test"),
    ],
)
def test_what_a_lost_run_left_open_is_closed_with_the_reason(
    isolates: Isolates, state: str, reason: str
) -> None:
    run_id = a_run(state)
    claim = an_open_call(isolates, run_id)
    the_hook(isolates, run_id, a_state(state))

    call = isolates.call(claim.assembly.barcode)
    assert (call.status, call.fate, call.reason) == (LookupStatus.FAILED, Fate.TRANSIENT, reason)
    assert isolates.store.jobs.job(claim.job_id).status == "FAILED"


async def _failed(error: Exception) -> Any:
    from prefect.states import exception_to_failed_state  # noqa: PLC0415

    return await exception_to_failed_state(error)


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (DatabaseUnavailable("the database does not answer"), Fate.TRANSIENT),
        (KeyError("demA"), Fate.BUG),
    ],
)
def test_a_failure_that_could_not_be_stored_when_it_came_is_no_bug(
    isolates: Isolates, error: Exception, fate: Fate
) -> None:
    run_id = a_run("FAILED")
    claim = an_open_call(isolates, run_id)
    the_hook(isolates, run_id, asyncio.run(_failed(error)))

    call = isolates.call(claim.assembly.barcode)
    assert (call.status, call.fate) == (LookupStatus.FAILED, fate)
    assert type(error).__name__ in call.reason


def test_what_is_finished_is_left_alone(isolates: Isolates) -> None:
    barcode = isolates.genome()
    typed = isolates.type(barcode)
    call = isolates.call(barcode)
    the_hook(isolates, call.flow_run_id, a_state("CRASHED"))

    assert isolates.call(barcode) == call
    assert isolates.store.jobs.job(typed.job_id).status == "COMPLETE"


def test_what_other_runs_work_on_is_left_alone(isolates: Isolates) -> None:
    theirs, ours = an_open_call(isolates, a_run("RUNNING")), a_run("CRASHED")
    the_hook(isolates, ours, a_state("CRASHED"))

    assert isolates.call(theirs.assembly.barcode).status is LookupStatus.QUEUED
    assert isolates.store.jobs.job(theirs.job_id).status == "QUEUED"


def test_a_search_that_crashed_is_shown_as_failed(isolates: Isolates) -> None:
    run_id = a_run("CRASHED")
    jobs = isolates.store.jobs
    analysis = jobs.add_analysis("locus_search", "mine", {"scheme": "mlst"})
    job = jobs.start(accession=str(analysis), pipeline="locus_search", flow_run_id=run_id)
    the_hook(isolates, run_id, a_state("CRASHED"))

    said = jobs.analysis(analysis)
    assert (said["failed"], said["reason"]) == ("true", "the flow run crashed: by a test")
    assert jobs.job(job.id).status == "FAILED"
