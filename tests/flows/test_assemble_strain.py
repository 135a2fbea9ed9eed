"""The reads of one strain: what EnteroBase and the page show of its assembly and its types."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.synthetic_isolate import housekeeping_scheme
from tests.flows.isolates import DATABASE, GENUS
from tests.flows.strains import Bench, children, make_bench

# Each counter waits here for the other.
MEETING = """
import pathlib, time
pathlib.Path({place!r}, {name!r}).touch()
deadline = time.monotonic() + 60
while len(list(pathlib.Path({place!r}).iterdir())) < 2:
    assert time.monotonic() < deadline, "nobody came"
    time.sleep(0.05)
"""


@pytest.fixture
def bench(prefect: None, empty_entero: Path, tmp_path: Path) -> Bench:
    return make_bench(tmp_path, empty_entero)


# What is stored


@dataclass(frozen=True)
class Finished:
    """One strain, from its reads to its types."""

    bench: Bench
    reads: str
    outcome: Any


@pytest.fixture(scope="module")
def finished(
    prefect: None, empty_entero: Path, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    bench = make_bench(tmp_path_factory.mktemp("finished"), empty_entero)
    record_statuses(bench)
    reads = bench.upload("TR_7", st=3, names=("my reads_R1.fastq.gz", "my reads_R2.fastq.gz"))
    return Finished(bench, reads, bench.assemble(reads, strain="isolate 7", user_id=55))


def record_statuses(bench: Bench) -> None:
    look = bench.isolates.look
    look.change("CREATE TABLE said (status TEXT)")
    for event in ("INSERT", "UPDATE OF status"):
        look.change(
            f"CREATE TRIGGER on_{event[:6]} AFTER {event} ON user_jobs WHEN"
            " NEW.pipeline = 'QAssembly' BEGIN INSERT INTO said VALUES (NEW.status); END"
        )


def test_an_upload_becomes_an_assembly_with_a_type(finished: Finished) -> None:
    outcome, bench = finished.outcome, finished.bench

    assert (outcome.passed, outcome.schemes, outcome.failed_schemes) == (True, ("mlst",), ())
    assert asyncio.run(children(bench)) == [f"type-{outcome.assembly}-mlst"]
    assert bench.isolates.call(outcome.assembly).results["ST"] == 3
    row = bench.row("assemblies", barcode=outcome.assembly)
    assert (row.status, row.job_id) == ("Assembled", outcome.job_id)
    assert (row.contig_number, row.total_length, row.coverage) == (3, 40_000, 30)


def test_strain_trace_and_assembly_belong_together(finished: Finished) -> None:
    row = finished.bench.row
    strain, trace, assembly = row("strains"), row("traces"), row("assemblies")

    assert (strain.strain, strain.best_assembly) == ("isolate 7", assembly.id)
    assert (trace.accession, trace.strain_id, assembly.strain_id) == (
        *("TR_7", strain.id, strain.id),
    )
    assert row("trace_assembly") == (trace.id, assembly.id)


def test_the_job_is_as_the_site_reads_it(finished: Finished) -> None:
    job = finished.bench.job
    folder = finished.bench.share / str(job.id)

    assert (job.id, job.accession) == (finished.outcome.job_id, finished.reads)
    assert (job.pipeline, job.status, job.database) == ("QAssembly", "COMPLETE", DATABASE)
    assert Path(job.output_location or "") == folder / "assembly.scaffold.fastq.gz"
    assert finished.bench.row("assemblies").file_pointer == job.output_location
    assert sorted(path.name for path in folder.iterdir()) == [
        "assembly.scaffold.fasta.gz",
        "assembly.scaffold.fastq.gz",
    ]


def test_all_that_was_done_is_of_whoever_asked(finished: Finished) -> None:
    jobs = finished.bench.isolates.look.rows("SELECT pipeline, user_id FROM user_jobs")

    assert sorted(jobs) == [("QAssembly", 55), ("nomenclature:Synthetica_mlst", 55)]


def test_job_and_flow_run_know_each_other(finished: Finished) -> None:
    jobs = finished.bench.isolates.store.jobs
    [run] = jobs.runs(finished.outcome.job_id)

    assert jobs.of_run(run) == finished.bench.job
    assert finished.bench.states([run]) == [(f"assemble-{finished.reads}", "COMPLETED")]


def test_a_job_is_queued_then_running_then_complete(finished: Finished) -> None:
    rows = finished.bench.isolates.look.rows("SELECT status FROM said")

    assert [row.status for row in rows] == ["QUEUED", "RUNNING", "COMPLETE"]


def test_the_versions_of_the_programs_are_stored_with_the_assembly(finished: Finished) -> None:
    bench = finished.bench

    assert json.loads(bench.row("assembly_evidence").tools) == [
        ["fastp", "0.23.2"],
        ["spades", "3.15.5"],
        ["minimap2", "2.24-r1122"],
        ["samtools", "1.16.1"],
    ]
    assert bench.row("assemblies").pipeline_version.split("; ")[1] == bench.job.version


def test_only_the_result_is_left(finished: Finished) -> None:
    assert list((finished.bench.share / "work").iterdir()) == []


def test_the_report_has_verdict_numbers_picture_and_a_line_with_a_link_for_each_scheme(
    finished: Finished,
) -> None:
    report, bench = finished.bench.report, finished.bench
    run = bench.isolates.call(finished.outcome.assembly).flow_run_id

    assert report.startswith(f"# isolate 7\n\n**PASSED** by the limits for {GENUS}.")
    assert "| 40,000 bp |" in report
    assert "![Contigs](data:image/png;base64," in report
    assert f"| [mlst](/runs/flow-run/{run}) | ST 3 | 7 | 0 |" in report.replace("\\", "")
    assert bench.states([run]) == [(f"type-{finished.outcome.assembly}-mlst", "COMPLETED")]
    assert str(bench.job.output_location) in report


def test_the_progress_ends_with_done(finished: Finished) -> None:
    assert finished.bench.progress == (100.0, "done")


def test_another_assembler_is_a_choice_and_is_stored(bench: Bench) -> None:
    outcome = bench.assemble(bench.upload(), assembler="megahit", type_it=False)

    assert (outcome.passed, outcome.schemes) == (True, ())
    assert bench.programs.starts("spades.py") == []
    assert ["megahit", "1.2.9"] in json.loads(bench.row("assembly_evidence").tools)
    assert bench.job.version == "megahit 1.2.9"


# The verdict


@pytest.fixture(scope="module")
def judging(prefect: None, empty_entero: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench on which Kraken looks at the species as well."""
    root = tmp_path_factory.mktemp("judging")
    bench = make_bench(root, empty_entero, toolchain={"kraken_database": str(root / "kraken")})
    for part in ("hash", "opts", "taxo"):
        (bench.kraken / f"{part}.k2d").touch()
    bench.programs.species(f"d__Bacteria|s__{GENUS} demonstrans")
    return bench


