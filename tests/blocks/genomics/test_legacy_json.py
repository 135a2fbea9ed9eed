"""JSON in EnteroBase's columns: encoded once or twice, by Python 2 or 3, with keys of any age."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import InconsistentInput
from blocks.genomics.legacy_json import decoded, encoded, plain_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)
POINTER = "/share_space/interact/outputs/12/12/snps.gff.gz"


def encoded_again(value: Any, times: int) -> str:
    for _ in range(times):
        value = json.dumps(value)
    return value


@settings(deadline=None)
@given(OBJECTS, st.integers(1, 4))
def test_an_object_is_read_however_often_it_was_encoded(value: dict[str, Any], times: int) -> None:
    assert decoded(encoded_again(value, times), "other_data") == value


@settings(deadline=None)
@given(OBJECTS)
def test_what_we_write_was_encoded_once_and_is_ascii(value: dict[str, Any]) -> None:
    text = encoded(value)

    assert text.isascii()
    assert json.loads(text) == value


@pytest.mark.parametrize("text", [None, "", "  \n", "null", '""', '"null"', "{}", '"{}"'])
def test_an_empty_column_is_an_empty_object(text: str | None) -> None:
    assert decoded(text, "other_data") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("EGG", "holds no JSON"),
        ("{'job_id': 1}", "holds no JSON"),
        ('{"job_id": 1', "holds no JSON"),
        ('"{\\"job_id\\": "', "holds no JSON"),
        ("[" * 100_000, "holds no JSON"),
        ("1" * 5_000, "holds no JSON"),
        ("[1, 2]", "holds JSON that is no object"),
        ("true", "holds JSON that is no object"),
        ("7", "holds JSON that is no object"),
        ('"[1]"', "holds JSON that is no object"),
    ],
)
def test_what_is_no_object_is_named_with_the_column_that_holds_it(text: str, reason: str) -> None:
    with pytest.raises(InconsistentInput, match=f"^other_data of assembly 7 {reason}") as caught:
        decoded(text, "other_data of assembly 7")
    assert len(str(caught.value)) < 200


def test_half_a_surrogate_pair_of_an_old_row_survives_the_way_back() -> None:
    old = '{"source": "half \\ud83d"}'

    assert encoded(decoded(old, "other_data")) == old


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_a_file_pointer_is_read_however_often_it_was_encoded(times: int) -> None:
    assert plain_text(encoded_again(POINTER, times)) == POINTER


@pytest.mark.parametrize(
    "text", ["", '"', '""', '"a', 'a"', '"a"b"', '{"a": 1}', "12", '"12" and "13"']
)
def test_a_text_that_only_looks_encoded_stays(text: str) -> None:
    assert plain_text(text) == (text if text != '""' else "")
