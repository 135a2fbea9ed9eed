import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.markdown import code, cut, fenced, link, section, shown, table
from tests.fakes.pages import columns, rendered, shape, words


@pytest.mark.parametrize("text", ["", "`", "a`b|c", "``|``", "two\nlines", "a\u2028b"])
def test_code_stays_in_its_cell(text: str) -> None:
    page = table(["", "x"], [[code(text), "1"]])

    assert shape(page) == shape(table(["", "x"], [[code("a"), "1"]]))
    assert columns(page) == [2, 2, 2]


@given(st.text())
def test_a_block_holds_whatever_it_is_given(text: str) -> None:
    assert [token.type for token in rendered(fenced(text))] == ["fence"]


def test_a_text_is_cut_at_its_length_and_not_before() -> None:
    assert (cut("abcde", 5), cut("abcdef", 5)) == ("abcde", "ab...")


def test_nothing_to_show_is_a_dash() -> None:
    assert [shown(text) for text in ("", " \n ", "a.b")] == ["-", "-", "a\\.b"]


def test_a_section_without_lines_has_no_heading() -> None:
    assert (section("Repairs", []), section("Repairs", ["* x"])) == ([], ["## Repairs", "* x"])


@pytest.mark.parametrize("address", ["https://lab.example/a|b`c<d>\"e'(f)", "/runs/1"])
def test_an_address_cannot_leave_its_link(address: str) -> None:
    (token,) = [t for t in rendered(link("a]|b", address)) if t.type == "link_open"]

    assert not set(str(token.attrs["href"])) & set("|`<>\"'() ")
    assert words(link("a]|b", address)) == ["a]|b"]
