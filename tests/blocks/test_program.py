import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import (
    ProgramError,
    ProgramFailed,
    ProgramKilled,
    ProgramNotFound,
    ProgramTimedOut,
)
from blocks.program import PASSED_ON, Program, Run, capture, environment, in_words, run_program

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 20.0
LONG_S = 300.0

# A child, a grandchild in a session of its own whose parent is gone, and the program itself.
FAMILY = "sleep 300 & (setsid sleep 300 &) ; touch ready; wait"
# Ends only by SIGKILL, and its own children are born again when they are ended.
STUBBORN = """bash -c 'trap "" TERM; while :; do sleep 1; done' & """

CALLER = """
import asyncio, sys
from pathlib import Path
from blocks.program import Program, run_program
here = Path(sys.argv[1])
program = Program(name="program", directory=here / "bin")
asyncio.run(run_program(program, [], directory=here, timeout_s=300))
"""
OUR_PROCESS = (sys.executable, "-c", CALLER)


def a_program(place: Path, text: str, *, first_line: str = "#!/bin/bash") -> Program:
    path = place / "bin" / "program"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{first_line}\n{text}\n")
    path.chmod(0o755)
    return Program(name="program", directory=path.parent)


def run(
    program: Program,
    *arguments: str,
    directory: Path,
    timeout_s: float = LONG_S,
    on_output: Callable[[str], None] | None = None,
) -> Run:
    return asyncio.run(
        run_program(
            program, arguments, directory=directory, timeout_s=timeout_s, on_output=on_output
        )
    )


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def run_text(text: str, directory: Path) -> Run:
    return run(a_program(directory, text), directory=directory)


def processes_in(directory: Path) -> list[int]:
    """Return the living processes that work in a directory, the guard included."""
    found = list[int]()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == directory:
                found.append(int(entry.name))
    return found


def guard_in(directory: Path) -> int:
    pids = processes_in(directory)
    return next(pid for pid in pids if b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes())


def comes_true(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def disturbed(
    directory: Path, text: str, disturb: Callable[["asyncio.Task[Run]"], object]
) -> "Run | BaseException":
    """Start a program, disturb its run when it is ready, and return what came out."""

    async def scenario() -> "Run | BaseException":
        program = a_program(directory, text)
        task = asyncio.create_task(run_program(program, [], directory=directory, timeout_s=LONG_S))
        assert await asyncio.to_thread(comes_true, (directory / "ready").exists)
        disturb(task)
        return (await asyncio.gather(task, return_exceptions=True))[0]

    return asyncio.run(scenario())


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_the_exit_status_of_a_program_is_known(tmp_path: Path, status: int) -> None:
    ended = run_text(f"exit {status}", tmp_path)

    assert (ended.exit_status, ended.signal, ended.ended_by) == (status, None, "itself")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_a_signal_that_ended_a_program_is_known(tmp_path: Path, number: int) -> None:
    ended = run_text(f"kill -{int(number)} $$", tmp_path)

    assert (ended.exit_status, ended.signal) == (None, number)


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("exit 3", ProgramFailed, "program ended with status 3"),
        ("kill -9 $$", ProgramKilled, "program was killed by signal 9"),
    ],
)
def test_a_failed_program_says_what_it_failed_of(
    tmp_path: Path, text: str, kind: type[ProgramError], reason: str
) -> None:
    with pytest.raises(kind) as failure:
        run_text(f"echo the last words; {text}", tmp_path).require_success()

    assert failure.value.evidence == f"{reason}\nin {tmp_path}\n\nthe last words"


def test_memory_and_time_of_a_program_are_measured(tmp_path: Path) -> None:
    program = a_program(tmp_path, "x = b'x' * 80_000_000", first_line="#!/usr/bin/env python3")

    ended = run(program, directory=tmp_path)

    assert ended.peak_memory_kb > 80_000
    assert ended.wall_s > 0


def test_output_and_errors_are_kept_in_two_files(tmp_path: Path) -> None:
    ended = run_text("echo spots; echo trouble >&2", tmp_path)

    assert (tmp_path / "program.stdout", tmp_path / "program.stderr") == (
        ended.stdout,
        ended.stderr,
    )
    assert (ended.stdout.read_text(), ended.stderr.read_text()) == ("spots\n", "trouble\n")


def test_the_log_tail_has_the_last_lines_of_both_files(tmp_path: Path) -> None:
    ended = run_text(r"printf 'line %d\n' {1..5000}; printf '10%%\r20%%\r' >&2", tmp_path)

    assert ended.log_tail(2) == "line 4999\nline 5000\n10%\n20%"


