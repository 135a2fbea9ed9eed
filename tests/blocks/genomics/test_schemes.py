"""What the store promises of schemes, their alleles and types, on SQLite and on PostgreSQL."""

import json
from collections.abc import Iterator

import pytest

from blocks.errors import InconsistentInput, NoSuchRecord
from blocks.genomics.records import KnownAllele, Profile, SchemeParam
from tests.fakes.entero import LOCI, PROFILES, Entero, Loci, at_once, calls_of, ids, novel

COUNTED = ("schemes", "loci", "alleles", "sequence_types", "data_param")


def sizes(entero: Entero) -> list[int]:
    return [entero.species.count(table) for table in COUNTED]


def a_name() -> str:
    return f"cgMLST_{next(ids)}"


def with_alleles(**alleles: tuple[int, bytes]) -> Loci:
    """Return the loci of the small scheme, each with these alleles too."""
    return {
        locus: (*known, alleles[locus]) if locus in alleles else known
        for locus, known in LOCI.items()
    }


# Loading


def test_a_scheme_is_read_as_it_was_loaded(entero: Entero) -> None:
    name = a_name()
    new = entero.load(name, coding=True, first_own_number=900)
    scheme = entero.store.schemes.scheme(name)

    assert new == (6, 2)
    assert (scheme.description, scheme.name, scheme.version) == (name, "seven genes", 1)
    assert [locus.name for locus in scheme.loci] == list(LOCI)
    assert (scheme.param.coding, scheme.param.first_own_number) == (True, 900)
    assert scheme.is_nomenclature
    assert scheme.is_automatic


def test_alleles_come_locus_by_locus_with_the_lowest_number_first(entero: Entero) -> None:
    loci: Loci = {"b": ((10, b"AC"), (2, b"AG")), "a": ((1, b"AT"),)}
    scheme = entero.a_scheme(loci, ())

    assert list(entero.store.schemes.alleles(scheme.id)) == [
        KnownAllele(0, 2, b"AG"),
        KnownAllele(0, 10, b"AC"),
        KnownAllele(1, 1, b"AT"),
    ]


def test_the_key_of_an_allele_is_the_md5_of_its_sequence(entero: Entero) -> None:
    scheme = entero.a_scheme({"a": ((1, b"ATG"),)}, ())
    sql = "SELECT a.key FROM alleles a JOIN loci l ON l.id = a.locus_id WHERE l.scheme_id = :id"
    key = entero.species.value(sql, id=scheme.id)

    assert str(key).replace("-", "") == "358d9487b380ac5c8a500d50e60a16aa"  # md5sum


def test_a_type_is_found_by_its_profile_and_its_number(entero: Entero) -> None:
    scheme, schemes = entero.a_scheme(), entero.store.schemes
    found = schemes.type_of(scheme.id, (2, 1, 2))
    sql = "SELECT barcode, profile, extra FROM sequence_types WHERE scheme_id = :id AND number = 2"
    [row] = entero.species.rows(sql, id=scheme.id)

    assert found == (2, row.barcode)
    assert (row.profile, json.loads(row.extra)) == ("2,1,2", {"clonal_complex": "CC2"})
    assert schemes.profile(scheme.id, 2) == (2, 1, 2)
    assert schemes.type_of(scheme.id, (2, 2, 2)) is None
    with pytest.raises(NoSuchRecord, match="no sequence type 3 in this scheme"):
        schemes.profile(scheme.id, 3)


def test_loading_again_changes_nothing(entero: Entero) -> None:
    name = a_name()
    entero.load(name)
    before = sizes(entero), entero.store.schemes.scheme(name)

    assert entero.load(name) == (0, 0)
    assert (sizes(entero), entero.store.schemes.scheme(name)) == before


def test_what_is_new_is_added_and_raises_the_version(entero: Entero) -> None:
    name = a_name()
    entero.load(name)
    stamp = entero.store.schemes.allele_stamp(entero.store.schemes.scheme(name).id)
    more = with_alleles(dnaN=(3, b"ATGCCCGGA"))
    first = entero.load(name, more, (*PROFILES, Profile(3, (1, 3, 1))))
    again = entero.load(name, more, (*PROFILES, Profile(3, (1, 3, 1))))
    scheme = entero.store.schemes.scheme(name)
    newer = entero.store.schemes.alleles(scheme.id, after=stamp[1])

    assert (first, again, scheme.version) == ((1, 1), (0, 0), 2)
    assert list(newer) == [KnownAllele(1, 3, b"ATGCCCGGA")]
    assert entero.store.schemes.allele_stamp(scheme.id)[0] == stamp[0] + 1


