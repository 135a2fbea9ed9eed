"""Barcodes as EnteroBase has them: `SAL_AA0019AA_AS`."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import InvalidRequest
from blocks.genomics.barcodes import IN_FOUR_DIGITS, LETTERS, Kind, barcode, require_barcode

MOST = IN_FOUR_DIGITS * len(LETTERS) ** 4
NUMBERS = st.integers(0, MOST - 1)
KINDS = st.sampled_from(get_args(Kind))


@pytest.mark.parametrize(
    ("number", "kind", "expected"),
    [
        (0, "AS", "SAL_AA0000AA_AS"),
        (1, "AS", "SAL_AA0001AA_AS"),
        (19, "ST", "SAL_AA0019AA_ST"),
        (9_999, "TR", "SAL_AA9999AA_TR"),
        (10_000, "TR", "SAL_BA0000AA_TR"),
        (260_000, "AL", "SAL_AB0000AA_AL"),
        (6_760_000, "SC", "SAL_AA0000BA_SC"),
        (MOST - 1, "LO", "SAL_ZZ9999ZZ_LO"),
        (7, "", "SAL_AA0007AA"),
    ],
)
def test_a_barcode_counts_its_digits_first_and_then_its_letters(
    number: int, kind: Kind, expected: str
) -> None:
    assert barcode("SAL", number, kind) == expected


@settings(deadline=None)
@given(NUMBERS, NUMBERS, KINDS)
def test_two_rows_have_two_barcodes(one: int, other: int, kind: Kind) -> None:
    assert (barcode("ESC", one, kind) == barcode("ESC", other, kind)) is (one == other)


@settings(deadline=None)
@given(NUMBERS, KINDS)
def test_a_barcode_is_one_of_its_kind(number: int, kind: Kind) -> None:
    assert require_barcode(barcode("YER", number, kind), kind) == barcode("YER", number, kind)


@pytest.mark.parametrize("number", [-1, MOST, MOST + 1, 10**30])
def test_no_barcode_is_given_twice_when_none_is_left(number: int) -> None:
    with pytest.raises(InvalidRequest, match="is outside of a database's barcodes"):
        barcode("SAL", number, "AS")


@pytest.mark.parametrize("prefix", ["", "SA", "SALM", "sal", "SÄL", "S L", "SAL\n", "S1L"])
def test_a_prefix_is_three_capital_letters(prefix: str) -> None:
    with pytest.raises(InvalidRequest, match="three capital letters like SAL"):
        barcode(prefix, 1, "AS")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SAL_AA0019AA",
        "SAL_AA0019AA_TR",
        "SAL_AA0019AA_AS ",
        "SAL_AA0019AA_AS\n",
        " SAL_AA0019AA_AS",
        "SAL_AA019AA_AS",
        "sal_aa0019aa_as",
        "SAL_AA\u0660\u0660\u0661\u0669AA_AS",
        "../SAL_AA0019AA_AS",
        "SAL_AA0019AA_AS' OR '1'='1",
    ],
)
def test_what_is_no_barcode_of_an_assembly_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a barcode like SAL_AA0019AA_AS"):
        require_barcode(text, "AS")


def test_a_strain_has_no_letters_at_the_end() -> None:
    assert require_barcode("SAL_AA0019AA", "") == "SAL_AA0019AA"
