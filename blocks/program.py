"""The one place that starts processes: an argument list in, evidence or a typed failure out."""

import asyncio
import codecs
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from blocks.errors import (
    ProgramError,
    ProgramFailed,
    ProgramKilled,
    ProgramNotFound,
    ProgramTimedOut,
)
from blocks.record import Record

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 5.0  # DIALS needs under a second to end on SIGTERM; xia2's children ignore it
LOG_TAIL_LINES = 20

# What a program may see of the caller's environment; the rest comes from the toolchain. A virtual
# environment of ours must not reach a program that brings a Python of its own.
PASSED_ON = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")


FailureT = TypeVar("FailureT", bound=ProgramError)


class Program(Record):
    """Where an external program is, and what it may use.

    `directory` is searched before `PATH`; `environment` is added to the few variables that
    programs inherit (`PASSED_ON`).
    """

    name: str
    directory: Path | None = None
    environment: tuple[tuple[str, str], ...] = ()

    def path(self) -> str:
        """Return the executable's absolute path.

        Raises:
            ProgramNotFound: it is neither in `directory` nor on the `PATH`.
        """
        search = os.pathsep.join(filter(None, [str(self.directory or ""), self._search_path()]))
        found = shutil.which(self.name, path=search)
        if found is None:
            raise ProgramNotFound(f"{self.name} is not installed: searched {search}")
        return os.path.abspath(found)  # noqa: PTH100 - resolve() would follow a wrapper's link

    def variables(self) -> dict[str, str]:
        """Return the whole environment that the program gets."""
        inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        own = inherited | dict(self.environment)
        if self.directory:
            own["PATH"] = f"{self.directory}{os.pathsep}{own.get('PATH', os.defpath)}"
        return own

    def _search_path(self) -> str:
        return dict(self.environment).get("PATH", os.environ.get("PATH", os.defpath))


class Run(Record):
    """One program that ran and ended by itself or was ended."""

    argv: tuple[str, ...]
    directory: Path
    exit_status: int | None = Field(description="None when a signal ended it")
    signal: int | None = None
    ended_by: str = "itself"
    peak_memory_kb: int = 0
    left_children: int = Field(default=0, description="processes still alive when it ended")
    survivors: int = Field(default=0, description="processes that not even SIGKILL could end")
    wall_s: float = Field(default=0.0, description="from its start to its end, by the guard")
    stdout: Path
    stderr: Path

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last lines of standard output and error, whichever said something."""
        return "\n".join(filter(None, [tail(self.stdout, lines), tail(self.stderr, lines)]))

    def require_success(self) -> "Run":
        """Return this run, or raise what it failed of.

        Raises:
            ProgramFailed: the exit status is not 0.
            ProgramKilled: a signal ended it.
            ProgramTimedOut: the time limit ended it.
        """
        name = Path(self.argv[0]).name
        if self.ended_by == "timeout":
            raise self.failure(ProgramTimedOut, f"{name} timed out")
        if self.signal is not None:
            raise self.failure(ProgramKilled, f"{name} was killed by signal {self.signal}")
        if self.exit_status != 0:
            raise self.failure(ProgramFailed, f"{name} ended with status {self.exit_status}")
        return self

    def failure(self, kind: type[FailureT], message: str) -> FailureT:
        """Return an error of this kind that carries the run's evidence."""
        name = Path(self.argv[0]).name
        return kind(message, program=name, directory=self.directory, log_tail=self.log_tail())


def tail(path: Path, lines: int) -> str:
    """Return the last lines of a text file, reading at most its last 64 KiB."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65_536))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


async def run_program(
    program: Program,
    arguments: Sequence[str],
    *,
    directory: Path,
    timeout_s: float,
    log_name: str = "",
    on_output: Callable[[str], None] | None = None,
    watch: Literal["stdout", "stderr"] = "stdout",
) -> Run:
    """Run a program to its end in `directory` and return what happened.

    It leads its own process group under a guard (`blocks.guard`): when the time limit passes,
    when the awaiting task is cancelled, or when this process dies, even by SIGKILL, the program
    and all its descendants are ended. Output goes to `<log_name>.stdout` and `.stderr`.

    Args:
        program: What to run and with which environment.
        arguments: Passed as they are; there is no shell.
        directory: Must exist.
        timeout_s: Wall time in seconds; more than 0.
        log_name: Stem of the two output files; the program's name unless given.
        on_output: Called with each new piece of output, about twice a second.
        watch: Which output that is.

    Raises:
        ProgramNotFound: the program is missing, or it cannot be executed.
        ProgramTimedOut: the time limit passed.
        ProgramFailed: the system could not start it (too many arguments), or its guard died.
    """
    argv = (program.path(), *arguments)
    stem = log_name or program.name
    stdout, stderr = directory / f"{stem}.stdout", directory / f"{stem}.stderr"
    async with _guarded(argv, program, directory, timeout_s, stdout, stderr) as report_end:
        watched = stdout if watch == "stdout" else stderr
        report = await _follow(report_end, watched, on_output)
    if not report:
        msg = f"the guard of {program.name} ended without a report"
        raise ProgramFailed(
            msg, program=program.name, directory=directory, log_tail=tail(stderr, LOG_TAIL_LINES)
        )
    if "cannot_start" in report:
        raise ProgramNotFound(f"{program.name} cannot be started: {report['cannot_start']}")
    run = Run(argv=argv, directory=directory, stdout=stdout, stderr=stderr, **report)
    if run.ended_by == "timeout":
        raise run.failure(ProgramTimedOut, f"{program.name} timed out after {in_words(timeout_s)}")
    return run


def in_words(seconds: float) -> str:
    """Return a duration as a person says it: "6 h", "90 s", "15 min"."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


