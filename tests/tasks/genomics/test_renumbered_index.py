"""An index, in memory and in a file, after PubMLST gave an allele of ours another number."""

from pathlib import Path

import pytest

from tests.fakes.indexed import MADE, NEW, Database, a_database, a_genome, codes

OWN = 5  # the next number of a locus with four alleles


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database with an allele of ours."""
    made = a_database(f"sqlite:///{tmp_path / 'entero.db'}")
    assert made.mint(NEW) == OWN
    made.look.change("UPDATE alleles SET minted_for = 'SYN_AA0001AA_AS' WHERE number = :n", n=OWN)
    return made


def renumber(database: Database) -> None:
    scheme = database.scheme
    alleles = {locus: tuple(enumerate(own, 1)) for locus, own in MADE.alleles.items()}
    added = database.store.schemes.load(
        scheme.description,
        name=scheme.name,
        param=scheme.param,
        loci=(alleles | {"demA": (*alleles["demA"], (9, NEW))}).items(),
        profiles=(),
    )
    assert [(one.before, one.now) for one in added.renumbered] == [(OWN, 9)]


def first_code(database: Database, folder: Path | None = None) -> int | None:
    return codes(database.index(folder), a_genome(demA=NEW))[0]


@pytest.mark.parametrize("kept", ["in memory", "in a file", "in both"])
def test_the_index_knows_the_new_number(database: Database, tmp_path: Path, kept: str) -> None:
    folder = None if kept == "in memory" else tmp_path / "indexes"
    before = first_code(database, folder)
    renumber(database)
    reader = database.in_a_new_process() if kept == "in a file" else database

    assert (before, first_code(reader, folder)) == (OWN, 9)
