"""The public archive of reads: one run by its accession, from whoever of three has it.

ENA, DDBJ and NCBI mirror each other, and each is away or behind now and then. EnteroBase's ladder
(Aspera and FTP) over https: ENA's fastq.gz, DDBJ's fastq.bz2, NCBI's .sra. What is kept is always
`<accession>_1.fastq.gz` and `_2`, checked to be pairs.
"""

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import Field

from blocks.errors import (
    InconsistentInput,
    LimsflowError,
    NoSuchRecord,
    ProgramError,
    ProgramFailed,
    ServiceUnavailable,
)
from blocks.genomics.archive_answers import EnaRun, ddbj_folder, ena_run
from blocks.genomics.download import Downloader, Patience, RemoteFile, disk_of, md5_of
from blocks.genomics.fastq import MAX_BYTES, append_gzip, check_pair, pack
from blocks.genomics.records import ReadPair
from blocks.genomics.uploads import require_run_accession
from blocks.program import Program, Run, run_program
from blocks.record import Record

Tell = Callable[[float, str], None]
ResultT = TypeVar("ResultT")
MATES = (1, 2)
ENA, DDBJ, NCBI = "ENA", "DDBJ", "NCBI"
ENA_FIELDS = (
    "run_accession,experiment_accession,submission_accession,fastq_ftp,fastq_md5,fastq_bytes,"
    "instrument_platform,library_layout"
)


class ReadArchive(Patience):
    """Where the public archive is, and how patiently it is asked."""

    ena: str = Field(
        default="https://www.ebi.ac.uk/ena/portal/api", description="ENA's portal: what a run is"
    )
    ena_files: str = Field(default="https://ftp.sra.ebi.ac.uk", description="ENA's fastq.gz")
    ddbj: str = Field(default="https://ddbj.nig.ac.jp", description="DDBJ: search, and fastq.bz2")
    ncbi: str = Field(
        default="https://sra-pub-run-odp.s3.amazonaws.com/sra", description="NCBI's .sra files"
    )
    max_unpacked_bytes: int = Field(default=MAX_BYTES, ge=1, description="of one FASTQ file")
    dump_timeout_s: float = Field(default=6 * 3600.0, gt=0, description="for fasterq-dump")


class BadReads(InconsistentInput):
    """What one archive has of a run is not a pair of FASTQ files; another may have it right."""


# After these, the next archive is asked. All else ends the search: it would be the same there.
NEXT_ARCHIVE = (NoSuchRecord, ServiceUnavailable, ProgramError, BadReads)


def _silent(fraction: float, text: str) -> None:
    """Tell nobody."""


async def fetch_run(
    archive: ReadArchive,
    accession: str,
    directory: Path,
    *,
    dump: Program | None = None,
    tell: Tell = _silent,
) -> ReadPair:
    """Fetch the two files of one Illumina paired-end run, from the first archive that gives them.

    May be called again after any end: complete files are kept, cut ones go on where they were.

    Args:
        archive: Where to ask.
        accession: Of the run: SRR, ERR or DRR and digits.
        directory: Where the files go; made if it is missing. One caller at a time.
        dump: NCBI's `fasterq-dump`; without it, NCBI is not asked.
        tell: Called with the fraction (0-1) of this archive's work and a text.

    Raises:
        InvalidRequest: it is no accession, or a file is larger than the limit.
        NoSuchRecord: no archive knows the run.
        InconsistentInput: it is not Illumina paired-end, or its files are not pairs anywhere.
        ServiceUnavailable: an archive that may have it did not give it.
        ProgramError: only NCBI has it, and `fasterq-dump` failed.
        TransientError: this disk is full, or cannot be written.
    """
    require_run_accession(accession)
    with disk_of(directory):
        directory.mkdir(parents=True, exist_ok=True)
    kept = await asyncio.to_thread(_kept, accession, directory)
    if kept:
        tell(1.0, f"{accession} is here already, from {kept.origin}")
        return kept
    said = dict[str, LimsflowError]()
    async with _client(archive) as client:
        search = _Search(archive, client, accession, directory, dump, tell)
        for name, ask in search.archives():
            try:
                await ask()
                return await search.keep(name)
            except NEXT_ARCHIVE as error:
                said[name] = error
                tell(0.0, f"{name}: {error}")
    raise _verdict(accession, said, dump)


def concatenate(pairs: Sequence[ReadPair], directory: Path) -> ReadPair:
    """Return one pair that holds the reads of several runs of one sample, in their order.

    A single pair is returned as it is. Files of gzip are appended as they are, others are packed;
    their last line must be ended, as it is in the archive's files.

    Raises:
        FileNotYetVisible: a file is not there.
        InconsistentInput: no pair is given, or a file that is to be packed is damaged.
        TransientError: this disk is full, or cannot be written.
    """
    if not pairs:
        msg = "there are no reads to put together"
        raise InconsistentInput(msg)
    if len(pairs) == 1:
        return pairs[0]
    name = f"{pairs[0].accession}_and_{len(pairs) - 1}_more"
    targets = [directory / f"{name}_{mate}.fastq.gz" for mate in MATES]
    for target, sources in zip(targets, _by_mate(pairs), strict=True):
        _append(sources, target)
    return ReadPair(
        accession=",".join(pair.accession for pair in pairs),
        read1=targets[0],
        read2=targets[1],
        origin=", ".join(dict.fromkeys(pair.origin for pair in pairs)),
    )


