"""Index files that are damaged, strange, or cannot be written: never a wrong call."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.genomics import indexes
from tasks.genomics.alleles import type_genome
from tests.fakes.indexed import MADE, Database, a_genome, built, codes, files


@pytest.fixture(autouse=True)
def _every_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger=indexes.__name__)


def rewritten(path: Path, **arrays: np.ndarray) -> None:
    with np.load(path) as file:
        there = {name: file[name] for name in file.files}
    np.savez(path, **(there | arrays))


def of_another_kind(path: Path) -> None:
    rewritten(path, alleles=np.zeros(28, "i4"))


def with_numbers_of_another_width(path: Path) -> None:
    with np.load(path) as file:
        alleles = file["alleles"]
    kinds = [
        (name, "i4" if name == "number" else alleles.dtype[name]) for name in alleles.dtype.names
    ]
    rewritten(path, alleles=alleles.astype(kinds))


def with_places_that_are_not_there(path: Path) -> None:
    with np.load(path) as file:
        anchors = file["anchors"]
    anchors["locus"] += 5
    rewritten(path, anchors=anchors)


def with_an_object(path: Path) -> None:
    rewritten(path, lengths=np.array([Betrayal()], dtype=object))


class Betrayal:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch betrayed",)


DAMAGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    lambda path: path.write_bytes(path.read_bytes()[:100]),
    lambda path: path.write_bytes(b"not an index"),
    lambda path: path.write_bytes(path.read_bytes().replace(b"|u1", b"|O8")),
    lambda path: rewritten(path, exemplars=np.zeros(3, np.uint8)),
    lambda path: rewritten(path, of_locus=np.full(7, -1)),
    lambda path: rewritten(path, lengths=np.zeros((2, 2), np.int64)),
    lambda path: np.savez(path, anchors=np.zeros(3)),
    lambda path: (
        np.save(path.with_suffix(".npy"), np.zeros(3)) or path.with_suffix(".npy").replace(path)
    ),
    of_another_kind,
    with_numbers_of_another_width,
    with_places_that_are_not_there,
    with_an_object,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again(
    database: Database,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
) -> None:
    database.index(folder)
    [path] = files(folder)
    damage(path)
    monkeypatch.chdir(folder)
    index = database.in_a_new_process().index(folder)

    assert codes(index, a_genome(st=3)) == MADE.profiles[2]
    assert built(caplog) == 2
    assert files(folder) == [path]
    database.in_a_new_process().index(folder)
    assert built(caplog) == 2


def test_a_byte_that_turned_anywhere_in_the_file_changes_no_call(
    database: Database, folder: Path
) -> None:
    expected, genome = type_genome(a_genome(st=3), database.index(folder)), a_genome(st=3)
    [path] = files(folder)
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    ends = [*range(0, 80, 4), *range(len(whole) - 400, len(whole), 16)]
    for at in [*rng.integers(len(whole), size=15).tolist(), *ends]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        found = database.in_a_new_process().index(folder)

        assert type_genome(genome, found) == expected, at


def test_a_file_with_a_strange_name_is_left_alone(database: Database, folder: Path) -> None:
    folder.mkdir(parents=True)
    strange = [folder / name for name in ("scheme-1-v1-backup.npz", "scheme-1-vx.npz", "notes.txt")]
    for path in strange:
        path.write_text("mine")
    database.index(folder)

    assert [path.read_text() for path in strange] == ["mine"] * 3


def test_a_folder_that_cannot_be_written_costs_the_file_only(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "share").write_text("a file where a folder should be")
    index = database.index(tmp_path / "share" / "indexes")

    assert codes(index, a_genome()) == MADE.profiles[0]
    assert "the index of a scheme is not kept in" in caplog.text


def test_nothing_half_written_stays(database: Database, folder: Path) -> None:
    folder.mkdir(parents=True)
    stamp = "-".join(map(str, database.store.schemes.allele_stamp(1)))
    in_the_way = folder / f"scheme-1-v1-{stamp}-layout{indexes.LAYOUT}.npz"
    in_the_way.mkdir()
    index = database.index(folder)

    assert codes(index, a_genome()) == MADE.profiles[0]
    assert files(folder) == [in_the_way]
