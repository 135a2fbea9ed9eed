"""Folders of a small typing scheme, two loci and two sequence types, with one thing changed."""

from collections.abc import Mapping
from pathlib import Path

from blocks.genomics.locus_file import Reason
from blocks.genomics.scheme_folder import SchemeFolder, read_scheme_folder

ONE = "ATGACGTTGCAACGATCGATTTGCCAGGTACCATAA"
TWO = ONE.replace("CGATCG", "CGTTCG")
THREE = ONE.replace("CGATCG", "CGCTCG")
TABLE = "ST\tadk\tfumC\n1\t1\t1\n2\t2\t1\n"
FILES = {
    "adk.tfa": f">adk_1\n{ONE}\n>adk_2\n{TWO}\n",
    "fumC.tfa": f">fumC_1\n{THREE}\n",
    "demo.txt": TABLE,
}


def a_folder(directory: Path, files: Mapping[str, str | bytes | None] | None = None) -> Path:
    """Write the usual folder with these files instead of, or beside, the usual ones."""
    folder = directory / "demo"
    folder.mkdir()
    for name, content in (FILES | dict(files or {})).items():
        if content is not None:
            raw = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(raw)
    return folder


def read(directory: Path, **files: str | bytes | None) -> SchemeFolder:
    """Read the usual folder with these files changed; `adk__tfa` stands for adk.tfa."""
    names = {name.replace("__", "."): content for name, content in files.items()}
    return read_scheme_folder(a_folder(directory, names))


def left_out(scheme: SchemeFolder) -> list[tuple[str, int, str, Reason]]:
    """Return file, line, what and reason of everything that is left out."""
    return [tuple(one) for one in scheme.left_out]
