import base64
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from blocks.mx.records import (
    Attempt,
    AttemptState,
    Finished,
    Message,
    Picture,
    ProcessingJob,
    Severity,
)
from tasks.mx.plots import spots_picture
from tasks.mx.report import failure_report, report, shells_table, step_report
from tests.fakes.builders import a_collection, a_job, a_shell, a_solution, a_sweep
from tests.fakes.pages import HOSTILE, columns, nasty_text, rendered, shape

ATTEMPT = Attempt(
    id=68626954, job_id=4024, state=AttemptState.RUNNING, program="xia2 dials", command_line="",
    message="", environment="", started_at=None, updated_at=None,
)  # fmt: skip
RESULTS = Path("/dls/i03/processed/xia2-dials")
printable = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
pieces_of_a_name = st.sampled_from([*"|\\`<>*_[]()#&!x ", "\\|"])
nasty_name = st.lists(pieces_of_a_name, min_size=1, max_size=9).map("".join) | st.text(
    printable, min_size=1, max_size=9
)


def a_report(
    job: ProcessingJob | None = None,
    finished: Finished | None = None,
    *,
    argv: str = "xia2 pipeline=dials",
    results: Path = RESULTS,
) -> str:
    found = finished or Finished(solution=a_solution(), directory=RESULTS)
    return report(job or a_job(), ATTEMPT, found, argv=argv, results=results)


def rows_of(markdown: str) -> list[list[str]]:
    """Return the cells of all table rows, as text."""
    rows, in_table = list[list[str]](), False
    for token in rendered(markdown):
        in_table = token.type != "table_close" and (in_table or token.type == "table_open")
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and in_table:
            rows[-1].append(token.content)
    return rows


# What a scientist reads


def test_the_shells_are_a_table_as_xia2_prints_it() -> None:
    rows = {row[0]: row[1:] for row in rows_of(a_report())}

    assert rows["High resolution limit (Å)"] == ["101.25", "201.25", "301.25"]
    assert rows["CC½"] == ["105.250", "205.250", "305.250"]
    assert rows["Unique reflections"] == ["113", "213", "313"]


def test_each_number_of_a_shell_is_in_its_own_row() -> None:
    shells = [a_shell()]

    rows = shells_table(shells)

    assert len({row[1] for row in rows}) == len(rows) == 16


def test_a_number_that_the_program_did_not_say_is_a_dash() -> None:
    rows = dict(shells_table([a_shell(cc_anomalous=None, cc_half=0.0, n_unique=123456)]))

    assert rows["Anomalous correlation"] == "-"
    assert (rows["CC½"], rows["Unique reflections"]) == ("0.000", "123,456")


def test_the_facts_of_a_solution_are_in_the_report() -> None:
    rows = {row[0]: row[1] for row in rows_of(a_report()) if len(row) == 2}

    assert rows["Space group"] == "P 43 21 2"
    assert rows["Unit cell (Å, °)"] == "78.10 78.10 37.20 90.0 90.0 90.0"
    assert rows["Sweeps"] == "`sweep 1 (thau_1_2_####.cbf 1-400)`"
    assert rows["Job, attempt"] == "ProcessingJob 4024, AutoProcProgram 68626954"


@pytest.mark.parametrize(
    ("name", "title"), [("thaumatin", "thaumatin"), ("", "Processing job 4024")]
)
def test_a_report_has_the_name_of_its_job(name: str, title: str) -> None:
    assert a_report(a_job(display_name=name)).startswith(f"# {title}\n")


def test_repairs_and_warnings_are_in_the_report() -> None:
    solution = a_solution(messages=(Message(severity=Severity.WARNING, message="ice rings"),))
    finished = Finished(solution=solution, directory=RESULTS, repairs=("try 1 failed",))

    said = [token.content for token in rendered(a_report(finished=finished))]

    assert {"try 1 failed", "WARNING: ice rings"} <= set(said)


def test_the_command_and_the_folder_can_be_copied_as_they_are() -> None:
    argv = "xia2 image='/dls/a b/thau_0801.cbf:801:1200' spacegroup='P 4<3>' |"

    blocks = [token.content for token in rendered(a_report(argv=argv)) if token.type == "fence"]

    assert blocks == [f"{RESULTS}\n", f"{argv}\n"]