class _Kept(Record):
    """What was fetched and checked: written last, so it is there only if all is."""

    origin: str
    sizes: tuple[int, int]
    md5s: tuple[str, str]


class _Search:
    """One run, and the archives that may have it."""

    def __init__(
        self,
        archive: ReadArchive,
        client: httpx.AsyncClient,
        accession: str,
        directory: Path,
        dump: Program | None,
        tell: Tell,
    ) -> None:
        self._archive = archive
        self._server = Downloader(client, archive)
        self._accession = accession
        self._directory = directory
        self._dump = dump
        self._tell = tell
        self._run: EnaRun | None = None

    def archives(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Return who is asked, in order."""
        asked: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            (ENA, self._from_ena),
            (DDBJ, self._from_ddbj),
        ]
        return [*asked, (NCBI, self._from_ncbi)] if self._dump else asked

    async def keep(self, origin: str) -> ReadPair:
        """Require that the files are pairs, and note that they are complete."""
        pair = _pair(self._accession, self._directory, origin)
        paths = (pair.read1, pair.read2)
        try:
            number = await asyncio.to_thread(
                check_pair, *paths, max_bytes=self._archive.max_unpacked_bytes
            )
        except InconsistentInput as error:
            raise BadReads(str(error)) from error
        first, second = [await asyncio.to_thread(md5_of, path) for path in paths]
        sizes = (pair.read1.stat().st_size, pair.read2.stat().st_size)
        note = _Kept(origin=origin, sizes=sizes, md5s=(first, second))
        part = self._directory / f"{self._accession}.json.part"
        with disk_of(part):
            part.write_text(note.model_dump_json())
            part.replace(_note(self._accession, self._directory))
            for left in self._directory.glob(f"{self._accession}_?.*.part*"):
                left.unlink(missing_ok=True)  # of an archive that did not give it all
        shutil.rmtree(self._sra_folder, ignore_errors=True)
        self._tell(1.0, f"{number:,} pairs of reads of {self._accession} from {origin}")
        return pair

    async def _from_ena(self) -> None:
        query = f"accession={self._accession}&result=read_run&fields={ENA_FIELDS}&format=json"
        answer = await self._server.text(f"{_base(self._archive.ena)}/filereport?{query}")
        self._run = run = ena_run(answer, self._accession)
        if not run.is_illumina or not run.is_paired:
            msg = f"{self._accession} is {run.what}: only Illumina paired-end reads are assembled"
            raise InconsistentInput(msg)
        for mate, (path, size, md5) in zip(MATES, run.pair(), strict=True):
            url = f"{_base(self._archive.ena_files)}/{path}"
            wanted = RemoteFile(url=url, size=size, md5=md5)
            await self._server.file(wanted, self._target(mate), self._heard(ENA, mate))

    async def _from_ddbj(self) -> None:
        folder = self._run.ddbj_folder if self._run else ""
        if not folder:
            entry = f"search/api/entries/sra-run/{self._accession}.json"
            answer = await self._server.text(f"{_base(self._archive.ddbj)}/{entry}")
            folder = ddbj_folder(answer)
        place = f"{_base(self._archive.ddbj)}/public/ddbj_database/dra/fastq/{folder}"
        for mate in MATES:
            packed = self._directory / f"{self._accession}_{mate}.fastq.bz2"
            wanted = RemoteFile(url=f"{place}/{packed.name}")
            await self._server.file(wanted, packed, self._heard(DDBJ, mate))
            await self._pack(packed, mate)

    async def _from_ncbi(self) -> None:
        assert self._dump is not None  # noqa: S101 - else it is not asked
        self._dump.path()  # before gigabytes are fetched for it
        place = self._sra_folder
        sra = place / self._accession / f"{self._accession}.sra"  # as prefetch lays it out
        with disk_of(sra):
            sra.parent.mkdir(parents=True, exist_ok=True)
        url = f"{_base(self._archive.ncbi)}/{self._accession}/{self._accession}"
        await self._server.file(RemoteFile(url=url), sra, self._heard(NCBI, 1))
        await self._unpack_sra(self._dump, place, sra)
        for mate in MATES:
            await self._pack(place / f"{self._accession}_{mate}.fastq", mate)

    async def _unpack_sra(self, dump: Program, place: Path, sra: Path) -> None:
        """Write `_1.fastq` and `_2.fastq`; reads without a mate go to a file of their own."""
        arguments = ["--split-3", "--threads", "2", "--temp", ".", "--outdir", ".", "--force"]
        self._tell(0.5, f"unpacking {sra.name} with {dump.name}")
        run = await run_program(
            dump,
            [*arguments, f"./{self._accession}"],
            directory=place,
            timeout_s=self._archive.dump_timeout_s,
        )
        if run.signal is not None or run.exit_status != 0:
            with disk_of(sra):
                sra.unlink(missing_ok=True)  # it may be what is wrong
            raise run.failure(ProgramFailed, f"{dump.name}: {_reason(run)}")
        if not (place / f"{self._accession}_2.fastq").exists():
            shutil.rmtree(place, ignore_errors=True)
            msg = f"{self._accession} has no pairs: only Illumina paired-end reads are assembled"
            raise InconsistentInput(msg)

    @property
    def _sra_folder(self) -> Path:
        return self._directory / f"{self._accession}-sra"

    async def _pack(self, source: Path, mate: int) -> None:
        """Make the target of another packing; the source is removed once that is done."""
        target = self._target(mate)
        self._tell(mate / len(MATES), f"packing {target.name}")
        limit = self._archive.max_unpacked_bytes
        try:
            await _in_thread(lambda stop: _repack(source, target, limit, stop))
        except InconsistentInput as error:
            source.unlink(missing_ok=True)
            raise BadReads(str(error)) from error
        source.unlink(missing_ok=True)

    def _target(self, mate: int) -> Path:
        return self._directory / f"{self._accession}_{mate}.fastq.gz"

    def _heard(self, origin: str, mate: int) -> Callable[[float], None]:
        """Return what passes on a file's progress, a hundred times at most."""
        told = -1

        def heard(fraction: float) -> None:
            nonlocal told
            if int(100 * fraction) > told:
                told = int(100 * fraction)
                whole = (mate - 1 + fraction) / len(MATES)
                self._tell(whole, f"fetching reads {mate} of {self._accession} from {origin}")

        return heard


def _client(archive: ReadArchive) -> httpx.AsyncClient:
    headers = {"User-Agent": "limsflow", "Accept-Encoding": "identity"}
    return httpx.AsyncClient(
        headers=headers, timeout=httpx.Timeout(archive.timeout_s), follow_redirects=False
    )


def _base(url: str) -> str:
    return url.rstrip("/")


def _pair(accession: str, directory: Path, origin: str) -> ReadPair:
    read1, read2 = (directory / f"{accession}_{mate}.fastq.gz" for mate in MATES)
    return ReadPair(accession=accession, read1=read1, read2=read2, origin=origin)


def _note(accession: str, directory: Path) -> Path:
    return directory / f"{accession}.json"


def _kept(accession: str, directory: Path) -> ReadPair | None:
    """Return what an earlier call completed, if it is still what it was."""
    try:
        note = _Kept.model_validate_json(_note(accession, directory).read_text())
        pair = _pair(accession, directory, note.origin)
        for path, size, md5 in zip((pair.read1, pair.read2), note.sizes, note.md5s, strict=True):
            if path.stat().st_size != size or md5_of(path) != md5:
                return None
    except (OSError, ValueError):
        return None
    return pair


def _verdict(accession: str, said: dict[str, LimsflowError], dump: Program | None) -> LimsflowError:
    """Return why nobody gave the run; that it may come later outweighs that it is not there."""
    story = "; ".join(f"{name}: {error}" for name, error in said.items())
    if dump is None:
        story += f"; {NCBI} was not asked, for want of fasterq-dump"
    errors = list(said.values())
    if any(isinstance(error, ServiceUnavailable) for error in errors):
        return ServiceUnavailable(f"the reads of {accession} are not to be had now: {story}")
    for error in errors:
        if isinstance(error, ProgramError):
            msg = f"the reads of {accession} could not be unpacked: {story}"
            where, tail = error.directory, error.log_tail
            return type(error)(msg, program=error.program, directory=where, log_tail=tail)
    if any(isinstance(error, BadReads) for error in errors):
        return InconsistentInput(f"the reads of {accession} are not pairs of reads: {story}")
    return NoSuchRecord(f"no archive has the run {accession}: {story}")


def _reason(run: Run) -> str:
    """Return the last thing that fasterq-dump called an error."""
    lines = [line.partition(" err: ")[2] for line in run.log_tail().splitlines()]
    said = [line for line in lines if line]
    ended = f"signal {run.signal}" if run.signal is not None else f"status {run.exit_status}"
    return said[-1] if said else f"ended with {ended}"


async def _in_thread(work: Callable[[threading.Event], ResultT]) -> ResultT:
    """Run what takes long beside the event loop; it is asked to stop when we are cancelled."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()


def _repack(source: Path, target: Path, max_bytes: int, stop: threading.Event) -> None:
    part = _packing(target)
    with disk_of(part), part.open("wb") as file:
        for _ in pack(source, file, max_bytes=max_bytes):
            if stop.is_set():
                return
    with disk_of(target):
        part.replace(target)


def _by_mate(pairs: Sequence[ReadPair]) -> tuple[list[Path], list[Path]]:
    return [pair.read1 for pair in pairs], [pair.read2 for pair in pairs]


def _append(sources: Sequence[Path], target: Path) -> None:
    part = _packing(target)
    with disk_of(part), part.open("wb") as file:
        for source in sources:
            append_gzip(source, file)
    with disk_of(target):
        part.replace(target)


def _packing(target: Path) -> Path:
    """Return the name while it is packed; not the one of a download, which would go on with it."""
    return target.with_name(f"{target.name}.packing.part")
