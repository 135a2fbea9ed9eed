"""Strains that wait for an assembly: which a night assembles, and when it tries again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import AlreadyRunning
from blocks.genomics.pairs import Skip
from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.unassembled import Unassembled
from tests.fakes.read_archive import REPORT, RUN, Answer, Server, pair_at_ena, read_archive, report
from tests.flows.isolates import a_run, published
from tests.flows.nights import (
    counts,
    dump,
    listed,
    nothing_is_open,
    runs_of,
    strain_with,
    update_assemblies,
    uploaded,
)
from tests.flows.strains import Bench, make_bench

POOR = {"max_contigs": 1}


@pytest.fixture
def bench(prefect: None, empty_entero: Path, tmp_path: Path) -> Bench:
    return make_bench(tmp_path, empty_entero)


@pytest.fixture
def archive() -> Iterator[Server]:
    with read_archive() as one:
        yield one


def night(bench: Bench, **options: Any) -> Any:
    """Let a night go over the strains; return its counts."""
    return counts(update_assemblies(bench.isolates, **options))


def attempt(bench: Bench) -> tuple[Any, ...]:
    """Return status, fate and tries of the only reads."""
    row = bench.row("assembly_calls")
    return row.status, row.fate, row.attempts


def claimed_by(bench: Bench, reads: str, state: str = "RUNNING") -> str:
    """Let the run of a night that has just begun claim the reads of strain 1; return it."""
    store, run_id = bench.isolates.store, a_run(state)
    begun = store.nights.start(run_id, "update-assemblies", {})
    strain = Unassembled(1, "strain", reads)
    facts = {"flow_run_id": run_id, "night_id": begun.id, "force": False}
    assert store.assembling.claim_for_night(strain, "spades", **facts)
    return run_id


# What is assembled


def test_a_strain_without_an_assembly_is_assembled_and_typed_once(bench: Bench) -> None:
    reads = uploaded(bench, "TR7", st=3)
    first, second = night(bench), night(bench)

    assert (first.eligible, first.claimed, first.complete, first.failed) == (1, 1, 1, {})
    assembly = bench.row("assemblies")
    assert (assembly.status, bench.row("strains").best_assembly) == ("Assembled", assembly.id)
    assert bench.isolates.call(assembly.barcode).results["ST"] == 3
    assert (bench.job.accession, bench.job.status) == (reads, "COMPLETE")
    assert (second.eligible, second.claimed) == (0, 0)
    assert (len(bench.jobs), len(bench.programs.starts("spades.py"))) == (1, 1)
    assert nothing_is_open(bench.isolates.look)


def test_reads_and_verdict_belong_to_the_strain_that_waited(bench: Bench) -> None:
    reads = uploaded(bench)
    night(bench)
    [run] = runs_of("assemble-strain", bench.isolates.name)

    assert run.parameters["strain"] == "strain of TR1"
    assert bench.isolates.store.jobs.runs(bench.job.id) == [str(run.id)]
    assert [bench.isolates.look.count(name) for name in ("strains", "traces")] == [1, 1]
    row = bench.row("assembly_calls")
    assert (row.reads, row.status, row.fate, row.job_id) == (reads, "COMPLETE", None, bench.job.id)


@pytest.mark.parametrize(
    ("platform", "library"),
    [("ION_TORRENT", "PAIRED"), ("ILLUMINA", "SINGLE"), ("ILLUMINA", "UNPAIRED"), ("", "PAIRED")],
)
def test_other_reads_than_illumina_pairs_are_never_assembled(
    bench: Bench, platform: str, library: str
) -> None:
    strain_with(bench.isolates, RUN, platform=platform, library=library)

    assert night(bench, force=True).skipped == {Skip.NO_READS: 1}
    assert (bench.jobs, bench.isolates.look.count("assembly_calls")) == ([], 0)


def test_a_night_keeps_to_its_limit_and_begins_with_the_newest_strain(bench: Bench) -> None:
    names = [uploaded(bench, trace) for trace in ("TR1", "TR2")]
    found = night(bench, limit=1)

    assert (found.eligible, found.claimed, found.complete) == (2, 1, 1)
    assert [job.accession for job in bench.jobs] == names[1:]


def test_a_dry_run_writes_nothing_and_lists_what_the_night_then_assembles(bench: Bench) -> None:
    names = [uploaded(bench, trace) for trace in ("TR1", "TR2")]
    strain_with(bench.isolates, RUN, platform="ION_TORRENT")
    before = dump(bench.isolates.look)
    found = update_assemblies(bench.isolates, dry_run=True)
    after = dump(bench.isolates.look)
    night(bench)

    assert after == before
    assert [reads for reads, _ in listed(found)] == names[::-1]
    assert [job.accession for job in bench.jobs] == names[::-1]
    assert counts(found).skipped == {Skip.NO_READS: 1}


# What fails


def test_a_poor_assembly_is_put_aside_for_five_nights_and_until_the_limits_change(
    bench: Bench,
) -> None:
    uploaded(bench)
    bench.limit(**POOR)
    first = update_assemblies(bench.isolates)
    nights = [night(bench) for _ in range(5)]
    sent = len(bench.programs.starts("spades.py"))
    bench.limit()
    last = night(bench)

    assert counts(first).failed == {Fate.PERMANENT: 1}
    assert "too many pieces: 3 contigs, at most 1" in first.parts[0].failures[0].reason
    assert [(one.claimed, one.skipped) for one in nights] == [(0, {Skip.PUT_ASIDE: 1})] * 5
    assert sent == 1
    assert (last.claimed, last.complete) == (1, 1)
    statuses = bench.isolates.look.rows("SELECT status FROM assemblies ORDER BY id")
    assert [row.status for row in statuses] == ["Failed QC", "Assembled"]


def test_what_the_assembler_refused_is_sent_again_by_force_only(bench: Bench) -> None:
    uploaded(bench)
    bench.programs.plan("spades.py", "unknown", "good")
    found = [night(bench), night(bench), night(bench, force=True)]

    assert [(one.claimed, one.complete) for one in found] == [(1, 0), (0, 0), (1, 1)]
    assert (found[0].failed, found[1].skipped) == ({Fate.PERMANENT: 1}, {Skip.PUT_ASIDE: 1})
    assert [job.status for job in bench.jobs] == ["FAILED", "COMPLETE"]


def test_a_download_that_fails_twice_and_then_works_is_complete_after_three_attempts(
    prefect: None, empty_entero: Path, tmp_path: Path, archive: Server
) -> None:
    bench = make_bench(tmp_path, empty_entero, archive=archive.archive(attempts=1))
    bench.genome()
    files, away = pair_at_ena(), Answer(status=503)
    archive.put_ena(*files)
    archive.put(REPORT, away, away, Answer(json.dumps([report(*files)]).encode()))
    strain_with(bench.isolates, RUN)
    found = night(bench)

    assert (found.complete, found.failed) == (1, {})
    assert attempt(bench) == ("COMPLETE", None, 3)
    assert len(archive.asked_for(REPORT)) == 3


def test_what_the_machine_failed_is_sent_again_the_next_night(bench: Bench) -> None:
    uploaded(bench)
    bench.programs.plan("spades.py", "killed", "killed", "killed", "good")
    first = night(bench)
    left = attempt(bench)[:2]
    second = night(bench)

    assert (first.claimed, first.failed) == (1, {Fate.TRANSIENT: 1})
    assert left == ("FAILED", Fate.TRANSIENT)
    assert (second.claimed, second.complete) == (1, 1)
    assert attempt(bench)[:2] == ("COMPLETE", None)


# Beside people


def test_a_person_is_told_that_a_living_night_has_claimed_the_reads(bench: Bench) -> None:
    reads = uploaded(bench)
    run_id = claimed_by(bench, reads)
    with pytest.raises(AlreadyRunning, match=run_id):
        bench.assemble(reads)

    assert bench.programs.all_starts() == []
    assert attempt(bench)[0] == LookupStatus.QUEUED
    assert bench.job.status == "FAILED"


def test_a_person_assembles_what_a_night_that_is_over_had_claimed(bench: Bench) -> None:
    reads = uploaded(bench)
    run_id = claimed_by(bench, reads, "CRASHED")
    bench.isolates.store.nights.end_of_run(run_id)

    assert bench.assemble(reads, type_it=False).passed
    assert attempt(bench)[0] == "COMPLETE"


def test_a_night_leaves_a_person_s_run_alone_also_by_force(bench: Bench) -> None:
    reads = uploaded(bench)
    store, run_id = bench.isolates.store, a_run("RUNNING")
    job = store.jobs.start(accession=reads, pipeline="QAssembly", flow_run_id=run_id)
    store.assembling.claim(reads, flow_run_id=run_id, tool="spades", job_id=job.id)
    found = night(bench, force=True)

    assert (found.claimed, found.skipped) == (0, {Skip.LIVE: 1})
    assert bench.row("assembly_calls").flow_run_id == run_id
    assert bench.programs.all_starts() == []


def test_reads_that_a_lost_night_had_claimed_are_assembled_by_the_next(bench: Bench) -> None:
    claimed_by(bench, uploaded(bench), "CRASHED")
    found = update_assemblies(bench.isolates)

    assert (found.parts[0].n_lost, counts(found).complete) == (1, 1)
    assert nothing_is_open(bench.isolates.look)


def test_the_page_links_the_reads_that_failed_to_their_run(bench: Bench) -> None:
    reads = uploaded(bench)
    bench.limit(**POOR)
    update_assemblies(bench.isolates)
    [own] = runs_of("update-assemblies", bench.isolates.name)
    [run] = runs_of("assemble-strain", bench.isolates.name)
    page = published(str(own.id)).replace("\\", "")

    assert page.startswith("# 1 claimed, 1 failed")
    assert f"[{reads}](/runs/flow-run/{run.id})" in page
    assert "| assemblies from reads | 1 | 1 | 0 | 0 | 0 | 1 | 0 |" in page
