"""How one file comes over a network that fails; who is asked for it is in `test_archive`."""

import asyncio
import bz2
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import ServiceUnavailable
from blocks.genomics.archive import fetch_run
from tests.fakes.read_archive import (
    DDBJ_FOLDER,
    ENA_FOLDER,
    REPORT,
    RIGHT,
    RUN,
    Answer,
    Server,
    assert_whole_from,
    fastq,
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
DAMAGED = FIRST[:200] + b"?" + FIRST[201:]
CUT = Answer(FIRST, cut_at=300)


@pytest.fixture
def server() -> Iterator[Server]:
    with read_archive() as one:
        one.put_ena(*pair_at_ena())
        yield one


def ranges(server: Server, path: str) -> list[str | None]:
    return [one.headers.get("Range") for one in server.asked_for(path)]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_server_that_fails_twice_is_asked_a_third_time(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.put(AT_ENA, Answer(status=status), Answer(status=status), Answer(FIRST))

    assert_whole_from("ENA", fetch(server.archive(attempts=3), tmp_path))


@pytest.mark.parametrize("path", [REPORT, AT_ENA])
def test_a_server_that_always_fails_is_asked_as_often_as_allowed(
    server: Server, tmp_path: Path, path: str
) -> None:
    server.put(path, Answer(status=500))
    server.put_ddbj(*RIGHT)

    assert_whole_from("DDBJ", fetch(server.archive(attempts=3), tmp_path))
    assert len(server.asked_for(path)) == 3


@pytest.mark.parametrize("status", [403, 404, 400, 304])
def test_a_server_that_refuses_is_not_asked_twice(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.put(AT_ENA, Answer(status=status))
    server.put_ddbj(*RIGHT)

    assert_whole_from("DDBJ", fetch(server.archive(), tmp_path))
    assert len(server.asked_for(AT_ENA)) == 1


def test_a_file_that_was_cut_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, CUT, Answer(FIRST, cut_at=400), Answer(FIRST))

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_ENA) == [None, "bytes=300-", "bytes=700-"]


def test_a_later_run_goes_on_where_an_earlier_one_was_cut(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, CUT)
    with pytest.raises(ServiceUnavailable, match="ENA: "):
        fetch(server.archive(attempts=1), tmp_path)
    server.put(AT_ENA, Answer(FIRST))

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_ENA) == [None, "bytes=300-"]


def test_a_file_that_only_wants_its_name_is_not_fetched(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(FIRST)

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert server.asked_for(AT_ENA) == []


def test_a_file_is_kept_as_it_is_stored_whatever_the_server_calls_it(
    server: Server, tmp_path: Path
) -> None:
    server.put(AT_ENA, Answer(FIRST, headers={"Content-Encoding": "gzip"}))

    assert fetch(server.archive(attempts=1), tmp_path).read1.read_bytes() == FIRST


def test_a_file_that_changed_since_it_was_cut_is_fetched_anew(
    server: Server, tmp_path: Path
) -> None:
    # DDBJ gives no MD5, so that only the entity tag can tell.
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(*RIGHT)
    older = bz2.compress(fastq(1, seed=2))
    server.put(AT_DDBJ, Answer(older, cut_at=300), Answer(PACKED))

    assert_whole_from("DDBJ", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_DDBJ) == [None, "bytes=300-"]


WEAK = {"ETag": 'W/"1"', "Last-Modified": "Sun, 22 Nov 2026 00:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "condition"),
    [(WEAK, WEAK["Last-Modified"]), ({"ETag": '"1"'}, '"1"'), ({"ETag": ""}, None)],
)
def test_the_rest_is_asked_for_only_of_a_version_that_is_known(
    server: Server, tmp_path: Path, headers: dict[str, str], condition: str | None
) -> None:
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(*RIGHT)
    server.put(AT_DDBJ, Answer(PACKED, headers=headers, cut_at=300), Answer(PACKED))

    assert_whole_from("DDBJ", fetch(server.archive(), tmp_path))
    again = server.asked_for(AT_DDBJ)[1].headers
    assert again.get("If-Range") == condition
    assert ("Range" in again) == (condition is not None)


def test_a_server_that_ignores_the_range_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, CUT, Answer(FIRST, ranges=False))

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_ENA) == [None, "bytes=300-"]


@pytest.mark.parametrize("place", ["bytes 0-9/10", "bytes 301-999/1000", "nonsense", ""])
def test_another_part_than_was_asked_for_is_not_appended(
    server: Server, tmp_path: Path, place: str
) -> None:
    other = Answer(b"0123456789", status=206, headers={"Content-Range": place})
    server.put(AT_ENA, CUT, other, Answer(FIRST))

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_ENA) == [None, "bytes=300-", None]


