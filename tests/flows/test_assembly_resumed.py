"""Assemblies that are stopped, and started again: nothing is done twice, nothing stays behind."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import AlreadyRunning, ProgramFailed
from tests.fakes.served import processes_of, wait_for
from tests.flows.strains import Bench, make_bench

Change = Callable[[Bench, Path], object]


@pytest.fixture
def bench(prefect: None, empty_entero: Path, tmp_path: Path) -> Bench:
    return make_bench(tmp_path, empty_entero)


def starts(bench: Bench) -> dict[str, int]:
    """Return how often each program was started."""
    return {name: len(bench.programs.starts(name)) for name in ("fastp", "spades.py", "samtools")}


def killed(bench: Bench, reads: str, deed: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Assemble reads in a process that gets a signal while SPAdes is at work."""
    bench.programs.plan("spades.py", deed, "good")
    with bench.running("isolate", "assemble", reads) as process:
        wait_for(lambda: bench.programs.starts("spades.py"))
        os.kill(process.pid, number)
        process.wait(60)


# Killed


def test_what_a_killed_run_finished_is_taken_over_and_its_job_is_closed(bench: Bench) -> None:
    reads = bench.upload()
    killed(bench, reads, "hang")
    wait_for(lambda: not processes_of(bench.share))
    left = bench.job
    outcome = bench.assemble(reads)

    assert left.status == "RUNNING"  # whoever is killed closes nothing
    assert [job.status for job in bench.jobs] == ["FAILED", "COMPLETE"]
    assert (outcome.passed, outcome.schemes) == (True, ("mlst",))
    assert starts(bench) == {"fastp": 1, "spades.py": 2, "samtools": 2}
    assert bench.programs.starts("spades.py")[1] == ["--continue", "-o", "spades"]
    assert bench.isolates.look.count("assemblies") == 1
    assert list((bench.share / "work").iterdir()) == []


def test_a_new_run_waits_until_the_programs_of_a_killed_one_are_gone(bench: Bench) -> None:
    import flows.assemble_strain  # noqa: F401, PLC0415 - takes longer than SPAdes lives on

    reads = bench.upload()
    killed(bench, reads, "hang on")  # SIGTERM does not end it, SIGKILL comes 5 s later
    assert processes_of(bench.share)
    outcome = bench.assemble(reads, type_it=False)

    assert outcome.passed  # the stand-in refuses to work beside another one
    assert starts(bench)["spades.py"] == 2


def test_a_run_that_is_killed_while_its_schemes_are_called_assembles_nothing_again(
    bench: Bench,
) -> None:
    reads = bench.upload()
    bench.add_counter(deed="import time; time.sleep(1000)")
    with bench.running("isolate", "assemble", reads) as process:
        wait_for(lambda: any("counter" in one for one in processes_of(bench.share).values()))
        process.kill()
    bench.add_counter()
    outcome = bench.assemble(reads)

    assert (outcome.passed, outcome.failed_schemes) == (True, ())
    assert starts(bench) == {"fastp": 1, "spades.py": 1, "samtools": 2}
    assert [job.status for job in bench.jobs] == ["COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_closes_its_job_and_leaves_no_process(
    bench: Bench, number: signal.Signals
) -> None:
    reads = bench.upload()
    killed(bench, reads, "hang", number)

    assert bench.job.status == "FAILED"
    assert processes_of(bench.share) == {}


# Failed


def test_the_steps_before_a_failure_are_taken_over_by_the_next_run(bench: Bench) -> None:
    reads = bench.upload()
    bench.programs.plan("spades.py", "unknown", "good")
    with pytest.raises(ProgramFailed):
        bench.assemble(reads)
    outcome = bench.assemble(reads, type_it=False)

    assert outcome.passed
    assert starts(bench) == {"fastp": 1, "spades.py": 2, "samtools": 2}
    assert [job.status for job in bench.jobs] == ["FAILED", "COMPLETE"]


def in_work(bench: Bench) -> Path:
    """Return the only working directory."""
    [working] = (bench.share / "work").iterdir()
    return working


def other_reads(bench: Bench, _: Path) -> object:
    return bench.upload(st=2)


def other_fastp(bench: Bench, _: Path) -> object:
    return bench.programs.version("fastp", "fastp 0.24.0")


