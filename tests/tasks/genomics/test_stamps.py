"""Finished work that is taken over, and a directory in which one at a time may work."""

import asyncio
from pathlib import Path

import pytest

from blocks.errors import AlreadyRunning, FileNotYetVisible, TransientError
from blocks.record import Record
from tasks.genomics.stamps import alone_in, clear, finished, key_of, once, write_stamp


class Made(Record):
    """What a step returns."""

    number: int


def stamped(directory: Path) -> Path:
    """Leave a file and a stamp of it; return the file."""
    file = directory / "below" / "made.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("12345")
    write_stamp(directory, "step", "key", Made(number=7), [file])
    return file


def test_a_finished_step_is_known_with_its_result(tmp_path: Path) -> None:
    stamped(tmp_path)

    assert finished(tmp_path, "step", "key", Made) == Made(number=7)


@pytest.mark.parametrize(("step", "key"), [("step", "other key"), ("other step", "key")])
def test_a_stamp_counts_for_its_own_step_and_input_only(
    tmp_path: Path, step: str, key: str
) -> None:
    stamped(tmp_path)

    assert finished(tmp_path, step, key, Made) is None


def test_a_file_that_is_cut_or_gone_makes_its_stamp_worthless(tmp_path: Path) -> None:
    stamped(tmp_path).write_text("1234")
    cut = finished(tmp_path, "step", "key", Made)
    stamped(tmp_path).unlink()

    assert (cut, finished(tmp_path, "step", "key", Made)) == (None, None)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"key": "key", "sizes": {}, "result": "[]"}', "\udcff"]
)
def test_a_damaged_stamp_is_none(tmp_path: Path, text: str) -> None:
    stamped(tmp_path)
    (tmp_path / "step.done.json").write_bytes(text.encode(errors="surrogateescape"))

    assert finished(tmp_path, "step", "key", Made) is None


def test_a_step_runs_once(tmp_path: Path) -> None:
    runs = list[int]()

    async def run() -> Made:
        runs.append(1)
        return Made(number=len(runs))

    made = [asyncio.run(once(tmp_path, "step", "key", [], Made, run)) for _ in range(2)]

    assert made == [Made(number=1)] * 2
    assert len(runs) == 1


def test_a_key_tells_parameters_and_the_state_of_files_apart(tmp_path: Path) -> None:
    file = tmp_path / "reads.fq"
    file.write_text("one")
    before = [key_of(1, "a"), key_of(1, "a", files=[file]), key_of(2, "a", files=[file])]
    file.write_text("other")

    assert len({*before, key_of(1, "a", files=[file])}) == 4
    assert key_of(1, "a") == before[0]


def test_a_key_of_a_file_that_is_gone_may_be_asked_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotYetVisible, match=r"nowhere.fq cannot be read"):
        key_of(files=[tmp_path / "nowhere.fq"])


# One at a time


def test_a_directory_is_held_by_one(tmp_path: Path) -> None:
    async def twice() -> None:
        async with alone_in(tmp_path / "work"), alone_in(tmp_path / "work"):
            pass

    with pytest.raises(AlreadyRunning, match="another run works on the same reads"):
        asyncio.run(twice())


def test_who_comes_after_a_directory_was_cleared_has_it_alone_and_untouched(
    tmp_path: Path,
) -> None:
    work = tmp_path / "work"

    async def one_after_the_other() -> list[str]:
        async with alone_in(work):
            (work / "old.txt").touch()
            clear(work)
            async with alone_in(work):  # before the first one has let go
                (work / "new.txt").touch()
                with pytest.raises(AlreadyRunning):
                    async with alone_in(work):
                        pass
        return sorted(path.name for path in work.iterdir())

    assert asyncio.run(one_after_the_other()) == [".lock", "new.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]


def test_what_a_run_that_was_killed_while_clearing_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "work.over" / "old").mkdir(parents=True)

    async def hold_and_clear() -> None:
        async with alone_in(tmp_path / "work"):
            clear(tmp_path / "work")

    asyncio.run(hold_and_clear())

    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_written_may_be_mended(tmp_path: Path) -> None:
    (tmp_path / "share").write_text("no folder")

    async def hold() -> None:
        async with alone_in(tmp_path / "share" / "work"):
            pass

    with pytest.raises(TransientError, match="make room or mend the disk"):
        asyncio.run(hold())
