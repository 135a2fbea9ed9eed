from pathlib import Path

import pytest

from blocks.errors import InconsistentInput
from blocks.genomics.locus_file import Reason
from blocks.genomics.records import Profile
from tests.fakes.scheme_folders import ONE, TABLE, TWO, left_out, read


def test_loci_come_in_the_order_of_the_profile_table(tmp_path: Path) -> None:
    scheme = read(tmp_path, demo__txt="ST\tfumC\tadk\n7\t1\t2\n")

    assert scheme.loci == ("fumC", "adk")
    assert [profile.alleles for profile in scheme.profiles()] == [(1, 2)]


@pytest.mark.parametrize(
    "columns",
    [
        "clonal_complex",
        "mlst_clade\tclonal_complex\tspecies",
        "CC\tLineage",
        "clonal_complex\tMLST_cluster\tanything",
    ],
)
def test_columns_behind_the_loci_are_kept_beside_the_profile(columns: str, tmp_path: Path) -> None:
    names = columns.split("\t")
    cells = [f"{name} of 1" for name in names]
    header, row = f"ST\tadk\tfumC\t{columns}", "1\t1\t1\t" + "\t".join(cells)
    scheme = read(tmp_path, demo__txt=f"{header}\n{row}\n2\t2\t1\n")

    assert scheme.extra_columns == tuple(names)
    assert [profile.extra for profile in scheme.profiles()] == [
        dict(zip(names, cells, strict=True)),
        {},
    ]


@pytest.mark.parametrize("first", ["ST", "cgST", "rST", "#ST", "ST_id"])
def test_the_first_column_is_the_sequence_type(first: str, tmp_path: Path) -> None:
    assert read(tmp_path, demo__txt=TABLE.replace("ST", first, 1)).n_profiles == 2


def test_empty_cells_at_the_end_of_a_line_do_not_matter(tmp_path: Path) -> None:
    scheme = read(tmp_path, demo__txt="ST\tadk\tfumC\t\t\n1\t1\t1\t\t\n2\t2\t1\n\n\n")

    assert list(scheme.profiles()) == [Profile(1, (1, 1), {}), Profile(2, (2, 1), {})]


def test_a_number_between_those_that_are_there_is_not_there(tmp_path: Path) -> None:
    scheme = read(tmp_path, adk__tfa=f">adk_1\n{ONE}\n>adk_3\n{TWO}\n")

    assert left_out(scheme) == [("demo.txt", 3, "ST 2", Reason.UNKNOWN_ALLELE)]


@pytest.mark.parametrize("header", ["ST\tadk\tfumC\tthrA", "ST\tadk\tthrA\tfumC\tclonal_complex"])
def test_a_locus_whose_file_is_missing_is_no_extra_column(header: str, tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match=r"demo.txt has a column 'thrA' without a FASTA"):
        read(tmp_path, demo__txt=f"{header}\n")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("ST,adk,fumC\n1,1,1\n", "not separated by tabs"),
        ("ST\tadk\tadk\n", "two columns 'adk'"),
        ("ST\tclonal_complex\n", "no column of a locus"),
        ("ST\tadk\tclonal_complex\tfumC\n", "the locus fumC behind columns that are no loci"),
        ("ST\tadk\tfumC\n1\t1\n", "line 2 has 2 cells, not 3"),
        ("ST\tadk\tfumC\n1\t1\t1\n2\n", "line 3 has 1 cells"),
        ("ST\tadk\tfumC\n1\t1\t1\t1\n", "line 2 has 4 cells"),
        ("ST\tadk\tfumC\n1\t1\t1\n1\t2\t1\n", "line 3 gives ST 1 another profile"),
        (b"ST\tadk\tfumC\tspecies\n1\t1\t1\tM\xfcller\n", "line 2 is not UTF-8"),
        (b"\x1f\x8b\x08damaged", "demo.txt cannot be read"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(
    table: str | bytes, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InconsistentInput, match=problem):
        read(tmp_path, demo__txt=table)


def test_of_two_tables_the_one_named_as_the_scheme_is_taken(tmp_path: Path) -> None:
    scheme = read(tmp_path, older__txt="ST\tadk\n1\t1\n", README__txt="how to\tuse this\n")

    assert scheme.n_profiles == 2


def test_two_tables_of_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match=r"a.txt, b.tsv are all tables of profiles"):
        read(tmp_path, demo__txt=None, a__txt=TABLE, b__tsv=TABLE)


@pytest.mark.parametrize(
    ("row", "what", "reason"),
    [
        ("9\t3\t1", "ST 9", Reason.UNKNOWN_ALLELE),
        ("9\t1,2\t1", "ST 9", Reason.NOT_A_CODE),
        ("9\t1\t0.5", "ST 9", Reason.NOT_A_CODE),
        ("9\t²\t1", "ST 9", Reason.NOT_A_CODE),
        ("9\t0\tN", "ST 9", Reason.NO_ALLELES),
        ("9\t1\t1", "ST 9", Reason.SAME_PROFILE),
        ("1\t1\t1", "ST 1", Reason.REPEATED),
        ("new\t1\t1", "ST new", Reason.NUMBER),
        ("-1\t1\t1", "ST -1", Reason.NUMBER),
        ("\t1\t1", "ST ", Reason.NUMBER),
    ],
)
def test_a_profile_that_cannot_be_found_is_left_out(
    row: str, what: str, reason: Reason, tmp_path: Path
) -> None:
    scheme = read(tmp_path, demo__txt=f"{TABLE}{row}\n")

    assert left_out(scheme) == [("demo.txt", 4, what, reason)]
    assert [profile.number for profile in scheme.profiles()] == [1, 2]
    assert scheme.n_profiles == 2


@pytest.mark.parametrize("code", ["0", "N", "", "-", "?", "-7", " 0 "])
def test_a_locus_without_an_allele_is_zero_in_a_profile(code: str, tmp_path: Path) -> None:
    scheme = read(tmp_path, demo__txt=f"{TABLE}3\t2\t{code}\n")

    assert list(scheme.profiles())[-1] == Profile(3, (2, 0), {})


def test_sequence_types_that_become_the_same_are_one(tmp_path: Path) -> None:
    scheme = read(
        tmp_path,
        adk__tfa=f">adk_1\n{ONE}\n>adk_2\n{ONE}\n",
        demo__txt="ST\tadk\tfumC\n1\t1\t1\n2\t2\t1\n",
    )

    assert [profile.number for profile in scheme.profiles()] == [1]
    assert left_out(scheme)[1] == ("demo.txt", 3, "ST 2", Reason.SAME_PROFILE)
