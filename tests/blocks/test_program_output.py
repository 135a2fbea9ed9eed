"""Which of its two outputs a running program is heard on."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from blocks.program import Program, run_program

TEXT = "#!/bin/sh\necho from-stdout\necho from-stderr >&2\nsleep 0.2\n"


@pytest.mark.parametrize("watch", ["stdout", "stderr"])
def test_progress_is_heard_on_the_output_that_is_asked_for(
    tmp_path: Path, watch: Literal["stdout", "stderr"]
) -> None:
    path = tmp_path / "talker"
    path.write_text(TEXT)
    path.chmod(0o755)
    heard = list[str]()

    asyncio.run(
        run_program(
            Program(name="talker", directory=tmp_path),
            [],
            directory=tmp_path,
            timeout_s=20,
            on_output=heard.append,
            watch=watch,
        )
    )

    assert "".join(heard) == f"from-{watch}\n"