def at_the_limits(bench: Bench, **one_off: Any) -> Any:
    """Assemble a genome that is as good as its genus' limits, but for those given."""
    reads, contigs = bench.upload(), dict(bench.genome().contigs)
    longest = max(contigs, key=lambda name: len(contigs[name]))
    bench.programs.reads_over(weak={longest: (0, 2_000)})
    bench.limit(
        **{
            "min_length": 40_000,
            "max_length": 40_000,
            "max_contigs": 3,
            "min_n50": len(contigs[longest]),
            "max_low_quality_share": 0.05,
            "min_species_percent": 100,
            **one_off,
        }
    )
    return bench.assemble(reads, type_it=False)


def test_an_assembly_exactly_at_every_limit_passes(judging: Bench) -> None:
    outcome = at_the_limits(judging)

    assert (outcome.passed, outcome.reason) == (True, "")
    row = judging.row("assemblies", barcode=outcome.assembly)
    assert (row.low_qualities, row.top_species) == (2_000, f"{GENUS} demonstrans;100.00%")
    evidence = judging.row("assembly_evidence", assembly_id=row.id)
    assert ["kraken2", "2.1.2"] in json.loads(evidence.tools)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_length": 40_001, "max_length": 50_000}, "too small: 40,000 bp, at least 40,001 bp"),
        ({"min_length": 30_000, "max_length": 39_999}, "too large: 40,000 bp, at most 39,999 bp"),
        ({"max_contigs": 2}, "too many pieces: 3 contigs, at most 2"),
        ({"max_low_quality_share": 0.04999}, "of low quality: 5.000 %, at most 4.999 %"),
        ({"allowed_species": ["Demo"]}, "0.0 % of the assembly is Demo, at least 100.0 %"),
    ],
)
def test_an_assembly_just_beyond_one_limit_fails_of_that_one(
    judging: Bench, limits: dict[str, Any], reason: str
) -> None:
    outcome = at_the_limits(judging, **limits)

    assert not outcome.passed
    assert reason in outcome.reason
    assert ";" not in outcome.reason


