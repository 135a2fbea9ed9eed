"""The report of a night: what a person reads in the morning, whatever others have written."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings

from blocks.genomics.nights import Failure
from blocks.genomics.pairs import Skip
from blocks.genomics.records import Fate
from tasks.genomics.night import Counts
from tasks.genomics.night_report import (
    ASSEMBLIES,
    MOST_FAILURES,
    SHOWN_PAIRS,
    NightReport,
    Part,
    night_report,
)
from tests.fakes.pages import HOSTILE, looks, nasty_text, rendered, rows_of, words

MLST = Counts(
    scheme="MLST_Achtman", eligible=1_500, claimed=1_000, complete=980,
    failed={"transient": 7, "permanent": 11, "bug": 2}, skipped={Skip.COMPLETE: 990_000},
)  # fmt: skip
SEROVAR = Counts(scheme="SeroPred", eligible=3, claimed=3, complete=3, skipped={Skip.PUT_ASIDE: 4})
STRAINS = Counts(scheme="", eligible=2, claimed=1, complete=1, skipped={Skip.NO_READS: 5})


def a_failure(**changed: Any) -> Failure:
    usual = {
        "about": "SAL_AA0001AA_AS", "scheme": "SeroPred", "fate": Fate.PERMANENT,
        "reason": "no antigen found\nin /share/12", "flow_run_id": "f-1", "job_id": 12,
    }  # fmt: skip
    return Failure(**(usual | changed))


def a_part(*counts: Counts, **more: Any) -> Part:
    usual = {"database": "salmonella", "kind": "update-all-schemes", "n_looked_at": 9}
    return Part(**(usual | more), counts=list(counts or (MLST, SEROVAR)))


def a_page(*parts: Part, dry_run: bool = False, **more: Any) -> str:
    began, ended = (datetime(2026, 11, 22, 1, minute, tzinfo=UTC) for minute in (5, 50))
    night = NightReport(started=began, ended=ended, dry_run=dry_run, parts=list(parts))
    return night_report(night, **more)


def links(page: str) -> list[str]:
    return [str(token.attrs["href"]) for token in rendered(page) if token.type == "link_open"]


# What is told


def test_a_report_begins_with_what_was_claimed_what_failed_and_when() -> None:
    said = words(a_page(a_part()))

    assert said[0] == "1,003 claimed, 20 failed"
    assert said[1] == "2026-11-22 01:05 to 01:50 UTC, 45.0 min"


def test_each_scheme_has_its_counts_and_what_is_left_for_another_night() -> None:
    rows = rows_of(a_page(a_part()).split("## ")[0])

    assert rows["Scheme"] == [
        "Eligible", "Claimed", "Left", "Complete", "Transient", "Permanent", "Bug",
    ]  # fmt: skip
    assert rows["MLST_Achtman"] == ["1,500", "1,000", "500", "980", "7", "11", "2"]
    assert rows["SeroPred"] == ["3", "3", "0", "3", "0", "0", "0"]


def test_why_something_was_not_sent_is_counted_by_reason() -> None:
    page = a_page(a_part(MLST, SEROVAR), a_part(STRAINS, kind="update-assemblies"))
    rows = rows_of("## " + page.split("## ")[1])

    assert set(rows["Scheme"]) == {Skip.COMPLETE, Skip.PUT_ASIDE, Skip.NO_READS}
    by_reason = dict(zip(rows["Scheme"], rows["MLST_Achtman"], strict=True))
    assert by_reason == {Skip.COMPLETE: "990,000", Skip.PUT_ASIDE: "0", Skip.NO_READS: "0"}
    assert dict(zip(rows["Scheme"], rows[ASSEMBLIES], strict=True))[Skip.NO_READS] == "5"


def test_several_databases_are_told_apart_and_one_needs_no_column() -> None:
    one = a_page(a_part(SEROVAR), a_part(STRAINS))
    two = a_page(a_part(SEROVAR), a_part(MLST, database="escherichia"))

    assert "Database" not in rows_of(one)
    assert rows_of(two.split("## ")[0])["escherichia"][:2] == ["MLST_Achtman", "1,500"]


def test_what_failed_links_to_its_run_and_says_the_first_line_of_why() -> None:
    page = a_page(a_part(failures=[a_failure()]))

    assert links(page) == ["/runs/flow-run/f-1"]
    row = rows_of(page)["SAL_AA0001AA_AS"]
    assert row == ["SeroPred", "permanent", "no antigen found"]


def test_what_failed_without_a_run_is_named_and_not_linked() -> None:
    page = a_page(a_part(failures=[a_failure(flow_run_id="", fate=None)]))

    assert links(page) == []
    assert rows_of(page)["SAL_AA0001AA_AS"][1] == "-"


def test_more_failures_than_a_page_takes_are_counted() -> None:
    many = [a_failure(about=f"SAL_{n}_AS") for n in range(MOST_FAILURES + 30)]
    counts = MLST.model_copy(update={"failed": {"permanent": 1_080}})
    page = a_page(a_part(counts, failures=many))

    assert len(links(page)) == MOST_FAILURES
    assert words(page)[-1] == f"{1_080 - MOST_FAILURES:,} more are in the database."


def test_a_night_without_failures_or_reasons_has_no_empty_tables() -> None:
    page = a_page(a_part(SEROVAR.model_copy(update={"skipped": {}})))

    assert "Failed" not in words(page)
    assert "Not sent" not in words(page)
    assert words(a_page(a_part(Counts(scheme="SeroPred"))))[0] == "0 claimed, 0 failed"


def test_pictures_are_inside_the_page() -> None:
    uri = "data:image/png;base64,AAAA"
    page = a_page(a_part(), pictures=[("Progress", uri)])

    assert [str(t.attrs["src"]) for t in rendered(page) if t.type == "image"] == [uri]
    assert "Progress" in words(page)


# A dry run


def dry(n_listed: int, *, limit: int | None = None) -> str:
    listed = [(f"SAL_{n}_AS", "SeroPred") for n in range(n_listed)]
    counts = Counts(scheme="SeroPred", eligible=5_000)
    return a_page(a_part(counts, listed=listed, limit=limit), dry_run=True)


def test_a_dry_run_says_so_twice_and_lists_what_would_be_claimed_in_order() -> None:
    page = dry(3, limit=3)

    assert words(page)[0] == "dry run: 3 would be claimed"
    assert "This was a dry run: nothing was claimed, and nothing written." in words(page)
    assert words(page)[-3:] == [f"SAL_{n}_AS SeroPred" for n in range(3)]


@pytest.mark.parametrize(
    ("n_listed", "limit", "more"),
    [(1_000, None, 5_000 - SHOWN_PAIRS), (1_000, 1_000, 1_000 - SHOWN_PAIRS), (10, 10, 0)],
)
def test_what_a_dry_run_does_not_list_is_counted(
    n_listed: int, limit: int | None, more: int
) -> None:
    said = words(dry(n_listed, limit=limit))

    counted = [text for text in said if text.startswith("and ")]
    assert counted == ([f"and {more:,} more"] if more else [])
    assert sum(text.endswith("_AS SeroPred") for text in said) == min(n_listed, SHOWN_PAIRS)


# What others can write into it

Page = Callable[[str], str]


def a_page_full_of(text: str) -> str:
    counts = [one.model_copy(update={"scheme": text}) for one in (MLST, SEROVAR)]
    failures = [
        a_failure(about=text, scheme=text, reason=text),
        a_failure(about=text, scheme=text, reason=text, flow_run_id=""),
    ]
    own = a_part(*counts, failures=failures)
    return a_page(own, a_part(*counts, database="other"))


def a_list_full_of(text: str) -> str:
    return a_page(a_part(listed=[(text, text), (text, "")]), dry_run=True)


@pytest.mark.parametrize("page", [a_page_full_of, a_list_full_of])
@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_words(page: Page, text: str) -> None:
    assert looks(page(text)) == looks(page("x"))


@pytest.mark.parametrize("page", [a_page_full_of, a_list_full_of])
@settings(deadline=None, max_examples=40)
@given(text=nasty_text)
def test_no_text_changes_the_page(page: Page, text: str) -> None:
    assert looks(page(text)) == looks(page("x"))


@settings(deadline=None, max_examples=30)
@given(text=nasty_text)
def test_no_run_s_id_leaves_its_link(text: str) -> None:
    page = a_page(a_part(failures=[a_failure(flow_run_id="".join(text.split()))]))
    plain = a_page(a_part(failures=[a_failure(flow_run_id="x")]))
    without = a_page(a_part(failures=[a_failure(flow_run_id="")]))

    assert looks(page) in (looks(plain), looks(without))


@pytest.mark.parametrize("page", [a_page_full_of, a_list_full_of])
def test_a_page_can_be_stored_and_is_bounded_whatever_it_holds(page: Page) -> None:
    odd = page("a\ud800\0\x1b[31m\u202eb")

    assert not {"\0", "\x1b", "\u202e"} & set(odd.encode().decode())
    assert len(page("x" * 1_000_000)) < 20_000
