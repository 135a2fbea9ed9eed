"""Runs on isolates that are lost with their process or machine: closed, and called again."""

import asyncio
import json
import signal
import threading
from typing import Any

import pytest

from blocks.errors import AlreadyRunning, InvalidRequest
from blocks.genomics.records import Claim, Fate, JobStatus, LookupStatus
from tasks.runs import STALE_AFTER
from tests.fakes.programs import script
from tests.fakes.served import processes_of, wait_for
from tests.flows.isolates import MLST, Isolates, a_run
from tests.flows.strains import Bench, make_bench
from tests.flows.test_calls_left_open import HANGS, a_process, an_open_call
from tests.flows.test_type_generic import sistr

SILENT = "UPDATE job_runs SET started = '2020-01-01 00:00:00.0', seen = NULL"
OPEN_TABLES = ("scheme_calls", "assembly_lookup", "user_jobs")


def reconcile(isolates: Isolates, **options: Any) -> list[Any]:
    """Close what is lost in this EnteroBase, at once unless a silence is given."""
    from flows.reconcile_jobs import reconcile_jobs  # noqa: PLC0415 - loads Prefect

    given = {"ispyb": None, "entero": isolates.name, "stale_after_s": 0.0}
    return asyncio.run(reconcile_jobs(**(given | options)))


def state_of(run_id: str) -> str:
    from tasks.prefect_runs import run_state  # noqa: PLC0415 - loads Prefect

    return asyncio.run(run_state(run_id)).type


def nothing_is_open(isolates: Isolates) -> bool:
    look = isolates.look
    return not any(
        look.count(table, status=status)
        for table in OPEN_TABLES
        for status in ("QUEUED", "RUNNING")
    )


def a_killed_run(isolates: Isolates) -> tuple[str, str, str]:
    """Type an assembly in a process that gets kill -9; return barcode, scheme and flow run."""
    script(isolates.programs / "sistr", HANGS)
    scheme, barcode = isolates.generic("SeroPred", pipeline="SeroPred"), isolates.genome()
    process = a_process(isolates, barcode, scheme)
    try:
        wait_for(lambda: hangs(isolates))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    wait_for(lambda: not hangs(isolates))
    return barcode, scheme, isolates.call(barcode, scheme).flow_run_id


def hangs(isolates: Isolates) -> bool:
    return any("sleep" in words for words in processes_of(isolates.share).values())


# Killed


def test_a_call_whose_process_was_killed_is_closed_and_can_be_made_again(
    isolates: Isolates,
) -> None:
    barcode, scheme, run_id = a_killed_run(isolates)
    assert isolates.call(barcode, scheme).status is LookupStatus.QUEUED  # whoever is killed
    assert state_of(run_id) == "RUNNING"  # closes nothing, and Prefect knows nothing
    [closed] = reconcile(isolates)
    call = isolates.call(barcode, scheme)

    assert (closed.flow_run_id, closed.job_id) == (run_id, call.job_id)
    assert (closed.about, closed.reason[:16]) == (f"SeroPred {barcode}", "lost: silent for")
    assert (call.status, call.fate, call.reason) == (
        LookupStatus.FAILED, Fate.TRANSIENT, closed.reason,
    )  # fmt: skip
    assert nothing_is_open(isolates)
    assert state_of(run_id) == "CRASHED"
    sistr(isolates)
    typed = isolates.type(barcode, scheme, toolchain=isolates.toolchain())
    assert (typed.was_known, typed.results["serovar"]) == (False, "Agona")
    assert reconcile(isolates) == []


def test_a_killed_run_is_taken_over_once_it_is_silent_and_not_before(
    isolates: Isolates, monkeypatch: pytest.MonkeyPatch
) -> None:
    barcode, scheme, run_id = a_killed_run(isolates)
    sistr(isolates)
    toolchain = isolates.toolchain()
    with pytest.raises(AlreadyRunning, match=run_id):
        isolates.type(barcode, scheme, toolchain=toolchain, force=True)
    monkeypatch.setattr("tasks.genomics.closing.SECOND_LOOK_S", 0.1)
    isolates.look.change(SILENT)
    typed = isolates.type(barcode, scheme, toolchain=toolchain)

    assert typed.results["serovar"] == "Agona"
    assert nothing_is_open(isolates)
    assert state_of(run_id) == "CRASHED"


def test_a_run_that_works_gives_signs_of_life_and_is_left_alone(isolates: Isolates) -> None:
    script(isolates.programs / "sistr", HANGS)
    scheme, barcode = isolates.generic("SeroPred", pipeline="SeroPred"), isolates.genome()
    process = a_process(isolates, barcode, scheme)
    try:
        wait_for(lambda: hangs(isolates))
        seen = wait_for(lambda: isolates.look.value("SELECT seen FROM job_runs"))
        closed = reconcile(isolates, stale_after_s=STALE_AFTER.total_seconds())
    finally:
        process.kill()
        process.wait(60)

    assert (bool(seen), closed) == (True, [])
    assert isolates.call(barcode, scheme).status is LookupStatus.QUEUED


