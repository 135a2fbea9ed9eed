"""Schemes called wherever they are missing: what a night sends, and what the site then has."""

import json
from typing import Any

import pytest

from blocks.errors import NoSuchRecord
from blocks.genomics.pairs import Skip
from blocks.genomics.records import LookupStatus
from tests.flows.isolates import MLST, Isolates, a_run, published
from tests.flows.nights import (
    REHEARSED,
    called,
    claimed,
    counts,
    dump,
    finding,
    listed,
    named,
    nothing_is_open,
    rehearsed,
    runs_of,
    update,
)
from tests.flows.test_calls_left_open import an_open_call


def without_nights(isolates: Isolates) -> dict[str, list[Any]]:
    """Return every row but those that say which nights there were."""
    return {name: rows for name, rows in dump(isolates.look).items() if name != "nights"}


def other_data(isolates: Isolates) -> dict[str, Any]:
    """Return what the site keeps of the only pair."""
    return json.loads(isolates.look.value("SELECT other_data FROM assembly_lookup"))


# What is sent


def test_a_night_calls_what_is_missing_newest_first_and_keeps_to_its_limit(
    isolates: Isolates,
) -> None:
    scheme = rehearsed(isolates)
    oldest, older, newest = (isolates.genome() for _ in range(3))
    first = counts(update(isolates, scheme, limit=2))
    sent_first = claimed(isolates)
    second = counts(update(isolates, scheme, limit=2))

    assert (first.eligible, first.claimed, first.complete, first.skipped) == (3, 2, 2, {})
    assert sent_first == [(newest, scheme), (older, scheme)]
    assert (second.claimed, second.skipped) == (1, {Skip.COMPLETE: 2})
    assert claimed(isolates) == [*sent_first, (oldest, scheme)]
    assert nothing_is_open(isolates.look)


def test_where_nothing_is_missing_a_night_calls_nothing_and_changes_nothing(
    isolates: Isolates,
) -> None:
    rehearsed(isolates)
    isolates.genome()
    update(isolates)
    before = without_nights(isolates)
    n_batches = len(runs_of("call-batch", isolates.name))
    report = update(isolates)

    assert report.title == "0 claimed, 0 failed"
    assert without_nights(isolates) == before
    assert len(runs_of("call-batch", isolates.name)) == n_batches


def test_a_dry_run_writes_nothing_and_lists_exactly_what_the_night_then_claims(
    isolates: Isolates,
) -> None:
    scheme = rehearsed(isolates)
    barcodes = [isolates.genome() for _ in range(3)]
    isolates.type(barcodes[2])
    isolates.type(barcodes[1], scheme)
    before = dump(isolates.look)
    report = update(isolates, dry_run=True, limit=3)
    after = dump(isolates.look)
    own = len(claimed(isolates))
    update(isolates, limit=3, batch_size=1)

    assert after == before
    assert (report.dry_run, report.parts[0].night_id) == (True, None)
    assert [one.claimed for one in report.parts[0].counts] == [0, 0]
    assert claimed(isolates)[own:] == listed(report)
    assert listed(report) == [
        (barcodes[2], scheme), (barcodes[1], MLST.name), (barcodes[0], MLST.name),
    ]  # fmt: skip


def test_a_dry_run_counts_what_a_lost_run_left_and_closes_nothing(isolates: Isolates) -> None:
    claim = an_open_call(isolates, a_run("CRASHED"))
    before = dump(isolates.look)
    report = update(isolates, dry_run=True)
    after = dump(isolates.look)
    night = update(isolates)

    assert listed(report) == [(claim.assembly.barcode, MLST.name)]
    assert after == before
    assert (report.parts[0].n_lost, night.parts[0].n_lost) == (1, 1)
    assert isolates.call(claim.assembly.barcode).results["ST"] == 1
    assert isolates.store.jobs.job(claim.job_id).status == "FAILED"


def test_what_a_person_s_run_works_on_is_left_alone_also_by_force(isolates: Isolates) -> None:
    claim = an_open_call(isolates, a_run("RUNNING"))
    before = without_nights(isolates)
    report = update(isolates, force=True)

    assert counts(report).skipped == {Skip.LIVE: 1}
    assert without_nights(isolates) == before
    assert isolates.call(claim.assembly.barcode).status is LookupStatus.QUEUED


