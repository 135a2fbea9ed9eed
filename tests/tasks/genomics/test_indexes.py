"""The index of a scheme: kept in memory and in files, and never another one's."""

import threading
from pathlib import Path

import numpy as np
import pytest

from blocks.errors import InconsistentInput
from blocks.genomics.keys import allele_key
from blocks.genomics.records import CallStatus, SchemeParam
from tasks.genomics import indexes
from tasks.genomics.alleles import TypingIndex, type_genome
from tasks.genomics.indexes import folder_name
from tests.fakes.indexed import (
    MADE,
    NEW,
    NEWER,
    OTHER,
    WHEN,
    Database,
    a_database,
    a_genome,
    built,
    codes,
    files,
)


@pytest.fixture(autouse=True)
def _every_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger=indexes.__name__)


def test_an_index_finds_the_alleles_of_its_scheme(database: Database) -> None:
    assert codes(database.index(), a_genome(st=3)) == MADE.profiles[2]


def test_an_index_is_built_once_for_a_process(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = database.index(), database.index()

    assert first.exact is second.exact
    assert built(caplog) == 1


def test_another_process_takes_the_file(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = database.index(folder)
    found = database.in_a_new_process().index(folder)

    assert built(caplog) == 1
    genome = a_genome(st=2, demB=MADE.alleles["demB"][0][:-200])
    assert type_genome(genome, found) == type_genome(genome, index)
    assert found.exemplars == index.exemplars


def test_without_a_folder_no_file_is_written(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*.npz"))
    database.index()

    assert set(tmp_path.rglob("*.npz")) == before


@pytest.mark.parametrize("afresh", [False, True])
def test_a_minted_allele_is_added_to_what_is_there(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture, *, afresh: bool
) -> None:
    database.index(folder)
    number = database.mint(NEW)
    process = database.in_a_new_process() if afresh else database
    index = process.index(folder)

    assert codes(index, a_genome(demA=NEW))[0] == number == 5
    assert codes(index, a_genome(st=3)) == MADE.profiles[2]
    assert built(caplog) == 1


def test_alleles_that_others_mint_are_found_one_after_the_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.index()
    found = list[int | None]()
    for sequence in (NEW, NEWER):
        database.mint(sequence)
        found.append(codes(database.index(), a_genome(demA=sequence))[0])

    assert found == [5, 6]
    assert built(caplog) == 1


def test_a_file_is_written_again_once_many_alleles_are_not_in_it(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database.index(folder)
    [before] = files(folder)
    with database.look.engine.begin() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        rows = [(n, allele_key(s).hex, s.decode()) for n, s in enumerate(many_alleles(), 100)]
        raw.executemany(
            "INSERT INTO alleles (locus_id, number, key, sequence) VALUES (1, ?, ?, ?)", rows
        )
    database.in_a_new_process().index(folder)
    [after] = files(folder)
    index = database.in_a_new_process().index(folder)

    assert before != after
    assert index.exact.n_alleles == 28 + indexes.WORTH_A_FILE
    assert built(caplog) == 1


def many_alleles() -> list[bytes]:
    rng = np.random.default_rng(1)
    letters = np.frombuffer(b"ACGT", np.uint8)
    return [letters[rng.integers(4, size=60)].tobytes() for _ in range(indexes.WORTH_A_FILE)]


def test_a_newer_version_of_the_scheme_is_indexed_anew(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database.index(folder)
    changed = MADE.alleles["demA"][0].replace(b"AC", b"AG", 1)
    database.look.change(
        "UPDATE alleles SET sequence = :s, key = :k WHERE locus_id = 1 AND number = 1",
        s=changed.decode(),
        k=allele_key(changed).hex,
    )
    database.look.change("UPDATE schemes SET version = 2")
    index = database.index(folder)

    assert codes(index, a_genome(demA=changed))[0] == 1
    assert built(caplog) == 2
    assert len(files(folder)) == 1


def test_what_a_site_decides_of_a_scheme_counts_at_once(database: Database) -> None:
    assert not database.index().require_orf
    param = SchemeParam(scheme="mlst", require_orf=True, coding=True)
    database.store.schemes.save_scheme("mlst", name="", param=param)

    index = database.index()
    assert (index.require_orf, index.coding) == (True, True)


def test_a_locus_that_a_site_renames_is_called_so_at_once(database: Database) -> None:
    database.index()
    database.look.change("UPDATE loci SET name = 'thrA' WHERE name = 'demA'")

    assert database.index().names[0] == "thrA"


def test_a_locus_that_gets_its_first_alleles_can_have_new_ones_too(database: Database) -> None:
    database.look.change("DELETE FROM alleles WHERE locus_id = 7")
    database.index()
    for number, sequence in enumerate(MADE.alleles["demG"], 1):
        database.look.change(
            "INSERT INTO alleles (locus_id, number, key, sequence) VALUES (7, :n, :k, :s)",
            n=number,
            k=allele_key(sequence).hex,
            s=sequence.decode(),
        )
    changed = MADE.alleles["demG"][0].replace(b"AC", b"AG", 1)
    calls = type_genome(a_genome(demG=changed), database.index())

    assert calls[6].status is CallStatus.NOVEL


def test_an_allele_that_is_taken_away_is_not_found_any_more(
    database: Database, folder: Path
) -> None:
    number = MADE.profiles[2][0]
    database.index(folder)
    database.look.change("DELETE FROM alleles WHERE locus_id = 1 AND number = :n", n=number)
    for process in (database, database.in_a_new_process()):
        found = codes(process.index(folder), a_genome(st=3))

        assert found == (None, *MADE.profiles[2][1:])


# Another database


@pytest.mark.parametrize("time", [WHEN, None])
def test_the_index_of_another_database_with_the_same_ids_is_never_used(
    tmp_path: Path, database: Database, folder: Path, time: str | None
) -> None:
    other = a_database(f"sqlite:///{tmp_path / 'other.db'}", OTHER)
    for one in (database, other):
        one.look.change("UPDATE alleles SET created = :time", time=time)
    ours, theirs = database.index(folder), other.index(folder)

    assert database.store.schemes.allele_stamp(1) == other.store.schemes.allele_stamp(1)
    assert codes(ours, a_genome(MADE, 2)) == MADE.profiles[1]
    assert codes(theirs, a_genome(OTHER, 2)) == OTHER.profiles[1]
    assert codes(database.in_a_new_process().index(folder), a_genome(MADE)) == MADE.profiles[0]


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
def test_what_was_minted_before_a_backup_was_restored_is_forgotten(
    database: Database, folder: Path, kept: str
) -> None:
    database.mint(NEW)
    database.index(folder if kept == "in a file" else None)
    database.look.change("DELETE FROM alleles WHERE id = 29")
    for sequence in (NEWER, NEWER[:-1] + b"C"):
        database.mint(sequence)
    process = database if kept == "in memory" else database.in_a_new_process()
    index = process.index(folder)

    assert codes(index, a_genome(demA=NEW))[0] is None
    assert codes(index, a_genome(demA=NEWER))[0] == 5


def test_a_folder_tells_databases_apart_and_no_password() -> None:
    urls = [
        "postgresql+psycopg://me:hunter2@db1/senterica?password=hunter2",
        "postgresql+psycopg://me:hunter2@db2/senterica",
        "postgresql+psycopg://me:hunter2@db1/ecoli",
        "sqlite:////share/senterica.db",
        "sqlite:////elsewhere/senterica.db",
    ]
    names = [folder_name("senterica", url) for url in urls]

    assert len(set(names)) == len(urls)
    assert all(name.startswith("senterica-") for name in names)
    assert folder_name("senterica", urls[0].replace("hunter2", "changed")) == names[0]
    assert "/" not in folder_name("../../etc", urls[0])


# Threads, and odd schemes


def test_two_threads_build_one_index(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = list[TypingIndex]()
    threads = [
        threading.Thread(target=lambda: found.append(database.index(folder))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(found) == 4
    assert len({id(index.exact) for index in found}) == 1
    assert built(caplog) == 1


def test_no_more_indexes_are_kept_than_fit_the_memory(database: Database) -> None:
    for version in range(1, indexes.KEPT_IN_MEMORY + 5):
        database.look.change("UPDATE schemes SET version = :v", v=version)
        database.index()

    assert len(database.cache._held) == indexes.KEPT_IN_MEMORY


def test_a_scheme_without_alleles_has_an_empty_index(database: Database, folder: Path) -> None:
    database.look.change("DELETE FROM alleles")
    index = database.index(folder)

    assert index.exact.n_alleles == 0
    assert database.in_a_new_process().index(folder).exact.n_alleles == 0
    assert codes(index, a_genome()) == (0,) * 7


def test_an_allele_that_cannot_be_indexed_is_refused(database: Database) -> None:
    database.look.change("UPDATE alleles SET sequence = 'ACGT-ACGT' WHERE id = 3")

    with pytest.raises(InconsistentInput, match="not only A, C, G and T"):
        database.index()