def test_a_picture_is_a_png_inside_the_page() -> None:
    picture = Picture(title="Spots", uri=spots_picture([5, 7, 6], [0]), caption="per image")

    image = next(t for t in rendered(step_report("Find spots", "3", picture)) if t.type == "image")

    kind, _, data = str(image.attrs["src"]).partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_all_pictures_of_a_run_are_in_its_report() -> None:
    uris = [f"data:image/png;base64,{code}" for code in ("AAAA", "BBBB")]
    pictures = tuple(Picture(title=f"plot {uri[-1]}", uri=uri) for uri in uris)
    finished = Finished(solution=a_solution(), directory=RESULTS, pictures=pictures)

    images = [t for t in rendered(a_report(finished=finished)) if t.type == "image"]

    assert [image.attrs["src"] for image in images] == uris


def test_a_failure_begins_with_its_reason_and_ends_with_its_evidence() -> None:
    page = failure_report(4024, ATTEMPT, "no solution", "no solution\nin /dls\n\nlast line")

    said = [token.content for token in rendered(page) if token.content]

    assert said[:2] == ["Processing job 4024 failed", "Processing job 4024 failed"]
    assert said[2] == "no solution"
    assert said[-1] == "no solution\nin /dls\n\nlast line\n"


# What a user can write into it


@pytest.mark.parametrize("text", HOSTILE)
def test_the_name_of_a_job_is_only_words(text: str) -> None:
    assert shape(a_report(a_job(display_name=text))) == shape(a_report(a_job(display_name="x")))


@settings(deadline=None)
@given(text=nasty_text)
def test_no_name_of_a_job_changes_the_page(text: str) -> None:
    assert shape(a_report(a_job(display_name=text))) == shape(a_report(a_job(display_name="x")))


@settings(deadline=None)
@given(text=nasty_text)
def test_no_reason_of_a_failure_changes_the_page(text: str) -> None:
    page = failure_report(4024, ATTEMPT, text, text)

    assert shape(page) == shape(failure_report(4024, ATTEMPT, "x", "x"))


@settings(deadline=None)
@given(text=nasty_text)
def test_no_message_of_a_program_changes_the_page(text: str) -> None:
    def page(message: str) -> str:
        told = (Message(severity=Severity.INFO, message=message),)
        finished = Finished(
            solution=a_solution(messages=told), directory=RESULTS, repairs=(message,)
        )
        return a_report(finished=finished)

    assert shape(page(text)) == shape(page("x"))


@settings(deadline=None)
@given(name=nasty_name.filter(lambda name: name.strip() and name.isprintable()))
def test_no_name_of_a_file_breaks_the_table(name: str) -> None:
    sweep = a_sweep(collection=a_collection(file_template=f"{name.replace('/', '')}.cbf"))

    page = a_report(a_job(sweep), results=RESULTS / name)

    assert (shape(page), columns(page)) == (shape(a_report()), columns(a_report()))


@pytest.mark.parametrize("name", ["thau\n1", "thau\n\n# 1", "a\\|b", "`|`"])
def test_no_folder_changes_the_page(name: str) -> None:
    page = a_report(results=RESULTS / name)

    assert (shape(page), columns(page)) == (shape(a_report()), columns(a_report()))


@settings(deadline=None)
@given(argv=nasty_text)
def test_no_parameter_leaves_the_block_of_the_command(argv: str) -> None:
    assert shape(a_report(argv=argv)) == shape(a_report())


@pytest.mark.parametrize("text", ["I/sigma < 2 > 1", "P 4_3 2_1 2", "R&D &lt; ~~1~~", "C:\\a*b"])
def test_what_a_user_wrote_is_shown_as_it_is(text: str) -> None:
    html = (
        MarkdownIt("commonmark").enable("strikethrough").render(a_report(a_job(display_name=text)))
    )

    shown = html.partition("</h1>")[0].removeprefix("<h1>")
    assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