@pytest.mark.parametrize(
    "other",
    [
        Answer(b"0123", status=206, headers={"Content-Range": f"bytes 301-304/{len(PACKED)}"}),
        Answer(PACKED, length=-1, cut_at=100),
    ],
)
def test_a_rest_that_is_not_the_rest_is_found_without_an_md5(
    server: Server, tmp_path: Path, other: Answer
) -> None:
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(*RIGHT)
    server.put(AT_DDBJ, Answer(PACKED, cut_at=300), other, Answer(PACKED))

    assert_whole_from("DDBJ", fetch(server.archive(), tmp_path))


def test_a_file_that_became_shorter_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(*RIGHT)
    long = Answer(PACKED * 3, cut_at=len(PACKED) + 9, headers={"ETag": '"same"'})
    server.put(
        AT_DDBJ, long, Answer(PACKED, headers={"ETag": '"same"'}, status=416), Answer(PACKED)
    )

    assert_whole_from("DDBJ", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_DDBJ)[-1] is None


def test_a_file_that_came_damaged_once_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, Answer(DAMAGED), Answer(FIRST))

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_ENA) == [None, None]


def test_a_file_that_always_comes_damaged_is_taken_elsewhere(
    server: Server, tmp_path: Path
) -> None:
    server.put(AT_ENA, Answer(DAMAGED))
    server.put_ddbj(*RIGHT)

    assert_whole_from("DDBJ", fetch(server.archive(), tmp_path))
    assert len(server.asked_for(AT_ENA)) == 3


def test_a_damaged_file_is_said_if_nobody_else_has_it(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, Answer(DAMAGED))

    with pytest.raises(ServiceUnavailable, match=r"sent SRR1234567_1\.fastq\.gz damaged: its MD5"):
        fetch(server.archive(), tmp_path)

    assert NAME not in names_in(tmp_path)


@pytest.mark.parametrize(
    "lie",
    [
        Answer(FIRST, length=len(FIRST) + 50),
        Answer(FIRST, length=len(FIRST) - 50),
        Answer(FIRST + b"more", length=-1),
        Answer(FIRST[:-9], length=-1),
        Answer(FIRST[:-9]),
    ],
)
def test_a_server_that_lies_of_a_files_length_is_not_believed(
    server: Server, tmp_path: Path, lie: Answer
) -> None:
    server.put(AT_ENA, lie)
    server.put_ddbj(*RIGHT)
    once = fetch(server.archive(), tmp_path / "always")
    server.put(AT_ENA, lie, Answer(FIRST))

    assert_whole_from("DDBJ", once)
    assert_whole_from("ENA", fetch(server.archive(attempts=2), tmp_path / "once"))


def test_what_has_no_end_is_cut_at_the_length_that_is_known(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, Answer(FIRST + bytes(5_000_000), length=-1, hangs=True, cut_at=4_000_000))
    server.put_ddbj(*RIGHT)

    assert_whole_from("DDBJ", fetch(server.archive(max_bytes=1_000_000), tmp_path))


@pytest.mark.parametrize("path", [REPORT, AT_ENA])
@pytest.mark.parametrize("cut_at", [None, 20])
def test_a_server_that_falls_silent_is_not_waited_for(
    server: Server, tmp_path: Path, path: str, cut_at: int | None
) -> None:
    server.put(path, Answer(FIRST, hangs=True, cut_at=cut_at))
    server.put_ddbj(*RIGHT)

    pair = fetch(server.archive(attempts=1, timeout_s=0.3), tmp_path)

    assert_whole_from("DDBJ", pair)


def test_a_server_that_is_silent_is_said_to_be(server: Server, tmp_path: Path) -> None:
    server.put(REPORT, Answer(hangs=True))

    with pytest.raises(ServiceUnavailable, match=r"ENA: 127\.0\.0\.1 did not answer in time"):
        fetch(server.archive(attempts=1, timeout_s=0.3), tmp_path)


def test_one_file_has_a_time_limit_with_all_its_attempts(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, Answer(FIRST, hangs=True, cut_at=20))
    archive = server.archive(file_timeout_s=0.3)

    with pytest.raises(ServiceUnavailable, match=r"did not send it all within 0\.3 s"):
        fetch(archive, tmp_path)


def test_a_run_that_is_cancelled_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.put(AT_ENA, Answer(FIRST, hangs=True, cut_at=300))

    async def cancelled() -> None:
        begun = asyncio.Event()
        run = fetch_run(server.archive(), RUN, tmp_path, tell=lambda *_: begun.set())
        task = asyncio.create_task(run)
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    server.put(AT_ENA, Answer(FIRST))

    assert_whole_from("ENA", fetch(server.archive(), tmp_path))
    assert ranges(server, AT_ENA) == [None, "bytes=300-"]
