"""xia2 3.x: its command line, its progress, its verdict on itself, its known faults.

Source: xia2's `Handlers/CommandLine.py` and `cli/xia2_main.py`; recorded runs of 3.28/3.29.
Manual: https://xia2.github.io
"""

import re
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from blocks.errors import OutputInvalid, ProgramError, ProgramFailed, ProgramKilled
from blocks.faults import Fault
from blocks.mx.images import image_argument
from blocks.mx.recipe import Recipe, fixed_arguments
from blocks.mx.records import ProcessingJob
from blocks.program import Program, Run, run_program
from blocks.record import Record

# The keys that SynchWeb offers, and where xia2's PHIL has them. Short names are matched fuzzily
# by PHIL and some are ambiguous, so the full path is given.
PHIL_PATHS = {
    "d_min": "xia2.settings.resolution.d_min",
    "d_max": "xia2.settings.resolution.d_max",
    "cc_half": "xia2.settings.resolution.cc_half",
    "isigma": "xia2.settings.resolution.isigma",
    "misigma": "xia2.settings.resolution.misigma",
    "spacegroup": "xia2.settings.space_group",
    "unit_cell": "xia2.settings.unit_cell",
    "small_molecule": "xia2.settings.small_molecule",
    "sigma_strong": "dials.find_spots.sigma_strong",
    "method": "dials.index.method",
    "absorption_level": "dials.scale.physical_model.absorption_level",
}
LAST_SIGNAL = 64
ERROR_FILES = ("xia2-error.txt", "xia2.error")
NORMAL_TERMINATION = "Status: normal termination"
REQUIRED_OUTPUTS = ("xia2.json", "DataFiles", "LogFiles")

# xia2's own headings, in order, and how much of a run is over when each begins. From the timing
# report of a recorded run of one sweep; several sweeps share the part up to "Preparing".
PHASES = {
    "Spotfinding": 0.01,
    "Autoindexing": 0.18,
    "Integrating": 0.60,
    "Preparing": 0.77,
    "Scaling": 0.83,
    "Systematic absences check": 0.94,
    "Unit cell refinement": 0.95,
}
SWEEP_PHASES_END = PHASES["Preparing"]
HEADING = re.compile(r"^-{3,} (\S.*?) -{3,}$", re.MULTILINE)
PROGRESS_BAR = re.compile(r"(\d+)%\|")


Tell = Callable[[float, str], None]
Marks = Callable[[ProgramError], bool]


class Xia2Job(Record):
    """One call of xia2: everything that its command line says."""

    arguments: tuple[str, ...]
    n_processes: int = Field(ge=1)
    remedies: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The command, one token an item; what a remedy changed comes last and so wins."""
        return ("xia2", *self.arguments, *self.remedies)


def command(job: ProcessingJob, recipe: Recipe, *, n_processes: int) -> Xia2Job:
    """Return the call for a job: fixed part, one `image=` per sweep in row order, user's last."""
    arguments = [
        *fixed_arguments(recipe, job.collection, n_processes),
        *(f"image={image_argument(sweep)}" for sweep in job.sweeps),
        *(f"{PHIL_PATHS.get(key, key)}={value}" for key, value in job.parameter_values().items()),
    ]
    return Xia2Job(arguments=tuple(arguments), n_processes=n_processes)


async def run(
    program: Program, job: Xia2Job, *, directory: Path, timeout_s: float, progress: "Progress"
) -> Run:
    """Run xia2 in an empty directory and judge what it left.

    Raises:
        ProgramError: it failed, with xia2's own reason.
        OutputInvalid: it said success, but the output is not that of a success.
    """
    if " " in str(directory):
        msg = f"xia2 cannot work in a directory with a space in its name: {directory}"
        raise ProgramFailed(msg, program="xia2", directory=directory)
    result = await run_program(
        program, job.argv[1:], directory=directory, timeout_s=timeout_s, on_output=progress.read
    )
    check(result)
    return result


def check(run: Run) -> None:
    """Judge a run by everything that it left; the exit status alone is not enough.

    Raises:
        ProgramKilled: a signal ended it.
        ProgramFailed: it ended with an error; the message is xia2's own.
        OutputInvalid: exit status 0, but no normal termination, missing output, or an error file
            (which xia2 never removes: a leftover of another attempt in the same directory).
    """
    by_shell = (run.exit_status or 0) - 128  # how a shell reports a signal
    number = run.signal or (by_shell if 0 < by_shell <= LAST_SIGNAL else None)
    if number is not None:
        raise run.failure(ProgramKilled, f"xia2 was killed by signal {number}")
    if run.exit_status != 0:
        error = run.failure(ProgramFailed, reason(run))
        error.log_tail = f"{full_reason(run)}\n\n{error.log_tail}"
        raise error
    problems = _output_problems(run.directory)
    if problems:
        raise run.failure(OutputInvalid, f"xia2 ended with status 0, but {problems[0]}")


