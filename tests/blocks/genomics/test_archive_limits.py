"""Where the archives may lead us, and how much of them and of this disk is taken."""

import asyncio
import bz2
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blocks.errors import InvalidRequest, ServiceUnavailable, TransientError
from blocks.genomics.archive import ReadArchive
from blocks.genomics.download import (
    Downloader,
    Patience,
    RemoteFile,
    require_safe_redirect,
)
from tests.fakes.read_archive import (
    DDBJ_FOLDER,
    ENA_FOLDER,
    ENTRY,
    REPORT,
    RIGHT,
    RUN,
    Answer,
    Server,
    assert_whole_from,
    fetch,
    names_in,
    pair_at_ena,
    read_archive,
)

NAME = f"{RUN}_1.fastq.gz"
AT_ENA = f"{ENA_FOLDER}/{NAME}"
AT_DDBJ = f"{DDBJ_FOLDER}/{RUN}_1.fastq.bz2"
FIRST = pair_at_ena()[0][1]
PACKED = bz2.compress(RIGHT[0])


@pytest.fixture
def server() -> Iterator[Server]:
    with read_archive() as one:
        one.put_ena(*pair_at_ena())
        yield one


def test_a_file_that_moved_is_followed(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, Answer(status=302, headers={"Location": "/elsewhere"}))
    server.put("/elsewhere", Answer(FIRST, cut_at=300), Answer(FIRST))

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert server.asked_for("/elsewhere")[1].headers["Range"] == "bytes=300-"


@pytest.mark.parametrize(
    ("location", "times"),
    [("ftp://127.0.0.1/x", 1), ("file:///etc/passwd", 1), ("//[", 3), (AT_ENA, 6)],
)
def test_a_redirect_that_leads_nowhere_good_is_not_followed(
    server: Server, tmp_path: Path, location: str, times: int
) -> None:
    server.put(AT_ENA, Answer(status=302, headers={"Location": location}))
    server.put_ddbj(*RIGHT)

    assert_whole_from("DDBJ", fetch(server.archive(attempts=3), tmp_path))
    assert len(server.asked_for(AT_ENA)) == times


@pytest.mark.parametrize("location", ["http://archive.example/x", "ftp://archive.example/x"])
def test_nothing_leads_from_https_to_less(location: str) -> None:
    with pytest.raises(ServiceUnavailable, match="only https is"):
        require_safe_redirect("https://archive.example/x", location)


def test_https_is_always_good_enough() -> None:
    require_safe_redirect("https://archive.example/x", "https://other.example/y")
    require_safe_redirect("http://archive.example/x", "https://other.example/y")


# Limits of this place


def test_a_run_that_is_too_large_is_refused_before_a_byte_of_it_came(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="larger than the limit of 999 bytes"):
        fetch(server.archive(max_bytes=999), tmp_path)

    assert server.asked_for(AT_ENA) == []


def test_a_file_that_is_said_to_be_too_large_is_not_waited_for(
    server: Server, tmp_path: Path
) -> None:
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(*RIGHT)
    server.put(AT_DDBJ, Answer(PACKED, length=10**12, cut_at=0, hangs=True))

    with pytest.raises(InvalidRequest, match="larger than the limit"):
        fetch(server.archive(), tmp_path)


@pytest.mark.parametrize("length", [None, -1])
def test_a_file_that_grows_too_large_is_dropped(
    server: Server, tmp_path: Path, length: int | None
) -> None:
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(*RIGHT)
    server.put(AT_DDBJ, Answer(PACKED, length=length))

    with pytest.raises(InvalidRequest, match="larger than the limit of 500 bytes"):
        fetch(server.archive(max_bytes=500), tmp_path)

    assert names_in(tmp_path) == []


def test_a_full_disk_is_said_and_nobody_else_is_asked(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").symlink_to("/dev/full")

    with pytest.raises(TransientError, match=r"_1\.fastq\.gz\.part cannot be written: No space"):
        fetch(server.archive(), tmp_path)

    assert [one.path for one in server.asked] == [REPORT, AT_ENA]


def test_a_disk_that_is_full_while_reads_are_packed_is_said(server: Server, tmp_path: Path) -> None:
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(*RIGHT)
    (tmp_path / f"{NAME}.packing.part").symlink_to("/dev/full")

    with pytest.raises(TransientError, match="cannot be written: No space"):
        fetch(server.archive(), tmp_path)


def test_a_directory_that_cannot_be_made_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TransientError, match="file/reads cannot be written: Not a directory"):
        fetch(server.archive(), tmp_path / "file" / "reads")


def test_a_long_file_may_be_cut_more_often_than_a_short_one(server: Server, tmp_path: Path) -> None:
    content = bytes(28 << 20)
    server.put("/long", *[Answer(content, cut_at=9 << 20)] * 3, Answer(content))
    target = tmp_path / "long"

    async def download() -> None:
        async with httpx.AsyncClient() as client:
            one = Downloader(client, Patience(attempts=2, pause_s=0))
            await one.file(RemoteFile(url=f"{server.url}/long"), target, lambda _: None)

    asyncio.run(download())

    assert target.read_bytes() == content
    assert len(server.asked_for("/long")) == 4


def test_pauses_grow_and_differ() -> None:
    patient = Downloader(httpx.AsyncClient(), Patience(pause_s=2))

    pauses = [patient._pause(failures) for failures in range(1, 12)]

    usual = [2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120]
    assert all(0.5 <= pause / one <= 1.5 for pause, one in zip(pauses, usual, strict=True))
    assert len({pause / one for pause, one in zip(pauses, usual, strict=True)}) > 1


def test_the_public_archives_are_asked_over_https_only() -> None:
    archive = ReadArchive()

    addresses = [archive.ena, archive.ena_files, archive.ddbj, archive.ncbi]
    assert all(address.startswith("https://") for address in addresses)
    assert isinstance(archive, Patience)


def test_a_report_that_is_no_short_answer_is_not_read_to_its_end(
    server: Server, tmp_path: Path
) -> None:
    right = server.answer(REPORT).body
    server.put(REPORT, Answer(b" " * 6_000_000 + right))
    server.put_ddbj(*RIGHT)

    assert_whole_from("DDBJ", fetch(server.archive(), tmp_path))
    assert len(server.asked_for(REPORT)) == len(server.asked_for(ENTRY)) == 1