def test_output_is_passed_on_while_the_program_runs(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    text = "echo first; for i in {1..200}; do [ -e heard ] && exit 0; sleep 0.1; done; exit 1"

    ended = run(a_program(tmp_path, text), directory=tmp_path, on_output=lambda _: heard.touch())

    assert ended.exit_status == 0


def test_all_output_is_passed_on_however_much_it_is(tmp_path: Path) -> None:
    pieces = list[str]()
    program = a_program(tmp_path, "head -c 5000000 /dev/zero | tr '\\0' x; echo the end")

    run(program, directory=tmp_path, on_output=pieces.append)

    assert sum(map(len, pieces)) == 5_000_008
    assert pieces[-1].endswith("the end\n")


def test_a_letter_that_arrives_in_two_pieces_is_one_letter(tmp_path: Path) -> None:
    pieces = list[str]()
    text = r"printf '1.8 \xc3'; for i in {1..30}; do [ -e ready ] && break; sleep 0.1; done"
    program = a_program(tmp_path, rf"{text}; printf '\x85'")

    def listen(piece: str) -> None:
        pieces.append(piece)
        (tmp_path / "ready").touch()

    run(program, directory=tmp_path, on_output=listen)

    assert "".join(pieces) == "1.8 Å"


def test_capture_returns_what_a_short_program_said(tmp_path: Path) -> None:
    program = a_program(tmp_path, 'echo "$1 3.12"')

    said = asyncio.run(capture(program, ["DIALS"], directory=tmp_path, timeout_s=9))

    assert said == "DIALS 3.12\n"


def test_arguments_reach_the_program_as_they_are_without_a_shell(tmp_path: Path) -> None:
    given = ["a b", ";$(touch pwned)", "`touch pwned`", "two\nlines", "Å½", "", "*", "'\"\\", "-c"]

    ended = run(a_program(tmp_path, r'printf "%s\0" "$@"'), *given, directory=tmp_path)

    assert ended.stdout.read_text().split("\0")[:-1] == given
    assert not (tmp_path / "pwned").exists()


def test_a_program_sees_only_what_is_passed_on_and_its_toolchain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "ISPYB_PASSWORD"):
        monkeypatch.setenv(name, "/ours")
    program = Program(name="env", environment=environment({"DIALS_CONFIG": "site"}))

    said = run(program, "-0", directory=tmp_path).stdout.read_text().split("\0")[:-1]

    expected = {f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ}
    assert set(said) == expected | {"DIALS_CONFIG=site"}


def test_the_programs_of_a_toolchain_come_first(tmp_path: Path) -> None:
    program = a_program(tmp_path, 'command -v program; echo "$PATH"')

    said = run(program, directory=tmp_path).stdout.read_text().splitlines()

    assert said[0] == str(tmp_path / "bin" / "program")
    assert said[1] == f"{tmp_path / 'bin'}:{os.environ['PATH']}"


def test_a_program_that_asks_a_question_gets_no_answer(tmp_path: Path) -> None:
    a_program(tmp_path, "read answer && touch answered; touch asked")

    subprocess.run([*OUR_PROCESS, str(tmp_path)], cwd=REPOSITORY, input=b"yes\n", check=True)

    assert [(tmp_path / name).exists() for name in ("asked", "answered")] == [True, False]


def test_a_program_is_started_by_the_name_of_its_link(tmp_path: Path) -> None:
    wrapper = a_program(tmp_path, "exit 0").model_copy(update={"name": "dials.index"})
    (tmp_path / "bin" / "dials.index").symlink_to("program")

    assert run(wrapper, directory=tmp_path).argv == (f"{tmp_path}/bin/dials.index",)


def test_a_program_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotFound, match="no-such-program is not installed"):
        run(Program(name="no-such-program"), directory=tmp_path)


def test_a_file_that_is_not_executable_is_not_a_program(tmp_path: Path) -> None:
    program = a_program(tmp_path, "exit 0")
    (tmp_path / "bin" / "program").chmod(0o644)

    with pytest.raises(ProgramNotFound, match="program is not installed"):
        run(program, directory=tmp_path)


@pytest.mark.parametrize("first_line", ["#!/no/such/interpreter", "\x7fELF"])
def test_a_broken_program_cannot_be_started(tmp_path: Path, first_line: str) -> None:
    program = a_program(tmp_path, "", first_line=first_line)

    with pytest.raises(ProgramNotFound, match="program cannot be started: "):
        run(program, directory=tmp_path)


