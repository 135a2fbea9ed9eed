"""The public archive of reads on the loopback: ENA, DDBJ and NCBI, and all the ways they fail."""

import asyncio
import bz2
import gzip
import hashlib
import json
import os
import random
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from blocks.genomics.archive import ReadArchive, fetch_run
from blocks.genomics.records import ReadPair
from blocks.program import Program
from tests.fakes.programs import script

RUN = "SRR1234567"
SUBMISSION, EXPERIMENT = "SRA012345", "SRX765432"
DDBJ_FOLDER = f"/ddbj/public/ddbj_database/dra/fastq/SRA012/{SUBMISSION}/{EXPERIMENT}"
ENA_FOLDER = "/files/vol1/fastq/SRR123/007/SRR1234567"
REPORT = "/ena/filereport"
ENTRY = f"/ddbj/search/api/entries/sra-run/{RUN}.json"
SRA = f"/ncbi/{RUN}/{RUN}"


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None  # what Content-Length says; -1: nothing
    cut_at: int | None = None  # the connection ends after so many bytes of the body
    hangs: bool = False  # after the cut, or before the first byte
    ranges: bool = True


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    path: str
    query: str
    headers: Mapping[str, str]


class Server(ThreadingHTTPServer):
    """A server that knows nothing (404) until it is told."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self._answers: dict[str, list[Answer]] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, *answers: Answer) -> None:
        """Give these answers in turn; the last goes on for ever."""
        self._answers[path] = list(answers)

    def answer(self, path: str) -> Answer:
        """Return what to do now."""
        answers = self._answers.get(path, [Answer(status=404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def asked_for(self, path: str) -> list[Asked]:
        """Return the requests of one path."""
        return [one for one in self.asked if one.path == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""

    def archive(self, **changes: Any) -> ReadArchive:
        """Return the record that leads here, and loses no time."""
        values = {
            "ena": f"{self.url}/ena",
            "ena_files": f"{self.url}/files/",
            "ddbj": f"{self.url}/ddbj",
            "ncbi": f"{self.url}/ncbi",
            "pause_s": 0,
            "attempts": 3,
            "timeout_s": 10,
        }
        return ReadArchive(**(values | changes))

    def put_ena(self, *files: tuple[str, bytes], **changes: str) -> None:
        """Have a run at ENA, with the report of its files."""
        for name, content in files:
            self.put(f"{ENA_FOLDER}/{name}", Answer(content))
        self.put(REPORT, Answer(json.dumps([report(*files, **changes)]).encode()))

    def put_ddbj(self, *contents: bytes) -> None:
        """Have the two files of a run at DDBJ, and the entry that names them."""
        for mate, content in enumerate(contents, 1):
            self.put(f"{DDBJ_FOLDER}/{RUN}_{mate}.fastq.bz2", Answer(bz2.compress(content)))
        address = DDBJ_FOLDER.replace("/ddbj/public", "https://ddbj.nig.ac.jp/public")
        entry = {"identifier": RUN, "downloadUrl": [{"type": "fastq", "url": address}]}
        self.put(ENTRY, Answer(json.dumps(entry).encode()))

    def put_ncbi(self, **files: str) -> None:
        """Have a run at NCBI; the stand-in for fasterq-dump makes these files of it."""
        self.put(SRA, Answer(json.dumps(files).encode()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append(Asked(path, query, dict(self.headers)))
        answer = self.server.answer(path)
        self.close_connection = True
        if answer.hangs and answer.cut_at is None:
            self.server.ended.wait()
            return
        body = self._begin(answer)
        self.wfile.write(body[: answer.cut_at] if answer.cut_at is not None else body)
        self.wfile.flush()
        if answer.hangs:
            self.server.ended.wait()

    def _begin(self, answer: Answer) -> bytes:
        """Send status and headers; return what the body is for the range that is asked for."""
        tag = f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
        start, status = self._start(answer, tag), answer.status
        if start > len(answer.body):
            status, body = 416, b""
        elif start:
            status, body = 206, answer.body[start:]
        else:
            body = answer.body
        self.send_response(status)
        length = len(body) if answer.length is None else answer.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        usual = {"ETag": tag, "Connection": "close"}
        if start:
            whole = len(answer.body)
            usual["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        for name, value in (usual | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        return body

    def _start(self, answer: Answer, tag: str) -> int:
        asked = self.headers.get("Range", "")
        if not asked or not answer.ranges or answer.status != 200:
            return 0
        if self.headers.get("If-Range", tag) != tag:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def read_archive() -> Iterator[Server]:
    """Run an empty archive on a free port; a proxy of this machine is not asked for it."""
    server = Server()
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    kept = {name: os.environ.pop(name) for name in proxies}
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
        os.environ.update(kept)


def fetch(archive: ReadArchive, directory: Path, *, dump: Program | None = None) -> ReadPair:
    """Fetch the run."""
    return asyncio.run(fetch_run(archive, RUN, directory, dump=dump))


def reads_of(pair: ReadPair) -> tuple[bytes, bytes]:
    """Return what both files hold, unpacked."""
    return gzip.decompress(pair.read1.read_bytes()), gzip.decompress(pair.read2.read_bytes())


def names_in(directory: Path) -> list[str]:
    """Return what a directory holds."""
    return sorted(path.name for path in directory.iterdir())


def assert_whole_from(origin: str, pair: ReadPair) -> None:
    """Require the run's own reads from this archive, and nothing left beside them."""
    assert (pair.origin, reads_of(pair)) == (origin, RIGHT)
    assert names_in(pair.read1.parent) == FILES