def test_an_assembly_that_fails_is_kept_with_every_reason_and_typed_by_nothing(
    bench: Bench,
) -> None:
    bench.add_counter()
    bench.limit(min_n50=39_000, max_contigs=2)
    outcome = bench.assemble(bench.upload())

    assert (outcome.passed, outcome.schemes) == (False, ())
    assert bench.row("assemblies", barcode=outcome.assembly).status == "Failed QC"
    assert bench.row("strains").best_assembly is None
    assert [bench.isolates.look.count(t) for t in ("scheme_calls", "assembly_lookup")] == [0, 0]
    assert asyncio.run(children(bench)) == []
    assert Path(bench.job.output_location or "").is_file()
    assert bench.job.status == "COMPLETE"
    criteria = json.loads(bench.row("assembly_evidence").criteria)
    failed = {one["name"]: one["reason"] for one in criteria if one["passed"] is False}
    assert set(failed) == {"Number of contigs", "N50"}
    assert "**FAILED** by the limits" in bench.report
    assert all(reason in bench.report.replace("\\", "") for reason in failed.values())


def test_the_best_assembly_is_the_one_with_the_largest_n50_that_passed(bench: Bench) -> None:
    reads, best = bench.upload(), list[int]()
    for n_contigs, most in ((6, 10), (3, 10), (6, 10), (2, 1)):
        bench.genome(n_contigs=n_contigs)
        bench.limit(max_contigs=most)
        bench.assemble(reads, type_it=False)
        best.append(bench.row("strains").best_assembly)

    ids = [row.id for row in bench.isolates.look.rows("SELECT id FROM assemblies ORDER BY id")]
    assert best == [ids[0], ids[1], ids[1], ids[1]]


# The schemes


def test_every_scheme_of_the_database_is_called_at_once(bench: Bench) -> None:
    place = bench.isolates.root / "meeting"
    place.mkdir()
    for name in ("one", "other"):
        bench.add_counter(name, deed=MEETING.format(place=str(place), name=name))
    outcome = bench.assemble(bench.upload())

    assert (set(outcome.schemes), outcome.failed_schemes) == ({"mlst", "one", "other"}, ())
    assert bench.isolates.call(outcome.assembly, "one").results == {"contigs": 3}


def test_a_scheme_without_a_pipeline_is_not_called(bench: Bench) -> None:
    bench.add_counter("counter", pipeline=None)
    bench.isolates.load(housekeeping_scheme(name="private", seed=9), pipeline=None)

    assert bench.assemble(bench.upload()).schemes == ("mlst",)
    assert bench.isolates.look.count("assembly_lookup") == 1


def test_a_scheme_that_fails_leaves_its_siblings_complete_and_says_why(bench: Bench) -> None:
    bench.add_counter("missing")
    bench.add_counter("broken", deed="sys.exit('error: the moon is full')")
    bench.add_counter("whole")
    bench.programs.remove("missing")
    outcome = bench.assemble(bench.upload())

    assert (outcome.passed, set(outcome.failed_schemes)) == (True, {"missing", "broken"})
    calls = {name: bench.isolates.call(outcome.assembly, name) for name in outcome.schemes}
    assert {name: (call.status, call.fate) for name, call in calls.items()} == {
        "mlst": (LookupStatus.COMPLETE, None),
        "missing": (LookupStatus.FAILED, Fate.TRANSIENT),
        "broken": (LookupStatus.FAILED, Fate.PERMANENT),
        "whole": (LookupStatus.COMPLETE, None),
    }
    assert calls["missing"].reason.startswith("missing is not installed")
    assert "the moon is full" in calls["broken"].reason
    report = bench.report.replace("\\", "")
    assert "**FAILED**, permanent: broken ended with status 1: error: the moon is full" in report
    assert "**2 of 4 schemes failed**" in report
    [run] = bench.isolates.store.jobs.runs(outcome.job_id)
    assert (bench.job.status, bench.states([run])[0][1]) == ("COMPLETE", "COMPLETED")


def test_a_bug_in_one_scheme_fails_the_run_after_its_siblings_are_done(bench: Bench) -> None:
    counter = bench.add_counter()
    bench.isolates.look.change(
        "CREATE TRIGGER broken BEFORE UPDATE OF completed ON scheme_calls WHEN NEW.scheme_id ="
        f" (SELECT id FROM schemes WHERE description = '{counter}') AND NEW.completed > 0"
        " BEGIN SELECT RAISE(ABORT, 'out of order'); END"
    )
    with pytest.raises(Exception, match="out of order"):
        bench.assemble(bench.upload())

    assembly = bench.row("assemblies").barcode
    call = bench.isolates.call(assembly, counter)
    assert (call.status, call.fate) == (LookupStatus.FAILED, Fate.BUG)
    assert bench.isolates.call(assembly).status is LookupStatus.COMPLETE
    assert bench.job.status == "COMPLETE"
    assert "**PASSED**" in bench.report