@pytest.fixture
def bench(prefect: None, empty_entero: Any, tmp_path: Any) -> Bench:
    return make_bench(tmp_path, empty_entero)


def test_an_assembly_whose_process_was_killed_is_closed_and_goes_on_with_the_next_run(
    bench: Bench,
) -> None:
    reads = bench.upload()
    bench.programs.plan("spades.py", "hang", "good")
    with bench.running("isolate", "assemble", reads) as process:
        wait_for(lambda: bench.programs.starts("spades.py"))
        process.kill()
        process.wait(60)
    wait_for(lambda: not processes_of(bench.share))
    left = bench.job.status
    [closed] = reconcile(bench.isolates)

    assert (left, bench.job.status) == ("RUNNING", "FAILED")
    assert (closed.job_id, closed.about) == (bench.job.id, f"QAssembly {reads}")
    assert bench.assemble(reads, type_it=False).passed
    assert len(bench.programs.starts("fastp")) == 1
    assert [job.status for job in bench.jobs] == ["FAILED", "COMPLETE"]


# Who is lost, and who is not


@pytest.mark.parametrize("state", ["CANCELLED", "CRASHED", "FAILED", "COMPLETED"])
def test_what_a_run_that_is_over_left_open_is_closed_at_once(
    isolates: Isolates, state: str
) -> None:
    claim = an_open_call(isolates, a_run(state))
    [closed] = reconcile(isolates, stale_after_s=900.0)
    call = isolates.call(claim.assembly.barcode)

    assert closed.job_id == claim.job_id
    assert (call.fate, call.reason) == (Fate.TRANSIENT, closed.reason)
    assert "by a test" in call.reason
    assert nothing_is_open(isolates)


@pytest.mark.parametrize("run", ["RUNNING", "PENDING", "CANCELLING", "unknown to Prefect"])
def test_what_a_run_with_a_fresh_sign_of_life_has_open_is_left_alone(
    isolates: Isolates, run: str
) -> None:
    claim = an_open_call(isolates, "0" * 32 if run == "unknown to Prefect" else a_run(run))

    assert reconcile(isolates, stale_after_s=900.0) == []
    assert isolates.call(claim.assembly.barcode).status is LookupStatus.QUEUED


def test_a_run_of_which_prefect_forgot_is_lost_when_it_is_silent(isolates: Isolates) -> None:
    an_open_call(isolates, "0" * 32)
    [closed] = reconcile(isolates)

    assert closed.reason.startswith("lost: silent for")
    assert nothing_is_open(isolates)


def test_a_run_whose_sign_gets_through_after_an_outage_is_left_alone(isolates: Isolates) -> None:
    run_id = a_run("RUNNING")
    claim = an_open_call(isolates, run_id)
    isolates.look.change(SILENT)
    over = threading.Event()

    def live() -> None:
        # Signs that come, and are old: only who looks twice sees that they come.
        second = 0
        while not over.wait(0.05):
            second += 1
            moment = f"2020-01-01 00:{second // 60:02}:{second % 60:02}.0"
            isolates.look.change("UPDATE job_runs SET seen = :moment", moment=moment)

    living = threading.Thread(target=live)
    living.start()
    closed = reconcile(isolates, stale_after_s=1.0)
    over.set()
    living.join(10)

    assert closed == []
    assert isolates.call(claim.assembly.barcode).status is LookupStatus.QUEUED


def test_a_dry_run_says_what_is_lost_and_closes_nothing(isolates: Isolates) -> None:
    run_id = a_run("RUNNING")
    claim = an_open_call(isolates, run_id)
    before = [isolates.look.rows(f"SELECT * FROM {table}") for table in OPEN_TABLES]
    [closed] = reconcile(isolates, dry_run=True)

    assert closed.job_id == claim.job_id
    assert [isolates.look.rows(f"SELECT * FROM {table}") for table in OPEN_TABLES] == before
    assert state_of(run_id) == "RUNNING"


# What has a result is complete


def test_a_job_whose_result_was_stored_before_the_run_was_lost_is_complete(
    isolates: Isolates,
) -> None:
    typed = isolates.type(isolates.genome())
    isolates.look.change("UPDATE user_jobs SET status = 'QUEUED'")
    [closed] = reconcile(isolates)

    assert closed.job_id == typed.job_id
    assert isolates.store.jobs.job(typed.job_id).status == "COMPLETE"
    assert reconcile(isolates) == []