def _output_problems(directory: Path) -> list[str]:
    missing = [name for name in REQUIRED_OUTPUTS if not (directory / name).exists()]
    leftover = [name for name in ERROR_FILES if (directory / name).exists()]
    log = directory / "xia2.txt"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return [
        *([] if last == NORMAL_TERMINATION else ["did not terminate normally"]),
        *(f"{name} is missing" for name in missing),
        *(f"left {name}: it is of this or another attempt" for name in leftover),
    ]


def reason(run: Run) -> str:
    """Return why xia2 failed, in its own words and on one line."""
    return full_reason(run).splitlines()[0]


def full_reason(run: Run) -> str:
    """Return everything that xia2 says of its failure, over several lines.

    Its `Error:` line is in xia2.txt and on standard output; a file that is no HDF5 master is
    refused on standard error only.
    """
    for text in (_read(run.directory / "xia2.txt"), _read(run.stdout)):
        block = _error_block(text)
        if block:
            return block
    refused = _read(run.stderr).strip()
    if "Traceback (most recent call last)" in refused:
        return f"{refused.splitlines()[-1]}\n\n{refused}"
    return refused or f"xia2 ended with status {run.exit_status} and gave no reason"


def _error_block(text: str) -> str:
    """Return from the last `Error` line to the end, without the request to send files."""
    found = list(re.finditer(r"^Error(?: [^:\n]*)?: .*", text, re.MULTILINE))
    if not found:
        return ""
    block = text[found[-1].start() :].partition("\nPlease send the contents")[0]
    return block.removeprefix("Error: ").strip()


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


class Progress:
    """Where xia2 is, read from its standard output as it comes.

    Args:
        n_sweeps: How many sweeps the command names.
        tell: Called with the fraction done (0-1) and what is being done, when either changes.
    """

    def __init__(self, n_sweeps: int, tell: Tell) -> None:
        self._n_sweeps = max(1, n_sweeps)
        self._tell = tell
        self._rest = ""
        self._seen: dict[str, set[str]] = {}
        self._last = 0.0

    def read(self, piece: str) -> None:
        """Take the next piece of output; lines may be cut anywhere."""
        text = self._rest + piece.replace("\r", "\n")
        complete, _, self._rest = text.rpartition("\n")
        for heading in HEADING.findall(complete):
            phase = next((phase for phase in PHASES if heading.startswith(phase)), None)
            if phase:
                self._seen.setdefault(phase, set()).add(heading)
                self._announce(phase, heading)
        if complete and not self._seen and PROGRESS_BAR.search(complete):
            self._tell(0.0, "reading image headers")

    def _announce(self, phase: str, heading: str) -> None:
        fraction = PHASES[phase]
        if fraction < SWEEP_PHASES_END:
            done = (len(self._seen[phase]) - 1) / self._n_sweeps
            fraction += done * (SWEEP_PHASES_END - fraction)
        self._last = max(self._last, fraction)
        self._tell(self._last, heading)


def _says(*marks: str) -> Marks:
    def marked(error: ProgramError) -> bool:
        return any(mark in f"{error}\n{error.log_tail}\n{_detail(error)}" for mark in marks)

    return marked


def _detail(error: ProgramError) -> str:
    """Return xia2's traceback and the log of the sub-program that it points at."""
    if error.directory is None:
        return ""
    texts = [_read(error.directory / name) for name in ERROR_FILES]
    pointed = re.search(r"see (\S+\.log) for more details", str(error))
    log = Path(pointed[1]) if pointed else None
    if log is not None and log.resolve().is_relative_to(error.directory.resolve()):
        texts.append(_read(log))
    return "\n".join(texts)


def _with_fewer_processes(job: Xia2Job) -> Xia2Job | None:
    if job.n_processes == 1:
        return None
    fewer = job.n_processes // 2
    update = {"n_processes": fewer, "remedies": (f"nproc={fewer}",)}
    return job.model_copy(update=update)


OUT_OF_MEMORY = Fault[Xia2Job](
    name="out of memory",
    marks=lambda error: (
        (isinstance(error, ProgramKilled) and str(error).endswith("signal 9"))
        or _says("MemoryError", "std::bad_alloc", "Cannot allocate memory")(error)
        or re.match(r"dials\.\S+ killed", str(error)) is not None  # xia2's words for SIGKILL
    ),
    remedy=_with_fewer_processes,
    limit=2,
)
CRASHED_WORKER = Fault[Xia2Job](
    name="crashed worker process",
    marks=_says("BrokenProcessPool", "terminated abruptly", "WorkerLostError"),
    remedy=lambda job: _with_fewer_processes(job) or job,
    limit=1,
)
FAULTS = (OUT_OF_MEMORY, CRASHED_WORKER)
