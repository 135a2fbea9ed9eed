"""What children of a fork server do in tests."""

import asyncio
import os
import sys
import time
from pathlib import Path

from deployments.warm_starter import Forks


def end_with(status: int) -> None:
    """End with a status."""
    sys.exit(status)


def kill_itself(signal_number: int) -> None:
    """End by a signal."""
    os.kill(os.getpid(), signal_number)


def meet(mine: str, other: str) -> None:
    """Wait until another child is there at the same time."""
    Path(mine).write_text(str(os.getpid()))
    wait_for_file(other)


def wait_for_file(path: str) -> None:
    """Wait until a file is there."""
    while not Path(path).exists():
        time.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(Forks(sys.argv[1:]).warm_up())