def test_the_time_limit_ends_a_program_and_all_its_children(tmp_path: Path) -> None:
    program = a_program(tmp_path, STUBBORN + FAMILY)

    with pytest.raises(ProgramTimedOut, match=r"^program timed out after 2 s$") as failure:
        run(program, directory=tmp_path, timeout_s=2)

    assert (tmp_path / "ready").exists()
    assert processes_in(tmp_path) == []
    assert failure.value.directory == tmp_path


def test_a_run_that_timed_out_is_no_success(tmp_path: Path) -> None:
    ended = run_text("exit 0", tmp_path).model_copy(update={"ended_by": "timeout"})

    with pytest.raises(ProgramTimedOut):
        ended.require_success()


@pytest.mark.parametrize("times", [1, 2])
def test_cancelling_a_run_ends_a_program_and_all_its_children(tmp_path: Path, times: int) -> None:
    def cancel(task: "asyncio.Task[Run]") -> None:
        for number in range(times):
            asyncio.get_running_loop().call_later(0.01 * number, task.cancel)

    outcome = disturbed(tmp_path, FAMILY, cancel)

    assert isinstance(outcome, asyncio.CancelledError)
    assert comes_true(lambda: not processes_in(tmp_path))


def test_the_log_of_a_cancelled_program_has_only_its_own_words(tmp_path: Path) -> None:
    disturbed(tmp_path, f"echo own words >&2; {FAMILY}", lambda task: task.cancel())

    assert (tmp_path / "program.stderr").read_text() == "own words\n"


def test_a_listener_that_fails_ends_the_program(tmp_path: Path) -> None:
    def fail(piece: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(a_program(tmp_path, f"echo hello; {FAMILY}"), directory=tmp_path, on_output=fail)

    assert processes_in(tmp_path) == []


def test_children_that_a_program_left_are_ended_and_counted(tmp_path: Path) -> None:
    ended = run_text("sleep 300 & (setsid sleep 300 &) ; exit 0", tmp_path)

    assert (ended.exit_status, ended.left_children) == (0, 2)
    assert processes_in(tmp_path) == []


def test_when_our_own_process_is_killed_the_program_and_its_children_end(tmp_path: Path) -> None:
    a_program(tmp_path, FAMILY)
    caller = subprocess.Popen([*OUR_PROCESS, str(tmp_path)], cwd=REPOSITORY)
    assert comes_true((tmp_path / "ready").exists)

    caller.kill()
    caller.wait()

    assert comes_true(lambda: not processes_in(tmp_path))


def test_when_the_guard_is_killed_the_program_ends_and_the_run_is_known_as_killed(
    tmp_path: Path,
) -> None:
    outcome = disturbed(
        tmp_path,
        "touch ready; exec sleep 300",
        lambda _: os.kill(guard_in(tmp_path), signal.SIGKILL),
    )

    assert isinstance(outcome, Run)
    assert outcome.signal == signal.SIGKILL
    assert comes_true(lambda: not processes_in(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_guard_that_is_asked_to_end_stays_with_its_program(
    tmp_path: Path, number: signal.Signals
) -> None:
    text = "touch ready; for i in {1..200}; do [ -e sent ] && exit 5; sleep 0.1; done"

    def send(task: "asyncio.Task[Run]") -> None:
        os.kill(guard_in(tmp_path), number)
        (tmp_path / "sent").touch()

    outcome = disturbed(tmp_path, text, send)

    assert isinstance(outcome, Run)
    assert outcome.exit_status == 5


def test_eight_programs_at_once_have_each_their_own_output(tmp_path: Path) -> None:
    # Each waits for all the others, so they succeed only if they run at the same time.
    text = "touch here.$1; for i in {1..200}; do set -- $1 here.*; [ $# = 9 ] && break; sleep 0.1;"
    program = a_program(tmp_path, f"{text} done; echo $1")

    async def one(n: int) -> Run:
        return await run_program(
            program, [str(n)], directory=tmp_path, timeout_s=LONG_S, log_name=f"run-{n}"
        )

    async def all_at_once() -> list[Run]:
        return await asyncio.gather(*map(one, range(8)))

    ends = asyncio.run(all_at_once())

    assert [one.stdout.read_text() for one in ends] == [f"{n}\n" for n in range(8)]


@pytest.mark.parametrize("text", ["exit 0", "kill -9 $$"])
def test_a_run_leaves_no_file_open(tmp_path: Path, text: str) -> None:
    run_text(text, tmp_path)
    before = open_files()

    run_text(text, tmp_path)

    assert open_files() == before


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(21_600, "6 h"), (900, "15 min"), (90, "90 s"), (3600.5, "3600.5 s"), (0.5, "0.5 s")],
)
def test_a_time_limit_is_said_as_a_person_says_it(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