def other_spades(bench: Bench, _: Path) -> object:
    return bench.programs.version("spades.py", "SPAdes genome assembler v4.0.0")


def no_contigs(_: Bench, working: Path) -> object:
    return (working / "spades" / "contigs.fasta").unlink()


def cut_reads(_: Bench, working: Path) -> object:
    return (working / "trimmed_1.fastq.gz").write_bytes(b"")


def broken_stamps(_: Bench, working: Path) -> object:
    return [path.write_text("{}") for path in working.glob("*.done.json")]


def nothing(_: Bench, __: Path) -> object:
    return None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (nothing, {"fastp": 1, "spades.py": 1}),
        (other_reads, {"fastp": 2, "spades.py": 2}),
        (other_fastp, {"fastp": 2, "spades.py": 2}),
        (other_spades, {"fastp": 1, "spades.py": 2}),
        (no_contigs, {"fastp": 1, "spades.py": 2}),
        (cut_reads, {"fastp": 2, "spades.py": 2}),
        (broken_stamps, {"fastp": 2, "spades.py": 2}),
    ],
)
def test_a_step_is_done_again_when_what_went_into_it_or_came_of_it_has_changed(
    bench: Bench, change: Change, expected: dict[str, int]
) -> None:
    reads = bench.upload()
    bench.programs.plan("minimap2", "nothing", "good")
    with pytest.raises(Exception, match=r"mapped\.sam is missing"):
        bench.assemble(reads)
    change(bench, in_work(bench))
    bench.programs.version("minimap2", "2.24-r1122")
    outcome = bench.assemble(reads, type_it=False)

    assert outcome.passed
    assert {name: starts(bench)[name] for name in expected} == expected


# Twice


def test_the_same_reads_again_are_a_second_job_and_a_second_assembly(bench: Bench) -> None:
    reads = bench.upload()
    first, second = [bench.assemble(reads, type_it=False) for _ in range(2)]

    assert [job.id for job in bench.jobs] == [first.job_id, second.job_id]
    assert first.assembly != second.assembly
    assert starts(bench)["spades.py"] == 2
    files = [Path(job.output_location or "") for job in bench.jobs]
    assert [path.parent.name for path in files] == [str(first.job_id), str(second.job_id)]
    assert bench.isolates.look.count("strains") == 1


def test_of_two_runs_of_the_same_reads_at_once_one_assembles_and_the_other_says_so(
    bench: Bench,
) -> None:
    reads = bench.upload()

    async def both() -> list[Any]:
        runs = (bench.assembling(reads) for _ in range(2))
        return await asyncio.gather(*runs, return_exceptions=True)

    outcomes = asyncio.run(both())
    [refused] = [one for one in outcomes if isinstance(one, AlreadyRunning)]
    [outcome] = [one for one in outcomes if not isinstance(one, Exception)]

    assert str(refused).startswith("another run works on the same reads")
    assert outcome.passed
    assert starts(bench)["spades.py"] == 1
    status = {job.id: job.status for job in bench.jobs}
    assert status.pop(outcome.job_id) == "COMPLETE"
    assert list(status.values()) == ["FAILED"]


def test_a_run_beside_one_that_hangs_is_refused_and_leaves_it_untouched(bench: Bench) -> None:
    reads = bench.upload()
    bench.programs.plan("spades.py", "hang")
    with bench.running("isolate", "assemble", reads) as process:
        wait_for(lambda: bench.programs.starts("spades.py"))
        with pytest.raises(AlreadyRunning):
            bench.assemble(reads)
        statuses = [job.status for job in bench.jobs]
        alive, working = process.poll() is None, len(processes_of(bench.share))

    assert statuses == ["RUNNING", "FAILED"]
    assert alive
    assert working == 3  # guard, SPAdes, its child
    wait_for(lambda: not processes_of(bench.share))


def test_two_strains_at_once_do_not_meet(bench: Bench) -> None:
    uploads = [bench.upload(f"TR{number}") for number in (1, 2)]

    async def both() -> list[Any]:
        return await asyncio.gather(*(bench.assembling(reads) for reads in uploads))

    outcomes = asyncio.run(both())

    assert [one.passed for one in outcomes] == [True, True]
    assert bench.isolates.look.count("strains") == 2
    rows = bench.isolates.look.rows("SELECT strain_id, file_pointer FROM assemblies")
    assert len({*rows}) == 2
