import asyncio
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from blocks.errors import OutputInvalid, ProgramError, ProgramFailed, ProgramKilled
from blocks.faults import Repair, run_with_remedies
from blocks.mx import xia2
from blocks.mx.xia2 import CRASHED_WORKER, FAULTS, OUT_OF_MEMORY, Progress, Xia2Job
from tests.fakes.xia2_runs import GOOD, RECORDED, a_run, recorded_run

SHARED = Path(__file__).parents[4] / "shared" / "data" / "xia2-runs"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the full recordings lie beside the repository, in ../shared"
)
FREERFLAG = "executable freerflag does not exist in PATH"

# What each recorded run is, and the reason that a user is told.
VERDICTS: dict[str, tuple[type[ProgramError], str]] = {
    "fail_bad_pipeline": (
        ProgramFailed,
        "Not a possible choice for xia2.settings.pipeline: banana (command line argument, line 1)",
    ),
    "fail_bad_sg": (ProgramFailed, "cctbx Error: Space group symbol not recognized: Pbanana"),
    "fail_blank20": (ProgramFailed, "Spotfinding failed: 2_SWEEP1_strong.refl does not exist."),
    "fail_corrupt_frame": (
        ProgramFailed,
        "dials.find_spots subprocess failed with exitcode 1: see /runs/fail_corrupt_frame/DEFAULT/"
        "NATIVE/SWEEP1/index/2_dials.find_spots.log for more details",
    ),
    "fail_junk_h5": (ProgramFailed, "Provided input files not master files:"),
    "fail_missing_image": (
        ProgramFailed,
        "Could not find /data/sim1/nope_0001.cbf in /runs/fail_missing_image",
    ),
    "fail_no_ccp4_env": (
        ProgramFailed,
        "Error setting up xia2 environment: CCP4 not defined - is CCP4 set up?",
    ),
    "fail_no_freerflag": (ProgramFailed, FREERFLAG),
    "fail_nonsense_param": (ProgramFailed, "Unknown command-line options: wibble=3"),
    "fail_one_image": (ProgramFailed, FREERFLAG),
    "fail_range_beyond": (ProgramFailed, "no Integrater implementations assigned for scaling"),
    "fail_stills_19": (
        ProgramFailed,
        "only sweeps, not stills, can be processed. Perhaps try xia2.ssx?",
    ),
    "few_3_images": (
        ProgramFailed,
        "dials.symmetry terminated with an error: see /runs/few_3_images/DEFAULT/scale/"
        "13_dials.symmetry.log for more details",
    ),
    "ok_continue_after_failures": (
        OutputInvalid,
        "xia2 ended with status 0, but left xia2-error.txt: it is of this or another attempt",
    ),
    "ok_version": (OutputInvalid, "xia2 ended with status 0, but did not terminate normally"),
    "sigterm_main": (ProgramKilled, "xia2 was killed by signal 15"),
}
CASES = sorted(VERDICTS)
SHARED_RUNS = sorted(path.parent.relative_to(SHARED) for path in SHARED.glob("**/result.txt"))


def error_of(record: Path, directory: Path) -> ProgramError:
    """Return what a recorded run is judged to have failed of."""
    with pytest.raises(ProgramError) as caught:
        xia2.check(recorded_run(record, directory))
    return caught.value


def failed(directory: Path, message: str = "it failed") -> ProgramFailed:
    return ProgramFailed(message, program="xia2", directory=directory)


def a_job(n_processes: int = 8) -> Xia2Job:
    return Xia2Job(arguments=("nproc=8", "image=a:1:9", "d_min=2"), n_processes=n_processes)


def told(text: str, *, size: int, n_sweeps: int = 1) -> list[tuple[float, str]]:
    """Return what is told of an output that comes in pieces of this size."""
    heard = list[tuple[float, str]]()
    progress = Progress(n_sweeps, lambda fraction, doing: heard.append((fraction, doing)))
    for start in range(0, len(text), size):
        progress.read(text[start : start + size])
    return heard


def output_of(record: Path) -> str:
    """Return standard output as it came, with the carriage returns of its progress bars."""
    return (record / "stdout.txt").read_bytes().decode()


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_run_that_failed_is_told_with_its_own_reason(case: str, tmp_path: Path) -> None:
    error = error_of(RECORDED / "cases" / case, tmp_path)

    assert (type(error), str(error)) == VERDICTS[case]