def test_a_scheme_without_a_pipeline_is_called_by_its_name_only(isolates: Isolates) -> None:
    by_hand, barcode = rehearsed(isolates, "rehearsal", pipeline=None), isolates.genome()
    update(isolates)
    by_itself = claimed(isolates)
    report = update(isolates, by_hand)

    assert by_itself == [(barcode, MLST.name)]
    assert counts(report).complete == 1
    assert isolates.call(barcode, by_hand).status is LookupStatus.COMPLETE


def test_an_assembly_that_failed_its_quality_control_is_never_called(isolates: Isolates) -> None:
    good, poor = isolates.genome(), isolates.genome()
    isolates.look.change("UPDATE assemblies SET status = 'Failed QC' WHERE barcode = :b", b=poor)
    reports = [update(isolates), update(isolates, MLST.name, force=True, limit=None)]

    assert set(claimed(isolates)) == {(good, MLST.name)}
    for report in reports:
        assert (counts(report).claimed, counts(report).skipped) == (1, {Skip.FAILED_QC: 1})


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("UPDATE schemes SET version = 2 WHERE description = 'mlst'", [(2, "mlst"), (1, "mlst")]),
        ("UPDATE assemblies SET version = 2 WHERE id = 1", [(1, MLST.name), (1, REHEARSED)]),
    ],
    ids=["scheme", "assembly"],
)  # fmt: skip
def test_a_new_version_of_a_scheme_or_assembly_calls_exactly_what_it_is_about(
    isolates: Isolates, change: str, again: list[tuple[int, str]]
) -> None:
    rehearsed(isolates)
    barcodes = {number: isolates.genome() for number in (1, 2)}
    update(isolates)
    isolates.look.change(change)
    jobs = isolates.look.count("user_jobs")
    update(isolates)
    more = isolates.look.rows("SELECT accession FROM user_jobs WHERE job_id > :jobs", jobs=jobs)

    assert [row.accession for row in more] == [barcodes[number] for number, _ in again]
    assert claimed(isolates)[2:] == [(barcodes[number], scheme) for number, scheme in again]
    assert counts(update(isolates), MLST.name).claimed == 0


def test_force_calls_also_what_is_complete(isolates: Isolates) -> None:
    scheme, barcode = rehearsed(isolates), isolates.genome()
    update(isolates, scheme)
    update(isolates, scheme, force=True)

    assert isolates.store.calls.calls(1)[0].status is LookupStatus.COMPLETE
    assert isolates.look.count("user_jobs", accession=barcode, status="COMPLETE") == 2
    assert other_data(isolates)["job_count"] == other_data(isolates)["complete_count"] == 2


def test_only_what_is_newer_is_called_if_a_night_is_told_so(isolates: Isolates) -> None:
    scheme = rehearsed(isolates)
    old, new = isolates.genome(), isolates.genome()
    for barcode, moment in ((old, "2026-10-31 23:59:59"), (new, "2026-11-01 00:00:00")):
        isolates.look.change(
            "UPDATE assemblies SET created = :moment WHERE barcode = :barcode",
            barcode=barcode, moment=f"{moment}.000000",
        )  # fmt: skip
    update(isolates, scheme, since="2026-11-01T02:00:00+02:00")

    assert claimed(isolates) == [(new, scheme)]


def test_an_unknown_scheme_is_named_with_those_that_are_known(isolates: Isolates) -> None:
    isolates.genome()
    before = dump(isolates.look)
    with pytest.raises(NoSuchRecord, match="no scheme 'MLST'; known: mlst"):
        update(isolates, "MLST")

    assert dump(isolates.look) == before


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"limit": -1},
        {"since": "yesterday"},
        {"database": "postgresql://a:secret@db/entero"},
        {"priority": 0},
    ],
    ids=str,
)
def test_what_no_night_can_be_asked_for_is_refused_before_it_begins(
    isolates: Isolates, options: dict[str, Any]
) -> None:
    from prefect.exceptions import ParameterTypeError  # noqa: PLC0415 - loads Prefect

    isolates.genome()
    with pytest.raises(ParameterTypeError):
        update(isolates, **options)

    assert isolates.look.count("nights") == 0


# Counters of the old site decide nothing