def fastq(mate: int, *, reads: int = 40, run: str = RUN, seed: int = 1) -> bytes:
    """Return the reads of one mate of a run, as archives name them."""
    dice = random.Random(f"{run}{mate}{seed}")  # noqa: S311
    records = [
        f"@{run}.{n} {n}/{mate}\n{''.join(dice.choices('ACGT', k=50))}\n+\n{'F' * 50}\n"
        for n in range(1, reads + 1)
    ]
    return "".join(records).encode()


RIGHT = (fastq(1), fastq(2))
FILES = [f"{RUN}.json", f"{RUN}_1.fastq.gz", f"{RUN}_2.fastq.gz"]


def pair_at_ena(*, reads: int = 40) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """Return the two files of a run, as ENA has them."""
    first, second = (gzip.compress(fastq(mate, reads=reads), mtime=0) for mate in (1, 2))
    return (f"{RUN}_1.fastq.gz", first), (f"{RUN}_2.fastq.gz", second)


def report(*files: tuple[str, bytes], **changes: str) -> dict[str, str]:
    """Return ENA's row of a run with these files."""
    folder = ENA_FOLDER.replace("/files", "ftp.sra.ebi.ac.uk")
    row = {
        "run_accession": RUN,
        "experiment_accession": EXPERIMENT,
        "submission_accession": SUBMISSION,
        "fastq_ftp": ";".join(f"{folder}/{name}" for name, _ in files),
        "fastq_md5": ";".join(hashlib.md5(content).hexdigest() for _, content in files),  # noqa: S324
        "fastq_bytes": ";".join(str(len(content)) for _, content in files),
        "instrument_platform": "ILLUMINA",
        "library_layout": "PAIRED",
    }
    return row | changes


FASTERQ_DUMP = """#!{python}
import json, pathlib, sys
here = pathlib.Path.cwd()
options = ["--split-3", "--threads", "2", "--temp", ".", "--outdir", ".", "--force"]
accession = pathlib.PurePath(sys.argv[-1]).name
assert sys.argv[1:] == [*options, "./" + accession], sys.argv
deed = {deed!r}
if deed:
    print("2026-11-22T00:00:00 fasterq-dump.3.0.3 err: " + deed, file=sys.stderr)
    print("fasterq-dump quit with error code 3", file=sys.stderr)
    sys.exit(3)
files = json.loads((here / accession / (accession + ".sra")).read_text())
for name, text in files.items():
    (here / (accession + ("" if name == "alone" else name) + ".fastq")).write_text(text)
"""


def fake_fasterq_dump(directory: Path, *, fails_with: str = "") -> Program:
    """Write a stand-in that unpacks what `put_ncbi` packed; return it as a program."""
    directory.mkdir(parents=True, exist_ok=True)
    values = {"python": sys.executable, "deed": fails_with}
    script(directory / "fasterq-dump", FASTERQ_DUMP.format(**values))
    return Program(name="fasterq-dump", directory=directory)
