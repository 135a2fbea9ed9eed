"""Stay with one program until it and everything that it started is dead.

Run as a script by `blocks.program`, never imported by a flow. A flow process may be killed with
SIGKILL and can then clean up nothing, so a process of its own does it: the guard holds the read
end of a pipe whose only write end is in the flow process. When that end closes, for whatever
reason, the guard ends the program. Because the guard is the sub-reaper of its descendants, a
grandchild that changed its session or lost its parent is found as well.

    python -I -S guard.py LIFELINE_FD REPORT_FD TIMEOUT_S GRACE_S PROGRAM [ARGUMENT ...]

Standard input holds the program's environment as JSON: what a toolchain sets (LD_LIBRARY_PATH)
must not reach the guard itself. The report is two lines of JSON: {"pid": n} at once, by which the
caller can end the program if the guard is killed, and at the end {"exit_status": n | null,
"signal": n | null, "ended_by": "itself" | "timeout" | "caller", "peak_memory_kb": n,
"left_children": n, "survivors": n, "wall_s": x}. A survivor cannot be killed now: it waits in the
kernel for a file system that does not answer.
The standard library only, because it starts in a bare interpreter (about 20 ms).
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.02
KILL_S = 30.0
LONGEST_WAIT_MS = 2**31 - 1  # of poll(): 24 days


def descendants(root: int) -> list[int]:
    """Return the ids of all living processes below `root`, youngest generation last."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found, frontier = list[int](), {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found.extend(frontier)
    return found


def end_all(grace_s: float) -> tuple[int, int]:
    """End every descendant: SIGTERM first, SIGKILL after `grace_s`.

    Returns how many there were, and how many are still there after `KILL_S` more.
    """
    first = descendants(os.getpid())
    _send(first, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while descendants(os.getpid()) and time.monotonic() < deadline:
        _reap()
        time.sleep(POLL_S)
    deadline = time.monotonic() + KILL_S
    while (rest := descendants(os.getpid())) and time.monotonic() < deadline:
        _send(rest, signal.SIGKILL)  # also what was born meanwhile
        _reap()
        time.sleep(POLL_S)
    _reap()
    return len(first), len(rest)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _die_with_guard() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def watch(
    lifeline: int, report: int, timeout_s: float, grace_s: float, argv: list[str]
) -> dict[str, object]:
    """Run `argv` until it ends, the caller is gone, or the time is up; return the outcome."""
    variables = json.load(sys.stdin)
    started = time.monotonic()
    program = subprocess.Popen(  # noqa: S603 - an argument list, never a shell
        argv,
        env=variables,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_guard,  # noqa: PLW1509 - the guard has one thread
    )
    tell(report, {"pid": program.pid})
    handle = os.pidfd_open(program.pid)
    ready = _first_of(lifeline, handle, timeout_s)
    ended_by = "itself" if handle in ready else "caller" if ready else "timeout"
    status = program.wait() if ended_by == "itself" else None
    wall_s = time.monotonic() - started
    left, survivors = end_all(grace_s)
    return {
        "exit_status": status if status is not None and status >= 0 else None,
        "signal": -status if status is not None and status < 0 else None,
        "ended_by": ended_by,
        "peak_memory_kb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        "left_children": left,
        "survivors": survivors,
        "wall_s": wall_s,
    }


def _first_of(lifeline: int, handle: int, timeout_s: float) -> set[int]:
    """Return which of the two has something to say; none of them when the time is up.

    The numbers are the caller's, who may have thousands of files open: select() ends at 1,023.
    """
    waiting = select.poll()
    waiting.register(lifeline, select.POLLIN)
    waiting.register(handle, select.POLLIN)
    limit_ms = min(timeout_s * 1000, LONGEST_WAIT_MS) if timeout_s else None
    return {number for number, _ in waiting.poll(limit_ms)}


def tell(report: int, facts: Mapping[str, object]) -> None:
    """Write one line of the report."""
    with contextlib.suppress(BrokenPipeError):  # the caller is gone, or no longer cares
        os.write(report, json.dumps(facts).encode() + b"\n")


def main(arguments: list[str]) -> int:
    """Parse the command line, watch the program, write the report."""
    lifeline, report = int(arguments[0]), int(arguments[1])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Only the lifeline ends a guard. A handler, because "ignore" would be inherited.
        signal.signal(number, lambda _number, _frame: None)
    try:
        outcome = watch(lifeline, report, float(arguments[2]), float(arguments[3]), arguments[4:])
    except OSError as error:
        outcome = {"cannot_start": f"{error.strerror}: {arguments[4]}"}
    tell(report, outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