@contextlib.asynccontextmanager
async def _guarded(
    argv: Sequence[str],
    program: Program,
    directory: Path,
    timeout_s: float,
    stdout: Path,
    stderr: Path,
) -> AsyncGenerator[int, None]:
    """Start the guard; on leaving, close its lifeline and wait until all is dead."""
    lifeline_read, lifeline = os.pipe()
    report, report_write = os.pipe()
    command = [sys.executable, "-I", "-S", str(GUARD), str(lifeline_read), str(report_write)]
    try:
        with stdout.open("wb") as out, stderr.open("wb") as err:
            guard = await asyncio.create_subprocess_exec(
                *command, str(timeout_s), str(GRACE_S), *argv,
                cwd=directory, stdin=asyncio.subprocess.PIPE, stdout=out, stderr=err,
                pass_fds=(lifeline_read, report_write), start_new_session=True,
            )  # fmt: skip
    except BaseException as error:
        for end in (lifeline, report):
            os.close(end)
        if isinstance(error, OSError):
            msg = f"{program.name} cannot be started: {error.strerror}"
            raise ProgramFailed(msg, program=program.name, directory=directory) from error
        raise
    finally:
        os.close(lifeline_read)
        os.close(report_write)
    try:
        await _give_environment(guard, program)
        yield report
    finally:
        os.close(lifeline)
        os.close(report)
        await asyncio.shield(guard.wait())


async def _give_environment(guard: asyncio.subprocess.Process, program: Program) -> None:
    assert guard.stdin is not None  # noqa: S101 - it was asked for as a pipe
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        guard.stdin.write(json.dumps(program.variables()).encode())
        await guard.stdin.drain()
    guard.stdin.close()


async def _follow(
    report: int, watched: Path, on_output: Callable[[str], None] | None
) -> dict[str, Any]:
    """Pass on new output until the guard has reported; return the outcome, empty if it died."""
    lines = _Lines(report)
    pieces = _Pieces(watched)
    try:
        while not lines.ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lines.ended.wait(), 0.5)
            if on_output:
                pieces.pass_on(on_output)
    finally:
        lines.close()
    facts: list[dict[str, Any]] = [json.loads(line) for line in lines.text.splitlines()]
    outcomes = [fact for fact in facts if "pid" not in fact]
    if facts and not outcomes:  # the guard was killed: the program's group is still there
        with contextlib.suppress(ProcessLookupError):
            os.killpg(facts[0]["pid"], signal.SIGKILL)
        return {"exit_status": None, "signal": int(signal.SIGKILL)}
    return outcomes[0] if outcomes else {}


class _Lines:
    """The guard's report as it comes; `ended` when the guard has nothing more to say."""

    def __init__(self, report: int) -> None:
        self.text = b""
        self.ended = asyncio.Event()
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(report, self._read)

    def _read(self) -> None:
        piece = os.read(self._report, 65_536)
        self.text += piece
        if not piece:
            self.close()
            self.ended.set()

    def close(self) -> None:
        self._loop.remove_reader(self._report)


class _Pieces:
    """What is new in a growing text file; a letter that is half written waits for its rest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def pass_on(self, on_output: Callable[[str], None]) -> None:
        with self._path.open("rb") as file:
            file.seek(self._position)
            while piece := file.read(1 << 20):
                self._position += len(piece)
                text = self._decoder.decode(piece)
                if text:
                    on_output(text)


async def capture(
    program: Program, arguments: Sequence[str], *, directory: Path, timeout_s: float
) -> str:
    """Run a short program and return its standard output; success is required."""
    run = await run_program(
        program, arguments, directory=directory, timeout_s=timeout_s, log_name=f"{program.name}-ask"
    )
    return run.require_success().stdout.read_text(errors="replace")


def environment(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return variables as a hashable, ordered value for a record."""
    return tuple(sorted(values.items()))
