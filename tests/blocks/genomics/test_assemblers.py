"""The assemblers: their commands, how far they are, why they failed, what mends it."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import (
    InvalidRequest,
    OutputInvalid,
    ProgramError,
    ProgramFailed,
    ProgramKilled,
    ProgramTimedOut,
)
from blocks.faults import Repair, run_with_remedies
from blocks.genomics import spades
from blocks.genomics.assemblers import ASSEMBLERS
from blocks.genomics.assembly_job import AssemblerName, AssemblyJob
from blocks.genomics.running import LineProgress, version_in
from tests.fakes.reads import an_end

RECORDED = Path(__file__).parents[2] / "data" / "assembly-programs"
NAMES = tuple(ASSEMBLERS)
JOB = AssemblyJob(read1=Path("a_1.fq.gz"), read2=Path("a_2.fq.gz"), n_threads=4, memory_gb=8)


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def failure_of(name: AssemblerName, directory: Path, **end: object) -> ProgramError:
    program = ASSEMBLERS[name].program
    with pytest.raises(ProgramError) as failure:
        ASSEMBLERS[name].judge(an_end(directory, program, **end))  # pyright: ignore
    return failure.value


def mended(name: AssemblerName, error: ProgramError, job: AssemblyJob) -> AssemblyJob | None:
    """Return the job that is tried next, None if nothing is known to help."""
    fault = next((fault for fault in ASSEMBLERS[name].faults if fault.marks(error)), None)
    return fault.remedy(job) if fault else None


def a_killed_spades(directory: Path, job: AssemblyJob) -> None:
    """Leave what SPAdes leaves when it is killed."""
    for read in (job.read1, job.read2):
        (directory / read).write_bytes(b"reads")
    given = [
        str(directory / value) if value in ("a_1.fq.gz", "a_2.fq.gz", "spades") else value
        for value in spades.arguments(job)
    ]
    (directory / "spades").mkdir()
    line = "\t".join(["Command line: /usr/libexec/spades/spades.py", *given])
    (directory / "spades" / "params.txt").write_text(f"{line}\t\n\nSystem information:\n")


def test_spades_assembles_an_isolate_with_its_own_k_mers() -> None:
    assert spades.arguments(JOB) == (
        *("--isolate", "-1", "a_1.fq.gz", "-2", "a_2.fq.gz"),
        *("-t", "4", "-m", "8", "-o", "spades"),
    )


def test_spades_takes_k_mers_that_a_remedy_chose() -> None:
    assert spades.arguments(JOB.model_copy(update={"k_mers": (21, 33)}))[9:11] == ("-k", "21,33")


def test_megahit_is_told_its_memory_in_bytes() -> None:
    assert ASSEMBLERS["megahit"].arguments(JOB) == (
        *("-1", "a_1.fq.gz", "-2", "a_2.fq.gz"),
        *("-t", "4", "-m", "8000000000", "-o", "megahit"),
    )


def test_skesa_is_told_the_pair_as_one() -> None:
    assert ASSEMBLERS["skesa"].arguments(JOB) == (
        *("--reads", "a_1.fq.gz,a_2.fq.gz", "--cores", "4", "--memory", "8"),
        *("--contigs_out", "skesa.fasta"),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "path", ["a b.fq", "a,b.fq", "-o", "a;b", "$(touch x)", "a*.fq", "é.fq", "x\ny"]
)
def test_a_path_that_would_be_taken_apart_is_refused(name: AssemblerName, path: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be given to an assembler"):
        ASSEMBLERS[name].arguments(JOB.model_copy(update={"read2": Path(path)}))


@pytest.mark.parametrize(
    ("name", "stream", "sentences"),
    [
        (
            "spades",
            "spades.stdout",
            [
                *(f"assembling with k-mers of {k}/4)" for k in ("21 bases (1", "33 bases (2")),
                *(f"assembling with k-mers of {k}/4)" for k in ("55 bases (3", "77 bases (4")),
                "writing contigs",
            ],
        ),
        (
            "megahit",
            "megahit.stderr",
            [
                *(f"assembling with k-mers of {k} bases" for k in (21, 29, 39, 59, 79, 99)),
                *(f"assembling with k-mers of {k} bases" for k in (119, 141)),
                "writing contigs",
            ],
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_the_progress_of_a_recorded_run_rises_to_the_end(
    name: AssemblerName, stream: str, sentences: list[str], size: int
) -> None:
    told = list[tuple[float, str]]()
    progress = LineProgress(ASSEMBLERS[name].progress(), lambda *step: told.append(step))
    text = recorded(stream)

    for start in range(0, len(text), size):
        progress.read(text[start : start + size])

    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert fractions[-1] == 0.98
    assert list(dict.fromkeys(sentence for _, sentence in told)) == sentences


def test_the_progress_of_skesa_is_counted_in_graphs() -> None:
    told = list[tuple[float, str]]()
    progress = LineProgress(ASSEMBLERS["skesa"].progress(), lambda *step: told.append(step))

    progress.read(recorded("skesa.stderr"))

    assert told[0] == (0.0, "assembling with k-mers of 21 bases")
    assert (0.44, "joining pairs over 21 bases") in told
    assert told[-1] == (0.98, "writing contigs")
    assert len(told) == 26


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("left", [None, b""])
def test_success_without_contigs_is_no_success(
    tmp_path: Path, name: AssemblerName, left: bytes | None
) -> None:
    contigs = ASSEMBLERS[name].contigs(tmp_path)
    contigs.parent.mkdir(exist_ok=True)
    if left is not None:
        contigs.write_bytes(left)

    error = failure_of(name, tmp_path)

    assert isinstance(error, OutputInvalid)
    assert f"ended with status 0, but {contigs.name} is missing or empty" in str(error)


@pytest.mark.parametrize("name", NAMES)
def test_contigs_of_a_run_that_failed_are_not_taken(tmp_path: Path, name: AssemblerName) -> None:
    contigs = ASSEMBLERS[name].contigs(tmp_path)
    contigs.parent.mkdir(exist_ok=True)
    contigs.write_bytes(b">1\nACGT\n")

    error = failure_of(name, tmp_path, exit_status=1)

    assert isinstance(error, ProgramFailed)
    assert "gave no reason" in str(error)


def test_spades_says_which_reads_it_cannot_take(tmp_path: Path) -> None:
    text = (
        "  0:00:00.005    63M / 63M   ERROR   General                 "
        "(paired_readers.cpp        :  39)   The number of left read-pairs is larger\n\n"
        "== Error ==  system call for: [...] finished abnormally, OS return value: 2\n"
    )

    error = failure_of("spades", tmp_path, stdout=text, exit_status=2)

    assert str(error) == "spades.py: The number of left read-pairs is larger"
    assert mended("spades", error, JOB) is None


def test_spades_with_too_few_reads_is_tried_with_ever_shorter_k_mers(tmp_path: Path) -> None:
    tried = list[tuple[int, ...]]()

    async def run(job: AssemblyJob, _number: int) -> None:
        tried.append(job.k_mers)
        raise failure_of("spades", tmp_path, stdout=recorded("spades-thin.stdout"), exit_status=21)

    async def say_nothing(_repair: Repair) -> None:
        pass

    faults = ASSEMBLERS["spades"].faults
    again = run_with_remedies(run, JOB, faults, max_tries=9, on_repair=say_nothing)
    with pytest.raises(ProgramFailed, match="too few reads for k-mers as long as these"):
        asyncio.run(again)

    assert tried == [(), (21, 33, 55, 77), (21, 33, 55), (21, 33)]


def test_progress_never_goes_back() -> None:
    told = list[tuple[float, str]]()
    steps = {"half": (0.5, "half"), "back": (0.2, "back"), "over": (1.2, "over")}
    progress = LineProgress(steps.get, lambda *step: told.append(step))

    progress.read("half\nnothing\nback\nover\n")

    assert told == [(0.5, "half"), (0.5, "back"), (1.0, "over")]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("spades", {"stdout": recorded("spades-killed.stdout"), "exit_status": 247}),
        ("spades", {"exit_status": None, "signal": 9}),
        ("megahit", {"stderr": recorded("megahit-killed.stderr"), "exit_status": 247}),
        ("skesa", {"stderr": "std::bad_alloc\n", "exit_status": 1}),
        ("skesa", {"exit_status": None, "signal": 9}),
    ],
)
def test_an_assembler_that_ran_out_of_memory_is_tried_with_less(
    tmp_path: Path, name: AssemblerName, end: dict[str, object]
) -> None:
    error = failure_of(name, tmp_path, **end)

    assert mended(name, error, JOB) == JOB.model_copy(update={"n_threads": 2, "memory_gb": 4})
    least = JOB.model_copy(update={"n_threads": 1, "memory_gb": 1})
    assert mended(name, error, least) is None


@pytest.mark.parametrize(
    ("exception", "helps"), [("std::bad_alloc", True), ("Cannot open file x", False)]
)
def test_what_broke_megahit_is_read_from_its_log(
    tmp_path: Path, exception: str, helps: bool
) -> None:
    (tmp_path / "megahit").mkdir()
    log = f"... - b'  what():  {exception}'\n... - Error occurs\n... - Command: x; Exit code -6\n"
    (tmp_path / "megahit" / "log").write_text(log)

    error = failure_of("megahit", tmp_path, stderr="Command: x; Exit code -6\n", exit_status=250)

    assert str(error) == f"megahit: {exception}"
    assert (mended("megahit", error, JOB) is not None) == helps


@pytest.mark.parametrize("name", ["we ird", "a,b"])
def test_megahit_is_not_started_where_it_cannot_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"megahit cannot work in .* without blanks"):
        ASSEMBLERS["megahit"].prepare(JOB, tmp_path / name)
    assert ASSEMBLERS["spades"].prepare(JOB, tmp_path / name) == spades.arguments(JOB)


def test_spades_at_its_own_limit_keeps_the_memory_and_takes_fewer_threads(tmp_path: Path) -> None:
    error = failure_of(
        "spades", tmp_path, stdout="Not enough memory to run SPAdes. \n", exit_status=12
    )

    assert mended("spades", error, JOB) == JOB.model_copy(update={"n_threads": 2})


def test_skesa_with_too_little_memory_tells_a_person_so(tmp_path: Path) -> None:
    text = recorded("skesa-little-memory.stderr")

    error = failure_of("skesa", tmp_path, stderr=text, exit_status=1)

    assert str(error).startswith("skesa: Memory provided is insufficient")
    assert mended("skesa", error, JOB) is None


def test_a_killed_spades_is_continued(tmp_path: Path) -> None:
    a_killed_spades(tmp_path, JOB)

    assert ASSEMBLERS["spades"].prepare(JOB, tmp_path) == ("--continue", "-o", "spades")
    assert (tmp_path / "spades" / "params.txt").exists()


def _other_threads(directory: Path) -> AssemblyJob:
    return JOB.model_copy(update={"n_threads": 2})


def _other_reads(directory: Path) -> AssemblyJob:
    os.utime(directory / JOB.read2, (2e9, 2e9))
    return JOB


def _lost_reads(directory: Path) -> AssemblyJob:
    (directory / JOB.read1).unlink()
    return JOB


def _moved(directory: Path) -> AssemblyJob:
    record = directory / "spades" / "params.txt"
    record.write_text(record.read_text().replace(str(directory), "/elsewhere"))
    return JOB


def _no_record(directory: Path) -> AssemblyJob:
    (directory / "spades" / "params.txt").unlink()
    return JOB


def _not_wanted(directory: Path) -> AssemblyJob:
    return JOB.model_copy(update={"resume": False})


@pytest.mark.parametrize(
    "changed", [_other_threads, _other_reads, _lost_reads, _moved, _no_record, _not_wanted]
)
def test_a_killed_spades_of_another_job_is_removed_and_begun_anew(
    tmp_path: Path, changed: Callable[[Path], AssemblyJob]
) -> None:
    a_killed_spades(tmp_path, JOB)
    job = changed(tmp_path)

    assert ASSEMBLERS["spades"].prepare(job, tmp_path) == spades.arguments(job)
    assert not (tmp_path / "spades").exists()


def test_a_continued_spades_that_fails_is_begun_anew_once(tmp_path: Path) -> None:
    run = an_end(tmp_path, "spades.py", "--continue", "-o", "spades", exit_status=1)
    with pytest.raises(ProgramFailed) as failure:
        ASSEMBLERS["spades"].judge(run)

    again = mended("spades", failure.value, JOB)

    assert again is not None
    assert again == JOB.model_copy(update={"resume": False})
    assert mended("spades", failure.value, again) is None


@pytest.mark.parametrize(
    ("name", "old"), [("megahit", "megahit/final.contigs.fa"), ("skesa", "skesa.fasta")]
)
def test_what_another_run_left_is_never_taken_for_new_contigs(
    tmp_path: Path, name: AssemblerName, old: str
) -> None:
    (tmp_path / old).parent.mkdir(exist_ok=True)
    (tmp_path / old).write_text(">old\nACGT\n")

    arguments = ASSEMBLERS[name].prepare(JOB, tmp_path)

    assert arguments == ASSEMBLERS[name].arguments(JOB)
    assert not (tmp_path / ASSEMBLERS[name].output).exists()


def test_the_time_limit_is_told_from_a_kill(tmp_path: Path) -> None:
    run = an_end(tmp_path, "spades.py", exit_status=None, signal=15)

    with pytest.raises(ProgramTimedOut):
        ASSEMBLERS["spades"].judge(run.model_copy(update={"ended_by": "timeout"}))
    with pytest.raises(ProgramKilled, match="killed by signal 15"):
        ASSEMBLERS["spades"].judge(run)


def test_spades_warnings_are_told_once_without_their_time(tmp_path: Path) -> None:
    (tmp_path / "spades").mkdir()
    (tmp_path / "spades" / "warnings.log").write_text(recorded("spades-thin.stdout"))

    assert spades.warnings(tmp_path)[:2] == (
        "The determined erroneous connection coverage threshold may be determined improperly",
        "Valley value was estimated improperly, reset to 4",
    )
    assert spades.warnings(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("spades", "SPAdes genome assembler v3.15.5\n", "3.15.5"),
        ("megahit", "MEGAHIT v1.2.9\n", "1.2.9"),
        ("skesa", "SKESA 2.4.0\nskesa --version \n", "2.4.0"),
    ],
)
def test_versions_are_found_in_what_programs_say(
    name: AssemblerName, text: str, version: str
) -> None:
    assert version_in(text, ASSEMBLERS[name].version_pattern) == version
    with pytest.raises(OutputInvalid, match="another program of the same name"):
        version_in("no such option", ASSEMBLERS[name].version_pattern)
