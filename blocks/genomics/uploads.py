"""Which reads an assembly job names: `user_jobs.accession`, in its two legacy forms.

* `SRR1234567,ERR765432`: runs of the public archive;
* `trace_accession#read1_name#read2_name`: two files that a user uploaded.

Both are read and written byte for byte. The names come from users, so nothing of them is trusted.
"""

import os
import re
from pathlib import Path

from pydantic import Field

from blocks.errors import FileNotYetVisible, InconsistentInput, InvalidRequest
from blocks.genomics.records import ReadPair
from blocks.record import Record

RUN_ACCESSION = re.compile(r"[SED]RR[0-9]{6,12}")
TRACE_ACCESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MAX_RUNS = 20
LONGEST_NAME = 255  # bytes, as file systems have it
SHOWN = 60


class Runs(Record):
    """Runs of the public archive that are assembled together."""

    accessions: tuple[str, ...] = Field(min_length=1)

    def __str__(self) -> str:
        """Return the text of `user_jobs.accession`."""
        return ",".join(self.accessions)


class Upload(Record):
    """Two files of reads that a user uploaded."""

    accession: str = Field(description="of the trace")
    read1: str = Field(description="file name, without a folder")
    read2: str

    def __str__(self) -> str:
        """Return the text of `user_jobs.accession`."""
        return "#".join((self.accession, self.read1, self.read2))


def parse_accession(text: str) -> Upload | Runs:
    """Return the reads that the text of `user_jobs.accession` names; `str()` is the inverse.

    Raises:
        InvalidRequest: it has neither form, names a run or a file twice, more than 20 runs, or a
            file outside its folder.
    """
    return _upload(text) if "#" in text else _runs(text)


def require_run_accession(accession: str) -> None:
    """Require the accession of one run: safe in a path and in a URL.

    Raises:
        InvalidRequest: it is none.
    """
    if not RUN_ACCESSION.fullmatch(accession):
        msg = f"{_shown(accession)} is not a run accession such as SRR1234567 (SRR, ERR or DRR)"
        raise InvalidRequest(msg)


def find_upload(upload: Upload, folder: Path) -> ReadPair:
    """Return the two files of an upload with their full paths, links resolved.

    Args:
        upload: What the job names; its names are checked again.
        folder: Where the site puts uploads.

    Raises:
        FileNotYetVisible: the folder or a file is not on this disk.
        InvalidRequest: a name leads out of the folder, or to no regular file.
        InconsistentInput: both names are of one file.
    """
    paths = [_find(name, folder) for name in (upload.read1, upload.read2)]
    if paths[0].samefile(paths[1]):
        msg = f"{upload.read1} and {upload.read2} are one file: reads 1 and reads 2 are needed"
        raise InconsistentInput(msg)
    return ReadPair(accession=upload.accession, read1=paths[0], read2=paths[1])


def _runs(text: str) -> Runs:
    accessions = tuple(text.split(","))
    if len(accessions) > MAX_RUNS:
        msg = f"{len(accessions)} runs are too many for one assembly: at most {MAX_RUNS}"
        raise InvalidRequest(msg)
    for accession in accessions:
        require_run_accession(accession)
    if len(set(accessions)) < len(accessions):
        msg = f"a run is named twice in {_shown(text)}"
        raise InvalidRequest(msg)
    return Runs(accessions=accessions)


def _upload(text: str) -> Upload:
    if text.count("#") != 2:  # noqa: PLR2004 - between three parts
        msg = f"{_shown(text)} is not trace#read1#read2: it has {text.count('#')} '#', not 2"
        raise InvalidRequest(msg)
    accession, read1, read2 = text.split("#")
    if not TRACE_ACCESSION.fullmatch(accession):
        msg = f"{_shown(accession)} is not the accession of a trace: letters, digits, '_', '.', '-'"
        raise InvalidRequest(msg)
    for name in (read1, read2):
        _require_plain_name(name)
    if read1 == read2:
        msg = f"{_shown(read1)} is named twice: reads 1 and reads 2 are needed"
        raise InvalidRequest(msg)
    return Upload(accession=accession, read1=read1, read2=read2)


def _require_plain_name(name: str) -> None:
    fault = _fault(name)
    if fault:
        msg = f"{_shown(name)} cannot be the name of a file of reads: it {fault}"
        raise InvalidRequest(msg)


def _fault(name: str) -> str:
    """Return why a text is no plain file name; empty if it is one.

    `isprintable` refuses control characters, line separators, marks that turn the direction of
    writing, and halves of characters; of white space it lets only the space pass.
    """
    if not name or name != name.strip():
        return "is empty, or begins or ends with a space"
    if not name.isprintable():
        return "has characters that cannot be seen"
    if "/" in name or "\\" in name:
        return "has a folder in it"
    if name.startswith((".", "-")):
        return "begins with '.' or '-'"
    if len(name.encode()) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} bytes"
    return ""


def _find(name: str, folder: Path) -> Path:
    _require_plain_name(name)
    try:
        home = os.path.realpath(folder, strict=True)
        path = Path(os.path.realpath(folder / name, strict=True))
    except FileNotFoundError as error:
        place = folder.absolute()
        msg = f"the upload {_shown(name)} is not in {place}: it was not finished, or was moved"
        raise FileNotYetVisible(msg) from error
    except OSError as error:
        msg = f"the upload {_shown(name)} in {folder} cannot be found: {error.strerror}"
        raise InvalidRequest(msg) from error
    if not path.is_relative_to(home):
        msg = f"the upload {_shown(name)} is a link that leads out of {folder}"
        raise InvalidRequest(msg)
    if not path.is_file():
        msg = f"the upload {_shown(name)} in {folder} is not a file"
        raise InvalidRequest(msg)
    return path


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
