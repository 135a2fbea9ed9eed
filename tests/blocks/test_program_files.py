"""A program is run whatever the number of files that its caller has open."""

import asyncio
import contextlib
import os
import resource
from pathlib import Path

from blocks.program import Program, run_program


def test_a_program_can_be_run_by_a_process_that_has_thousands_of_files_open(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\necho well\n")
    path.chmod(0o755)
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, usual[1]), usual[1]))
    with contextlib.ExitStack() as files:
        for _ in range(1_100):
            files.enter_context(Path(os.devnull).open())
        program = Program(name="program", directory=tmp_path)
        ended = asyncio.run(run_program(program, [], directory=tmp_path, timeout_s=20))
    resource.setrlimit(resource.RLIMIT_NOFILE, usual)

    assert (ended.exit_status, ended.stdout.read_text()) == (0, "well\n")
