"""What makes a call, in one line: a failure is put aside until this changes, too."""

import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import InvalidRequest, ProgramError
from blocks.genomics import assemblers
from blocks.genomics.pipeline import Pipeline, load_pipeline
from blocks.genomics.quality_limits import limits_of
from blocks.genomics.records import Scheme
from blocks.program import Program
from blocks.record import Record
from tasks.genomics.generic import program_version
from tasks.genomics.stages import AssemblerName

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


async def assembly_tool(lims: EnteroBase, programs: Toolchain, name: AssemblerName) -> str:
    """Return what assembles and judges: the assembler with its version, and the limits.

    Reads that failed for good, or gave a poor assembly, wait until this changes.
    """
    assembler = assemblers.ASSEMBLERS[name]
    limits = _digest(limits_of(lims.genus, lims.limits))
    try:
        with tempfile.TemporaryDirectory(prefix="limsflow-version-") as directory:
            program = programs.program(assembler.program)
            said = await assembler.version(program, Path(directory))
    except ProgramError:
        said = ""
    return " ".join(filter(None, (name, said, f"limits {limits}")))


def pipeline_name(scheme: Scheme) -> str:
    """Return the name of a generic scheme's pipeline."""
    return scheme.param.pipeline or scheme.description


def _digest(definition: Record) -> str:
    """Return a few letters that change with a definition."""
    return hashlib.sha256(definition.model_dump_json().encode()).hexdigest()[:DIGEST_LENGTH]


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