def test_a_new_type_alone_raises_the_version(entero: Entero) -> None:
    name = a_name()
    entero.load(name)
    entero.load(name, None, (*PROFILES, Profile(7, (2, 2, 2))))

    assert entero.store.schemes.scheme(name).version == 2


def test_of_two_equal_profiles_the_first_is_the_type(entero: Entero) -> None:
    name = a_name()
    same = (Profile(5, (1, 1, 1)), Profile(9, (1, 1, 1)), Profile(5, (1, 1, 1)))
    counts = [entero.load(name, None, profiles) for profiles in (same, same, same[::-1])]
    scheme = entero.store.schemes.scheme(name)
    found = entero.store.schemes.type_of(scheme.id, (1, 1, 1))

    assert counts == [(6, 1), (0, 0), (0, 0)]
    assert found
    assert (found[0], scheme.version) == (5, 1)


def test_loci_in_another_order_are_the_same_loci(entero: Entero) -> None:
    name = a_name()
    entero.load(name)
    turned = {locus: LOCI[locus] for locus in ("hemD", "aroC", "dnaN")}
    new = entero.load(name, turned, (Profile(1, (1, 1, 1)), Profile(7, (2, 1, 2))))
    scheme = entero.store.schemes.scheme(name)

    assert new == (0, 1)
    assert [locus.name for locus in scheme.loci] == list(LOCI)
    assert entero.store.schemes.profile(scheme.id, 7) == (1, 2, 2)


