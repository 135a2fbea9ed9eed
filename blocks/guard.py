"""Stay with one program until it and everything that it started is dead.

Run as a script by `blocks.program`, never imported by a flow. A flow process may be killed with
SIGKILL and can then clean up nothing, so a process of its own does it: the guard holds the read
end of a pipe whose only write end is in the flow process. When that end closes, for whatever
reason, the guard ends the program. Because the guard is the sub-reaper of its descendants, a
grandchild that changed its session or lost its parent is found as well.

    python -I -S guard.py LIFELINE_FD REPORT_FD TIMEOUT_S GRACE_S PROGRAM [ARGUMENT ...]

The report is one line of JSON: {"exit_status": n | null, "signal": n | null, "ended_by":
"itself" | "timeout" | "caller", "peak_memory_kb": n, "left_children": n, "wall_s": x}.
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
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.02


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


def end_all(grace_s: float) -> int:
    """End every descendant: SIGTERM first, SIGKILL after `grace_s`; return how many there were."""
    first = descendants(os.getpid())
    _send(first, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while descendants(os.getpid()) and time.monotonic() < deadline:
        _reap()
        time.sleep(POLL_S)
    while rest := descendants(os.getpid()):  # also what was born meanwhile
        _send(rest, signal.SIGKILL)
        _reap()
        time.sleep(POLL_S)
    _reap()
    return len(first)


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


def watch(lifeline: int, timeout_s: float, grace_s: float, argv: list[str]) -> dict[str, object]:
    """Run `argv` until it ends, the caller is gone, or the time is up; return the report."""
    started = time.monotonic()
    program = subprocess.Popen(  # noqa: S603 - an argument list, never a shell
        argv,
        start_new_session=True,
        preexec_fn=_die_with_guard,  # noqa: PLW1509 - the guard has one thread
    )
    handle = os.pidfd_open(program.pid)
    ready, _, _ = select.select([lifeline, handle], [], [], timeout_s or None)
    ended_by = "itself" if handle in ready else "caller" if ready else "timeout"
    status = program.wait() if ended_by == "itself" else None
    wall_s = time.monotonic() - started
    left = end_all(grace_s)
    return {
        "exit_status": status if status is not None and status >= 0 else None,
        "signal": -status if status is not None and status < 0 else None,
        "ended_by": ended_by,
        "peak_memory_kb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        "left_children": left,
        "wall_s": wall_s,
    }


def main(arguments: list[str]) -> int:
    """Parse the command line, watch the program, write the report."""
    lifeline, report = int(arguments[0]), int(arguments[1])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Only the lifeline ends a guard. A handler, because "ignore" would be inherited.
        signal.signal(number, lambda _number, _frame: None)
    try:
        outcome = watch(lifeline, float(arguments[2]), float(arguments[3]), arguments[4:])
    except OSError as error:
        outcome = {"cannot_start": f"{error.strerror}: {arguments[4]}"}
    with contextlib.suppress(BrokenPipeError):  # the caller is gone, or no longer cares
        os.write(report, json.dumps(outcome).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
