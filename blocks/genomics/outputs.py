"""The readers that a pipeline's file may name: from a program's output to plain data."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blocks.errors import UNREADABLE, OutputInvalid
from blocks.genomics.genes import gene_counts, read_genes
from blocks.genomics.pilercr import array_counts, read_arrays


def read_output(reader: str, path: Path, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the wanted fields of a program's output.

    Args:
        reader: A name in `READERS`.
        path: The output.
        fields: Our key: where it is in what the reader returns, `a.b.0.c`. A value may be null;
            a place that is not there means that this is another program, or another version.

    Raises:
        OutputInvalid: the output is not what the reader knows, or has no such place.
    """
    try:
        data = READERS[reader](path)
    except UNREADABLE as error:
        msg = f"{path.name} cannot be read as {reader}: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, directory=path.parent) from error
    return {key: _at(data, place, path) for key, place in fields.items()}


def _at(data: Any, place: str, path: Path) -> Any:
    """Return what is at a place in nested dicts and lists."""
    for part in place.split("."):
        try:
            data = data[int(part) if isinstance(data, list) else part]
        except (LookupError, TypeError, ValueError) as error:
            msg = f"{path.name} has no {place!r}: is it of another program or version?"
            raise OutputInvalid(msg, directory=path.parent) from error
    return data


def _json(path: Path) -> Any:
    """Return a JSON document; NaN and infinities, which a database refuses, become null."""
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)


def _first_of_json_list(path: Path) -> Any:
    """Return the first record of a JSON list: of programs that take several genomes."""
    first, *_ = _json(path)
    return first


def _first_row(path: Path) -> dict[str, str | None]:
    """Return the first row of a table with a header, tabs between its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file, delimiter="\t", strict=True), None)
    if row is None or None in row or None in row.values():
        msg = "it has no row as long as its header"
        raise ValueError(msg)
    return dict(row)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


READERS: Mapping[str, Callable[[Path], Any]] = {
    "json": _json,
    "json-list": _first_of_json_list,
    "tsv": _first_row,
    "pilercr": lambda path: array_counts(read_arrays(_text(path))),
    "gff": lambda path: gene_counts(read_genes(_text(path))),
}
