"""What ENA and DDBJ say of a run: where its files are, and whether we can use it.

ENA: https://ena-docs.readthedocs.io/en/latest/retrieval/programmatic-access/file-reports.html
DDBJ: an entry of https://ddbj.nig.ac.jp/search/api, and the folders of its public files.
"""

import json
import re
from typing import Any, cast

from pydantic import Field

from blocks.errors import NoSuchRecord, ServiceUnavailable
from blocks.record import Record

# `RecursionError` is what a million brackets are to `json`.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
SUBMISSION = re.compile(r"[SED]RA[0-9]{6,12}")
EXPERIMENT = re.compile(r"[SED]RX[0-9]{6,12}")
# In what DDBJ says of a run, new and old: addresses of its submission's XML, and of its files.
DDBJ_SUBMISSION = re.compile(r"/dra/fastq/[SED]RA[0-9]{3}/([SED]RA[0-9]{6,12})[/\"]")
DDBJ_EXPERIMENT = re.compile(r"/([SED]RX[0-9]{6,12})[/\"]")
PLAIN_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
ILLUMINA, PAIRED = "ILLUMINA", "PAIRED"

FilePlace = tuple[str, int, str]


class EnaFile(Record):
    """One FASTQ file of a run at ENA."""

    path: str = Field(pattern=f"^{PLAIN_PATH.pattern}$", description="without the host")
    size: int = Field(ge=0, description="in bytes")
    md5: str = Field(pattern="^[0-9a-f]{32}$")


class EnaRun(Record):
    """What ENA knows of a run. Texts are empty if ENA does not say."""

    accession: str
    platform: str = ""
    layout: str = ""
    submission: str = ""
    experiment: str = ""
    files: tuple[EnaFile, ...] = ()

    @property
    def is_illumina(self) -> bool:
        """Whether it is Illumina's, for all that is known."""
        return self.platform.upper() in ("", ILLUMINA)

    @property
    def is_paired(self) -> bool:
        """Whether it is paired-end, for all that is known."""
        return self.layout.upper() in ("", PAIRED)

    @property
    def what(self) -> str:
        """Platform and layout, for a message."""
        return f"{self.platform or 'of an unknown platform'} {self.layout}".strip()

    @property
    def ddbj_folder(self) -> str:
        """Where DDBJ has its files, or empty."""
        if not SUBMISSION.fullmatch(self.submission) or not EXPERIMENT.fullmatch(self.experiment):
            return ""
        return _folder(self.submission, self.experiment)

    def pair(self) -> tuple[FilePlace, FilePlace]:
        """Return path, size and MD5 of both files; a third one has reads without a mate.

        Raises:
            ServiceUnavailable: ENA has made no files of it yet.
            NoSuchRecord: its files are not `_1` and `_2`.
        """
        if not self.files:
            msg = f"{self.accession} has no FASTQ files at ENA yet"
            raise ServiceUnavailable(msg)
        by_name = {file.path.rpartition("/")[2]: file for file in self.files}
        first, second = (by_name.get(f"{self.accession}_{mate}.fastq.gz") for mate in (1, 2))
        if first is None or second is None:
            msg = f"{self.accession} has no pair of files, but {', '.join(by_name)}"
            raise NoSuchRecord(msg)
        return (first.path, first.size, first.md5), (second.path, second.size, second.md5)


def ena_run(answer: str, accession: str) -> EnaRun:
    """Read ENA's file report of one run, as JSON.

    Raises:
        NoSuchRecord: ENA does not know the run: an empty answer or list.
        ServiceUnavailable: the answer is not what is documented.
    """
    try:
        rows: object = json.loads(answer) if answer.strip() else []
        if rows == []:
            msg = f"{accession} is not known"
            raise NoSuchRecord(msg)
        (row,) = cast("list[dict[str, str]]", rows)
        if row["run_accession"] != accession:
            raise KeyError(accession)
        return EnaRun(
            accession=accession,
            platform=row.get("instrument_platform") or "",
            layout=row.get("library_layout") or "",
            submission=row.get("submission_accession") or "",
            experiment=row.get("experiment_accession") or "",
            files=_files(row),
        )
    except UNREADABLE as error:
        msg = f"the report of {accession} cannot be read: {answer[:80]!r}"
        raise ServiceUnavailable(msg) from error


def _files(row: dict[str, Any]) -> tuple[EnaFile, ...]:
    """Return the files of three lists in parallel, each with ";" between its items."""
    lists = [(row.get(name) or "") for name in ("fastq_ftp", "fastq_bytes", "fastq_md5")]
    if not any(lists):
        return ()
    paths, sizes, md5s = (text.split(";") for text in lists)
    return tuple(
        EnaFile(path=path.partition("/")[2], size=int(size), md5=md5.lower())
        for path, size, md5 in zip(paths, sizes, md5s, strict=True)
    )


def ddbj_folder(answer: str) -> str:
    """Return the folder of a run's FASTQ files from DDBJ's entry of it.

    Raises:
        NoSuchRecord: the entry names no files.
    """
    submission, experiment = DDBJ_SUBMISSION.search(answer), DDBJ_EXPERIMENT.search(answer)
    if not submission or not experiment:
        msg = "the run's files are not named"
        raise NoSuchRecord(msg)
    return _folder(submission[1], experiment[1])


def _folder(submission: str, experiment: str) -> str:
    return f"{submission[:6]}/{submission}/{experiment}"