def test_a_job_whose_assembly_was_stored_before_the_run_was_lost_is_complete(bench: Bench) -> None:
    outcome = bench.assemble(bench.upload(), type_it=False)
    where = bench.job.output_location
    bench.isolates.look.change("UPDATE user_jobs SET status = 'RUNNING', output_location = NULL")
    reconcile(bench.isolates)

    assert (bench.job.id, bench.job.status) == (outcome.job_id, "COMPLETE")
    assert bench.job.output_location == where


# Searches


def an_open_search(isolates: Isolates, *, accession: str = "{id}", **data: str) -> tuple[int, int]:
    """Return the analysis and the job of a search whose run is over."""
    jobs = isolates.store.jobs
    analysis = jobs.add_analysis("locus_search", "mine", {"scheme": MLST.name} | data)
    job = jobs.start(
        accession=accession.format(id=analysis),
        pipeline="locus_search;sent again",
        flow_run_id=a_run("CRASHED"),
    )
    return analysis, job.id


@pytest.mark.parametrize("accession", ["{id}", "mine:{id}"])
def test_a_search_that_was_lost_is_shown_as_failed_with_the_reason(
    isolates: Isolates, accession: str
) -> None:
    analysis, job = an_open_search(isolates, accession=accession)
    [closed] = reconcile(isolates)
    said = isolates.store.jobs.analysis(analysis)

    assert (said["failed"], said["reason"]) == ("true", closed.reason)
    assert isolates.store.jobs.job(job).status == "FAILED"


def test_a_search_that_had_its_answer_is_complete(isolates: Isolates) -> None:
    analysis, job = an_open_search(isolates, complete="true")
    reconcile(isolates)

    assert "failed" not in isolates.store.jobs.analysis(analysis)
    assert isolates.store.jobs.job(job).status == "COMPLETE"


@pytest.mark.parametrize("accession", ["{id}9", "nothing", "9" * 40, "²"])
def test_a_search_whose_analysis_is_gone_is_closed_all_the_same(
    isolates: Isolates, accession: str
) -> None:
    _, job = an_open_search(isolates, accession=accession)
    reconcile(isolates)

    assert isolates.store.jobs.job(job).status == "FAILED"


# Sites


def test_a_damaged_row_keeps_no_other_run_from_being_closed(isolates: Isolates) -> None:
    damaged, other = (an_open_call(isolates, a_run("CRASHED")) for _ in range(2))
    isolates.look.change(
        "UPDATE assembly_lookup SET other_data = '{half' WHERE assembly_id = :id",
        id=damaged.assembly.id,
    )
    closed = reconcile(isolates)

    assert [one.job_id for one in closed] == [other.job_id]
    assert isolates.store.jobs.job(other.job_id).status == JobStatus.FAILED


def test_a_site_may_have_neither_or_not_say_which_and_a_wrong_name_is_refused(
    isolates: Isolates,
) -> None:
    assert reconcile(isolates, ispyb="ispyb") == []  # the usual name: this site has none
    assert reconcile(isolates, ispyb="") == []
    with pytest.raises(InvalidRequest, match="no database to look at"):
        reconcile(isolates, ispyb=None, entero="entero")
    with pytest.raises(InvalidRequest, match="no enterobase block named 'salmonela'"):
        reconcile(isolates, entero="salmonela")


def test_the_command_closes_what_is_lost_and_says_so(
    isolates: Isolates, capsys: pytest.CaptureFixture[str]
) -> None:
    from deployments.cli import main  # noqa: PLC0415 - loads Prefect

    claim: Claim = an_open_call(isolates, a_run("CRASHED"))
    arguments = ["reconcile", "--ispyb", "", "--entero", isolates.name]
    said = list[str]()
    for more in (["--dry-run"], [], ["--json"]):
        assert main([*arguments, *more]) == 0
        said.append(capsys.readouterr().out)

    what = f"flow run {claim.flow_run_id} of job {claim.job_id} "
    assert said[0].startswith(f"would close {what}")
    assert said[1].startswith(f"closed {what}(nomenclature:x {claim.assembly.barcode}): the flow")
    assert json.loads(said[2]) == []


def test_an_isolate_and_a_crystal_are_looked_after_by_one_run(
    isolates: Isolates, a_beamtime: Any
) -> None:
    from tests.flows.test_reconcile import an_open_attempt  # noqa: PLC0415

    beamtime = a_beamtime()
    attempt = an_open_attempt(beamtime, beamtime.job(), a_run("CRASHED"))
    claim = an_open_call(isolates, a_run("CRASHED"))
    closed = reconcile(isolates, ispyb=beamtime.names["ispyb"])

    assert [(one.program_id, one.flow_run_id) for one in closed] == [
        (attempt, ""),
        (None, claim.flow_run_id),
    ]