def test_no_recorded_run_is_left_out() -> None:
    assert sorted(path.name for path in (RECORDED / "cases").iterdir()) == CASES


def test_a_recorded_run_that_succeeded_passes(tmp_path: Path) -> None:
    run = recorded_run(RECORDED / GOOD, tmp_path)

    xia2.check(run)  # raises nothing
    assert run.exit_status == 0


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("xia2.json", "xia2.json is missing"),
        ("DataFiles", "DataFiles is missing"),
        ("LogFiles", "LogFiles is missing"),
        ("xia2.txt", "did not terminate normally"),
    ],
)
def test_a_success_without_its_output_is_refused(
    missing: str, problem: str, tmp_path: Path
) -> None:
    run = recorded_run(RECORDED / GOOD, tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")

    with pytest.raises(OutputInvalid, match=f"^xia2 ended with status 0, but {problem}$"):
        xia2.check(run)


@pytest.mark.parametrize("name", ["xia2-error.txt", "xia2.error"])
def test_a_success_beside_an_old_error_file_is_refused(name: str, tmp_path: Path) -> None:
    run = recorded_run(RECORDED / GOOD, tmp_path)
    (tmp_path / name).touch()

    with pytest.raises(OutputInvalid, match=f"left {name}"):
        xia2.check(run)


@pytest.mark.parametrize("end", ["Status: error", "Status: normal termination\nand then more"])
def test_a_success_is_said_in_the_last_line(end: str, tmp_path: Path) -> None:
    run = recorded_run(RECORDED / GOOD, tmp_path)
    (tmp_path / "xia2.txt").write_text(f"Status: normal termination\n{end}\n\n")

    with pytest.raises(OutputInvalid, match="did not terminate normally"):
        xia2.check(run)


@pytest.mark.parametrize(
    ("seen", "number"),
    [
        ({"exit_status": None, "signal": 9}, 9),
        ({"exit_status": None, "signal": 15}, 15),
        ({"exit_status": 137}, 9),
    ],
)
def test_a_signal_is_named_even_if_all_output_is_there(
    seen: dict[str, int | None], number: int, tmp_path: Path
) -> None:
    recorded_run(RECORDED / GOOD, tmp_path)

    with pytest.raises(ProgramKilled, match=f"^xia2 was killed by signal {number}$"):
        xia2.check(a_run(tmp_path, **seen))


# 255 is what `sys.exit(-1)` and wrappers such as ssh and srun end with; signals go to 64.
@pytest.mark.parametrize("status", [2, 128, 200, 255])
def test_a_status_that_is_no_signal_is_a_failure(status: int, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=f"ended with status {status}"):
        xia2.check(a_run(tmp_path, exit_status=status))


def test_a_file_that_is_no_hdf5_master_is_named_in_the_full_reason(tmp_path: Path) -> None:
    run = recorded_run(RECORDED / "cases" / "fail_junk_h5", tmp_path)

    assert xia2.full_reason(run) == run.stderr.read_text().strip()
    assert "/data/bad/junk_master.h5" in xia2.full_reason(run)


def test_the_full_reason_has_all_lines_but_not_the_request_for_files(tmp_path: Path) -> None:
    choices = recorded_run(RECORDED / "cases" / "fail_bad_pipeline", tmp_path)
    (tmp_path / "other").mkdir()
    blank = recorded_run(RECORDED / "cases" / "fail_blank20", tmp_path / "other")

    assert "    dials-aimless" in xia2.full_reason(choices)
    assert xia2.full_reason(blank) == VERDICTS["fail_blank20"][1]


def test_of_several_errors_the_last_is_the_reason(tmp_path: Path) -> None:
    run = a_run(tmp_path, exit_status=1)
    (tmp_path / "xia2.txt").write_text("Error: no spots in SWEEP1\nError: no sweeps left\n")

    assert xia2.full_reason(run) == "no sweeps left"


def test_a_run_that_says_nothing_has_a_reason_too(tmp_path: Path) -> None:
    run = a_run(tmp_path, exit_status=1)

    assert xia2.reason(run) == "xia2 ended with status 1 and gave no reason"


def test_a_reason_on_standard_output_only_is_found(tmp_path: Path) -> None:
    run = recorded_run(RECORDED / "cases" / "fail_bad_sg", tmp_path)
    (tmp_path / "xia2.txt").unlink()

    assert xia2.reason(run) == VERDICTS["fail_bad_sg"][1]


# A broken installation ends so: xia2 cannot even be imported.
def test_the_reason_of_a_traceback_is_its_last_line(tmp_path: Path) -> None:
    run = a_run(tmp_path, exit_status=1)
    lines = ["Traceback (most recent call last):", '  File "/opt/xia2", line 5, in <module>']
    run.stderr.write_text("\n".join([*lines, "ModuleNotFoundError: No module named 'xia2'\n"]))

    assert xia2.reason(run) == "ModuleNotFoundError: No module named 'xia2'"


@pytest.mark.parametrize("case", CASES)
def test_no_recorded_failure_is_tried_again(case: str, tmp_path: Path) -> None:
    error = error_of(RECORDED / "cases" / case, tmp_path)

    assert [fault.name for fault in FAULTS if fault.marks(error)] == []


@pytest.mark.parametrize(
    "line", ["MemoryError", "RuntimeError: std::bad_alloc", "OSError: Cannot allocate memory"]
)
@pytest.mark.parametrize("name", ["xia2-error.txt", "DEFAULT/13_dials.integrate.log"])
def test_a_want_of_memory_is_known_by_the_error_file_and_the_log_it_points_at(
    name: str, line: str, tmp_path: Path
) -> None:
    log = tmp_path / "DEFAULT" / "13_dials.integrate.log"
    log.parent.mkdir()
    (tmp_path / name).write_text(f"Traceback (most recent call last):\n{line}\n")

    assert OUT_OF_MEMORY.marks(failed(tmp_path, f"dials.integrate: see {log} for more details"))


def test_a_program_that_the_kernel_killed_wanted_memory(tmp_path: Path) -> None:
    killed = ProgramKilled("xia2 was killed by signal 9", directory=tmp_path)
    terminated = ProgramKilled("xia2 was killed by signal 15", directory=tmp_path)

    assert OUT_OF_MEMORY.marks(killed)
    assert not OUT_OF_MEMORY.marks(terminated)


# xia2's Driver/DefaultDriver.py, check_return_code: what it says of a child that got SIGKILL.
def test_a_dials_program_that_the_kernel_killed_wanted_memory(tmp_path: Path) -> None:
    log = tmp_path / "DEFAULT" / "12_dials.integrate.log"

    assert OUT_OF_MEMORY.marks(
        failed(tmp_path, f"dials.integrate killed: see {log} for more details")
    )


@pytest.mark.parametrize(
    "line",
    [
        "concurrent.futures.process.BrokenProcessPool: A process in the process pool was",
        "A process in the process pool was terminated abruptly while the future was running",
    ],
)
def test_a_crashed_worker_process_is_known_by_the_error_file(line: str, tmp_path: Path) -> None:
    (tmp_path / "xia2-error.txt").write_text(line)

    assert CRASHED_WORKER.marks(failed(tmp_path))
    assert not OUT_OF_MEMORY.marks(failed(tmp_path))


@pytest.mark.parametrize("log", ["{outside}/other.log", "{outside}/mine/../other.log"])
def test_a_log_outside_the_directory_is_not_read(log: str, tmp_path: Path) -> None:
    (tmp_path / "other.log").write_text("MemoryError")
    (tmp_path / "mine").mkdir()
    message = f"dials.scale failed: see {log.format(outside=tmp_path)} for more details"

    assert not OUT_OF_MEMORY.marks(failed(tmp_path / "mine", message))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_remedy_halves_the_processes_and_says_so_last(fault: xia2.Fault[Xia2Job]) -> None:
    once = fault.remedy(a_job(8))
    assert once is not None
    twice = fault.remedy(once)

    assert once.argv == ("xia2", "nproc=8", "image=a:1:9", "d_min=2", "nproc=4")
    assert twice is not None
    assert (twice.n_processes, twice.argv[-2:]) == (2, ("d_min=2", "nproc=2"))


def test_one_process_that_wants_memory_has_no_remedy_but_a_crash_is_tried_again() -> None:
    assert OUT_OF_MEMORY.remedy(a_job(1)) is None
    assert CRASHED_WORKER.remedy(a_job(1)) == a_job(1)


async def note(_repair: Repair) -> None:
    """Take note of a repair; what it says is tested with the faults."""


def tries_of(error: ProgramError, job: Xia2Job, *, max_tries: int) -> list[int]:
    """Return with how many processes a job was tried that always ends with this error."""
    tries = list[int]()

    async def fail(tried: Xia2Job, _number: int) -> None:
        tries.append(tried.n_processes)
        raise error

    mended = run_with_remedies(fail, job, FAULTS, max_tries=max_tries, on_repair=note)
    with pytest.raises(type(error)):
        asyncio.run(mended)
    return tries


@pytest.mark.parametrize(
    ("n_processes", "max_tries", "tries"),
    [(16, 9, [16, 8, 4]), (16, 2, [16, 8]), (3, 9, [3, 1]), (1, 9, [1])],
)
def test_a_want_of_memory_is_mended_within_bounds(
    n_processes: int, max_tries: int, tries: list[int]
) -> None:
    error = ProgramKilled("xia2 was killed by signal 9")

    assert tries_of(error, a_job(n_processes), max_tries=max_tries) == tries


def test_an_error_of_the_data_is_tried_once(tmp_path: Path) -> None:
    error = error_of(RECORDED / "cases" / "fail_stills_19", tmp_path)

    assert tries_of(error, a_job(), max_tries=9) == [8]


@pytest.mark.parametrize("size", [1, 7, 61, 997, 10**6])
def test_progress_is_read_from_the_output_however_it_is_cut(size: int) -> None:
    heard = told(output_of(RECORDED / GOOD), size=size)
    phases = [doing for doing, _ in groupby(doing for _, doing in heard)]

    assert all(before[0] <= after[0] for before, after in pairwise(heard))
    assert phases[-7:] == [
        *("Spotfinding SWEEP1", "Autoindexing SWEEP1", "Integrating SWEEP1"),
        *("Preparing DEFAULT", "Scaling DEFAULT"),
        *("Systematic absences check", "Unit cell refinement"),
    ]


def test_image_headers_are_read_before_the_first_phase() -> None:
    heard = told(output_of(RECORDED / GOOD), size=200)

    assert heard[0] == (0.0, "reading image headers")
    assert heard[-1][0] > 0.9


def test_a_run_that_was_ended_was_no_further_than_its_last_phase() -> None:
    fraction, doing = told(output_of(RECORDED / "cases" / "sigterm_main"), size=100)[-1]

    assert doing == "Autoindexing SWEEP1"
    assert 0 < fraction < 0.5


def test_sweeps_share_the_part_of_a_run_before_scaling() -> None:
    steps = [f"---- {phase} SWEEP{n} ----\n" for phase in xia2.PHASES for n in (1, 2, 3)]
    heard = told("".join(steps), size=5, n_sweeps=3)
    before_scaling = [fraction for fraction, doing in heard if "Integrating" in doing]

    assert [fraction for fraction, _ in heard] == sorted(fraction for fraction, _ in heard)
    assert len(set(before_scaling)) == 3
    assert max(before_scaling) < xia2.SWEEP_PHASES_END


@needs_shared
@pytest.mark.parametrize("name", SHARED_RUNS, ids=str)
def test_every_run_in_the_full_recordings_comes_out_right(name: Path, tmp_path: Path) -> None:
    try:
        xia2.check(recorded_run(SHARED / name, tmp_path))
        verdict = None
    except ProgramError as error:
        verdict = (type(error), str(error))

    assert verdict == VERDICTS.get(name.name)


@needs_shared
def test_our_copies_of_the_recordings_are_the_originals() -> None:
    rewritten = ("xia2.json", "xia2-report.json")
    ours = [path for path in RECORDED.rglob("*/*") if path.is_file() and path.name not in rewritten]

    for path in ours:
        assert path.read_bytes() == (SHARED / path.relative_to(RECORDED)).read_bytes()
