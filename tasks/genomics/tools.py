"""What makes a call, in one line: a failure is put aside until this changes, too."""

import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path

from blocks.connections import Toolchain
from blocks.errors import InvalidRequest, ProgramError
from blocks.genomics.pipeline import Pipeline, load_pipeline
from blocks.genomics.records import Scheme
from blocks.program import Program
from tasks.genomics.generic import program_version

DIGEST_LENGTH = 8
REHEARSAL = "rehearsal"  # pipeline of a scheme that calls nothing: to try a night's machinery

_versions = dict[tuple[object, ...], str]()  # of this process: asking takes some programs seconds


async def tool_of(scheme: Scheme, programs: Toolchain) -> str:
    """Return what calls a scheme: our caller, or a pipeline, its definition and its program.

    What cannot be known, as the pipeline or its program is not there, is left out: the call then
    fails when it is made, on record.
    """
    if scheme.is_nomenclature:
        return f"limsflow {version('limsflow')}"
    name = pipeline_name(scheme)
    if name == REHEARSAL:
        return name
    try:
        pipeline = load_pipeline(name, programs.pipelines)
    except InvalidRequest:
        return name
    said = await _version_of(pipeline, programs.program(pipeline.program))
    return " ".join(filter(None, (name, _digest(pipeline), said)))


def pipeline_name(scheme: Scheme) -> str:
    """Return the name of a generic scheme's pipeline."""
    return scheme.param.pipeline or scheme.description


def _digest(pipeline: Pipeline) -> str:
    """Return a few letters that change with the pipeline's definition."""
    return hashlib.sha256(pipeline.model_dump_json().encode()).hexdigest()[:DIGEST_LENGTH]


async def _version_of(pipeline: Pipeline, program: Program) -> str:
    """Return the version that a program says, empty if it says none."""
    try:
        path = Path(program.path())
        state = path.stat()
        key = (path, state.st_mtime_ns, state.st_size, program.environment, pipeline.version)
        if key not in _versions:
            with tempfile.TemporaryDirectory(prefix="limsflow-version-") as directory:
                _versions[key] = await program_version(pipeline, program, Path(directory))
    except (ProgramError, OSError):
        return ""
    return _versions[key]