CONFLICTS: dict[str, tuple[Loci, tuple[Profile, ...], str]] = {
    "a changed sequence": (
        LOCI | {"aroC": ((1, b"ATGAAACCC"), (2, b"ATGTTTTTT"))}, PROFILES,
        "allele aroC_2 is another sequence",
    ),
    "a sequence under another number": (
        LOCI | {"aroC": ((1, b"ATGAAACCC"), (7, b"ATGAAACCT"))}, PROFILES,
        "allele aroC_7 .* has another number there",
    ),
    "one sequence with two new numbers": (
        LOCI | {"aroC": ((8, b"ATGTTTTTT"), (9, b"ATGTTTTTT"))}, PROFILES, "allele aroC_9",
    ),
    "one new number with two sequences": (
        LOCI | {"aroC": ((8, b"ATGTTTTTT"), (8, b"ATGTTTTTA"))}, PROFILES, "allele aroC_8",
    ),
    "a changed profile": (
        with_alleles(hemD=(3, b"ATG")), (Profile(3, (1, 1, 3)), Profile(1, (2, 2, 2))),
        "sequence type 1 has another profile",
    ),
    "two profiles of one new type": (
        LOCI, (Profile(3, (1, 2, 1)), Profile(3, (1, 2, 2))), "sequence type 3 has another profile",
    ),
    "a type that has another number here": (
        LOCI, (Profile(3, (1, 1, 1)),), "sequence type 3 is type 1 in the database",
    ),
    "a locus more": (LOCI | {"sucA": ((1, b"ATG"),)}, (), "locus 'sucA' is not in the scheme"),
    "a locus less": (
        {"aroC": LOCI["aroC"], "dnaN": LOCI["dnaN"]}, (), "has a locus 'hemD' that is not in",
    ),
    "other loci": ({"x": (), "y": (), "z": ()}, (), "locus 'x' is not in the scheme"),
    "a profile that is too short": (
        LOCI, (Profile(3, (2, 2)),), "type 3 has 2 alleles, the scheme has 3 loci",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("loci", "profiles", "reason"), CONFLICTS.values(), ids=CONFLICTS)
def test_what_contradicts_the_database_is_refused_and_nothing_is_written(
    entero: Entero, loci: Loci, profiles: tuple[Profile, ...], reason: str
) -> None:
    name = a_name()
    entero.load(name)
    before = sizes(entero), entero.store.schemes.scheme(name)
    with pytest.raises(InconsistentInput, match=reason):
        entero.load(name, with_alleles() | loci if len(loci) > 3 else loci, profiles, coding=True)

    assert (sizes(entero), entero.store.schemes.scheme(name)) == before


def test_a_locus_that_comes_twice_is_refused(entero: Entero) -> None:
    before = sizes(entero)
    with pytest.raises(InconsistentInput, match="locus 'aroC' comes twice"):
        entero.store.schemes.load(
            a_name(), name="x", param=SchemeParam(), loci=[("aroC", ()), ("aroC", ())], profiles=()
        )

    assert sizes(entero) == before


def test_a_number_that_was_minted_here_is_not_given_away(entero: Entero) -> None:
    scheme = entero.a_scheme()
    claim = entero.given(entero.a_claim(scheme))
    entero.store.calls.store_typing(claim, [novel("aroC", "ATGTTTAAA"), *calls_of(1, 1, 1)[1:]])

    with pytest.raises(InconsistentInput, match=r"allele aroC_3 is another seq.*minted here"):
        entero.load(scheme.description, with_alleles(aroC=(3, b"ATGTTTAAG")))
    with pytest.raises(InconsistentInput, match="type 3 has another profile"):
        entero.load(scheme.description, None, (Profile(3, (2, 2, 2)),))


def test_a_profile_that_was_minted_here_is_not_lost_in_silence(entero: Entero) -> None:
    scheme = entero.a_scheme()
    claim = entero.given(entero.a_claim(scheme))
    entero.store.calls.store_typing(claim, calls_of(2, 2, 2))

    profiles = (*PROFILES, Profile(500, (2, 2, 2)))

    with pytest.raises(InconsistentInput, match=r"type 500 is type 3 in the.*minted here"):
        entero.load(scheme.description, None, profiles, first_own_number=4)


def test_a_broken_source_leaves_nothing_behind(entero: Entero) -> None:
    def cut_short() -> Iterator[Profile]:
        yield PROFILES[0]
        raise InconsistentInput("line 3 of profiles.txt is damaged")

    before = sizes(entero)
    with pytest.raises(InconsistentInput, match="line 3"):
        entero.load(a_name(), None, cut_short())

    assert sizes(entero) == before


def test_more_than_a_batch_of_alleles_and_types_is_loaded(entero: Entero) -> None:
    many = [(number, f"ATG{number:b}".encode()) for number in range(1, 5_102)]
    profiles = (Profile(number, (number,)) for number in range(1, 1_103))
    new = entero.load((name := a_name()), {"a": many}, profiles)
    scheme = entero.store.schemes.scheme(name)
    sql = "SELECT COUNT(DISTINCT barcode) FROM sequence_types WHERE scheme_id = :id"

    assert new == (5_101, 1_102)
    assert [one.number for one in entero.store.schemes.alleles(scheme.id)] == [n for n, _ in many]
    assert entero.species.value(sql, id=scheme.id) == 1_102


def test_two_that_load_a_new_scheme_at_once_make_one(entero: Entero) -> None:
    name = a_name()
    counts = at_once([lambda: entero.load(name)] * 3)

    assert sorted(counts) == [(0, 0), (0, 0), (6, 2)]
    assert entero.species.count("schemes", description=name) == 1


def test_alleles_that_are_read_bit_by_bit_stay_as_they_were_when_others_come(
    entero: Entero,
) -> None:
    many = [(number, f"ATG{number:b}".encode()) for number in range(1, 5_102)]
    scheme = entero.a_scheme({"a": many}, ())
    read = entero.store.schemes.alleles(scheme.id)
    first = next(read)
    entero.load(scheme.description, {"a": [*many, (6_000, b"ATGTTTAAA")]}, ())
    entero.store.jobs.start(accession="x", pipeline="x", flow_run_id=f"run-{next(ids)}")

    assert [first.number, *(one.number for one in read)] == [number for number, _ in many]
    assert len(list(entero.store.schemes.alleles(scheme.id))) == 5_102


def test_reading_that_is_given_up_holds_nothing(entero: Entero) -> None:
    scheme = entero.a_scheme()
    for _ in range(40):  # more than the pool has connections
        assert next(entero.store.schemes.alleles(scheme.id)).number == 1

    assert entero.load(scheme.description) == (0, 0)