def test_no_number_of_failures_keeps_a_pair_from_being_called(isolates: Isolates) -> None:
    scheme = rehearsed(isolates)
    for number, fail_count in enumerate((99, -1, "many", None), 1):
        isolates.genome()
        data = {"fail_count": fail_count, "job_count": 99, "of_the_site": [number]}
        isolates.look.change(
            "INSERT INTO assembly_lookup (assembly_id, scheme_id, status, other_data)"
            " SELECT :number, id, 'FAILED', :data FROM schemes WHERE description = :scheme",
            number=number, data=json.dumps(data), scheme=scheme,
        )  # fmt: skip
    report = update(isolates, scheme)
    rows = isolates.look.rows("SELECT status, other_data FROM assembly_lookup ORDER BY assembly_id")

    assert (counts(report).claimed, counts(report).complete) == (4, 4)
    assert [row.status for row in rows] == ["COMPLETE"] * 4
    assert [json.loads(row.other_data)["of_the_site"] for row in rows] == [[1], [2], [3], [4]]


# What the site has then


def test_a_batch_is_one_run_with_a_job_for_each_pair_as_the_site_reads_it(
    isolates: Isolates,
) -> None:
    rehearsed(isolates)
    older, newer = isolates.genome(), isolates.genome()
    update(isolates)
    [batch] = runs_of("call-batch", isolates.name)
    jobs = [isolates.store.jobs.job(number) for number in range(1, 5)]

    assert (batch.name, batch.state.type.value) == (f"4 pairs from {newer}", "COMPLETED")
    assert [(job.accession, job.pipeline) for job in jobs] == [
        (newer, "nomenclature:Synthetica_mlst"), (newer, REHEARSED),
        (older, "nomenclature:Synthetica_mlst"), (older, REHEARSED),
    ]  # fmt: skip
    assert {(job.status, job.database) for job in jobs} == {("COMPLETE", "synthetica")}
    assert [isolates.store.jobs.runs(job.id) for job in jobs] == [[str(batch.id)]] * 4
    assert [isolates.call(newer, scheme).job_id for scheme in (MLST.name, REHEARSED)] == [1, 2]


def test_a_batch_of_one_gives_every_pair_a_run_of_its_own(isolates: Isolates) -> None:
    scheme = rehearsed(isolates)
    barcodes = [isolates.genome() for _ in range(3)]
    update(isolates, scheme, batch_size=1)
    runs = runs_of("call-batch", isolates.name)

    assert [run.name for run in runs] == [f"{barcode} {scheme}" for barcode in barcodes[::-1]]
    assert [isolates.call(one, scheme).flow_run_id for one in barcodes[::-1]] == [
        str(run.id) for run in runs
    ]


def test_alleles_types_and_counters_are_stored_as_by_a_single_call(isolates: Isolates) -> None:
    by_night, by_hand = isolates.genome(3), isolates.genome(3)
    isolates.type(by_hand)
    update(isolates)
    rows = isolates.look.rows(
        "SELECT st_barcode, annotation IS NOT NULL AS annotated, status, version, other_data"
        " FROM assembly_lookup ORDER BY assembly_id"
    )
    data = [json.loads(row.other_data) for row in rows]

    assert rows[0][:-1] == rows[1][:-1]
    assert (rows[0].status, isolates.call(by_night).results["ST"]) == ("COMPLETE", 3)
    assert [one.pop("job_id") for one in data] == [2, 1]
    assert data[0] == data[1]
    wanted = {"job_count": 1, "queued_count": 0, "complete_count": 1, "fail_count": 0}
    assert data[0].items() >= wanted.items()


def test_processes_of_this_machine_call_as_threads_do(isolates: Isolates) -> None:
    options, barcode = finding(isolates), named(isolates, "fine")
    report = update(isolates, "Finding", engine="processes", **options)

    assert counts(report).complete == 1
    assert (isolates.call(barcode, "Finding").results, called(isolates)) == (
        *({"ST": "fine"}, ["fine"]),
    )


def test_the_page_has_one_report_with_counts_and_picture(isolates: Isolates) -> None:
    scheme = rehearsed(isolates)
    isolates.genome()
    update(isolates, scheme)
    [run] = runs_of("update-scheme", isolates.name)
    report = published(str(run.id)).replace("\\", "")

    assert report.startswith("# 1 claimed, 0 failed")
    assert f"| {scheme} | 1 | 1 | 0 | 1 | 0 | 0 | 0 |" in report
    assert report.count("](data:image/png;base64,") == 2
