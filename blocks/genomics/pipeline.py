"""Pipelines: which program a generic scheme runs, and what is kept of its output. Data, not code.

A pipeline is `pipelines/<name>.json` beside this file, or in a directory of the site's own, which
is searched first. `schemes.param.pipeline` names it, so a new generic scheme needs rows only.
"""

import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError, field_validator, model_validator

from blocks.errors import InvalidRequest
from blocks.genomics.genbank import MAKERS
from blocks.genomics.outputs import READERS
from blocks.record import Record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FILE = re.compile(rf"{NAME.pattern}(?:/{NAME.pattern})*")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = ("fasta", "output", "directory", "n_processes", "genus")
GENUS = re.compile(r"[A-Z][a-z]+")

STDOUT = "stdout"
FASTA = "assembly.fasta"  # what the program is given, in its directory
GZIP = ".gz"


class VersionQuestion(Record):
    """How a program is asked for its version; `pattern` has one group, searched in all it says."""

    arguments: tuple[str, ...]
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            msg = f"is not a regular expression: {error}"
            raise ValueError(msg) from error
        if groups != 1:
            msg = "must have exactly one group, the version"
            raise ValueError(msg)
        return pattern


class Pipeline(Record):
    """One program of a generic scheme: how it is called, how its output is read."""

    name: str
    about: str = ""
    program: str = Field(pattern=f"^{NAME.pattern}$", description="name of the executable")
    genera: tuple[str, ...] = Field(default=(), description="what it is for; empty: every genus")
    arguments: tuple[str, ...] = Field(
        description="literal, but for {fasta}, {output}, {directory}, {n_processes} and {genus}"
    )
    output: str = Field(description="file in the working directory that is read, or stdout")
    reader: str = Field(description="how it is read: a name in blocks.genomics.outputs")
    version: VersionQuestion
    time_limit_s: float = Field(gt=0, description="wall time in seconds")
    fields: dict[str, str] = Field(
        min_length=1, description="key in the results: path in what was read, a.b.0.c"
    )
    makes: dict[str, str] = Field(
        default_factory=dict,
        description="file: how it is made of the output, a name in blocks.genomics.genbank",
    )
    files: dict[str, str] = Field(
        default_factory=dict,
        description="key in the results: file that is kept; compressed if it ends in .gz",
    )

    @field_validator("arguments")
    @classmethod
    def _has_known_placeholders(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            rest = PLACEHOLDER.sub("", argument)
            strange = set(PLACEHOLDER.findall(argument)) - set(PLACEHOLDERS)
            if strange or "{" in rest or "}" in rest or "\0" in rest:
                known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
                msg = f"{argument!r} has something other in braces than {known}"
                raise ValueError(msg)
        if not any("{fasta}" in argument for argument in arguments):
            msg = "the program is not given {fasta}"
            raise ValueError(msg)
        return arguments

    @field_validator("reader")
    @classmethod
    def _is_a_reader(cls, reader: str) -> str:
        return _known(reader, READERS)

    @field_validator("makes")
    @classmethod
    def _are_makers(cls, makes: dict[str, str]) -> dict[str, str]:
        for maker in makes.values():
            _known(maker, MAKERS)
        return makes

    @model_validator(mode="after")
    def _stays_in_its_directory(self) -> "Pipeline":
        names = {self.output, *self.makes, *map(unpacked, self.files.values())}
        for name in sorted(names):
            if not FILE.fullmatch(name) or name == FASTA:
                msg = f"{name!r} is no file name for a result"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _is_consistent(self) -> "Pipeline":
        twice = sorted(set(self.fields) & set(self.files))
        if twice:
            msg = f"{twice[0]!r} is a field and a file"
            raise ValueError(msg)
        if self.output == STDOUT and self.uses("output"):
            msg = "{output} has no meaning when the output is stdout"
            raise ValueError(msg)
        return self

    def uses(self, placeholder: str) -> bool:
        """Whether an argument has this placeholder."""
        return any(f"{{{placeholder}}}" in argument for argument in self.arguments)


def unpacked(name: str) -> str:
    """Return a file's name as the program writes it: without .gz."""
    return name.removesuffix(GZIP)


def load_pipeline(name: str, site_directory: Path | None = None) -> Pipeline:
    """Return the pipeline of this name; the site's own directory wins.

    Raises:
        InvalidRequest: there is no such pipeline, or its file is not valid.
    """
    if not NAME.fullmatch(name):
        msg = f"{name!r} is not a pipeline name"
        raise InvalidRequest(msg)
    for folder in _folders(site_directory):
        text = _text(folder / f"{name}.json")
        if text is not None:
            return _read(text, folder / f"{name}.json", name)
    msg = f"unknown pipeline {name!r}; known: {', '.join(pipeline_names(site_directory))}"
    raise InvalidRequest(msg)


def pipeline_names(site_directory: Path | None = None) -> list[str]:
    """Return the names of all pipelines, sorted."""
    folders = _folders(site_directory)
    return sorted({path.stem for folder in folders for path in folder.glob("*.json")})


def filled_arguments(
    pipeline: Pipeline, *, directory: Path, n_processes: int, genus: str | None
) -> list[str]:
    """Return the arguments with the placeholders filled in; the files lie in `directory`.

    Raises:
        InvalidRequest: the pipeline is not for this genus, or needs one and gets none.
    """
    require_genus(pipeline, genus)
    values = {
        "fasta": str(directory / FASTA),
        "output": str(directory / pipeline.output),
        "directory": str(directory),
        "n_processes": str(n_processes),
        "genus": genus or "",
    }
    # One pass: braces in the name of a directory are no placeholders.
    return [PLACEHOLDER.sub(lambda found: values[found[1]], one) for one in pipeline.arguments]


def require_genus(pipeline: Pipeline, genus: str | None) -> None:
    """Require that a pipeline is for this genus; None is a genus that nobody knows.

    Raises:
        InvalidRequest: it is not, or the program must be told the genus and it is not a name.
    """
    if genus and pipeline.genera and genus not in pipeline.genera:
        msg = f"pipeline {pipeline.name} is for {', '.join(pipeline.genera)}, not for {genus!r}"
        raise InvalidRequest(msg)
    if pipeline.uses("genus") and not GENUS.fullmatch(genus or ""):
        msg = f"pipeline {pipeline.name} must be told the genus, and {genus!r} is none"
        raise InvalidRequest(msg)


def _folders(site_directory: Path | None) -> list[Path]:
    ours = Path(str(files("blocks.genomics").joinpath("pipelines")))
    return [ours] if site_directory is None else [site_directory, ours]


def _known(name: str, table: Mapping[str, object]) -> str:
    if name not in table:
        msg = f"{name!r} is none of {', '.join(table)}"
        raise ValueError(msg)
    return name


def _text(path: Path) -> str | None:
    """Return the text of a file, None if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the pipeline file {path} cannot be read: {error}"
        raise InvalidRequest(msg) from error


def _read(text: str, path: Path, name: str) -> Pipeline:
    try:
        return Pipeline(name=name, **_keys(json.loads(text)))
    except ValidationError as error:
        faults = "; ".join(_faults(error))
    except (TypeError, ValueError) as error:
        faults = str(error)
    msg = f"the pipeline file {path} is not valid: {faults}"
    raise InvalidRequest(msg)


def _keys(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or "name" in content:
        msg = "it must be an object, and its name is that of the file"
        raise TypeError(msg)
    return cast("dict[str, Any]", content)


def _faults(error: ValidationError) -> Iterable[str]:
    """Return one line for each fault: where it is and what it is."""
    for fault in error.errors(include_url=False, include_input=False):
        where = ".".join(map(str, fault["loc"]))
        yield f"{where}: {fault['msg']}" if where else fault["msg"]
