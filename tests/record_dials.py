"""Make `deployments/recording.tar.xz` from a finished run of `limsflow demo` with real DIALS.

.venv/bin/python -m tests.record_dials limsflow-demo
"""

import io
import json
import sys
import tarfile
from pathlib import Path

from blocks.mx import dials, dials_results
from blocks.mx.recipe import load_recipe
from blocks.mx.store import open_store
from deployments.replay import BINARY, IMAGES, RECORDING, _without_places
from tasks.mx.resumption import finished_step


def record(home: Path) -> dict[str, list[dict[str, object]]]:
    """Return every call of the newest run below this home, with what it printed and left."""
    working = max(home.glob("dls/**/tmp/zocalo/**/dials"), key=lambda path: path.stat().st_mtime)
    job = open_store(f"sqlite:///{home.resolve()}/ispyb.db").job(1)
    call = dials.dials_job(job, load_recipe("dials"), n_processes=1)
    limit = dials_results.resolution_limit(working)
    version = f"{dials_results.version(working)}\n"
    calls = [_call("dials.version", [], version, {}, [])]
    for step in dials.STEPS:
        calls += _step(working, step.name, dials.commands(step.name, call, d_min=limit))
    return {"calls": calls}


def _step(working: Path, name: str, commands: tuple[dials.Command, ...]) -> list[dict[str, object]]:
    finished = finished_step(working, name)
    assert finished is not None, f"step {name} did not finish in {working}"
    left = [file for file in finished.files if not file.endswith((".stdout", ".stderr"))]
    images = str(Path(open_first(working)).parent)
    texts = {
        file: (working / file).read_text().replace(images, IMAGES)
        for file in left
        if not file.endswith(BINARY)
    }
    binary = [file for file in left if file.endswith(BINARY)]
    calls = []
    for command in commands:
        last = command is commands[-1]
        said = (working / f"{command.log_name}.stdout").read_text().replace(images, IMAGES)
        arguments, _ = _without_places(list(command.arguments))
        calls.append(
            _call(command.program, arguments, said, texts if last else {}, binary if last else [])
        )
    return calls


def open_first(working: Path) -> str:
    """Return the template of the first imported sweep."""
    return json.loads((working / "imported_1.expt").read_text())["imageset"][0]["template"]


def _call(
    program: str, arguments: list[str], said: str, files: dict[str, str], binary: list[str]
) -> dict[str, object]:
    return {
        "program": program,
        "arguments": arguments,
        "stdout": said,
        "files": files,
        "binary_files": binary,
        # 3.12's resolution estimator ends with 1 after success.
        "exit_status": int(program == "dials.estimate_resolution"),
    }


if __name__ == "__main__":
    data = json.dumps(record(Path(sys.argv[1]))).encode()
    with tarfile.open(RECORDING, "w:xz") as archive:
        member = tarfile.TarInfo("recording.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    print(f"{RECORDING}: {RECORDING.stat().st_size / 1000:.0f} kB")
