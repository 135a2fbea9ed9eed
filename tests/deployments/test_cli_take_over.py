"""`limsflow entero take-over`: what an operator types, reads, and can take back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.isolate_cli import Cli, is_one_line
from tests.fakes.old_entero import OldEntero, use_for_years

COMMAND = ("entero", "take-over", "--entero", "old.db")


@pytest.fixture
def old(limsflow: Cli, tmp_path: Path) -> Iterator[OldEntero]:
    """An EnteroBase that was used for years, in a file where the command runs."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    made = OldEntero(url, url)
    use_for_years(made)
    yield made
    made.close()


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_by_itself_it_lists_and_writes_nothing(limsflow: Cli, old: OldEntero) -> None:
    before = old.dump()
    said = limsflow(*COMMAND)

    assert (said.status, said.err) == (0, "")
    assert old.dump() == before
    assert said.out.startswith("a dry run: nothing is written\nwould be added to the schema:\n")
    assert "  table scheme_calls\n" in said.out
    assert "        4  scheme_calls                 completed before limsflow" in said.out
    assert "for example job_id 1: QUEUED -> FAILED\n" in said.out
    assert "        2  assembly_lookup              failed before limsflow: will be" in said.out
    assert said.out.endswith("to do it: the same command with --apply\n")


def test_it_is_done_when_asked_and_undone_by_its_number(limsflow: Cli, old: OldEntero) -> None:
    first = old.legacy()
    done = limsflow(*COMMAND, "--apply")
    between = old.legacy()
    undone = limsflow(*COMMAND, "--undo", "1")
    again = limsflow(*COMMAND, "--undo", "1")

    assert [one.status for one in (done, undone, again)] == [0, 0, 0]
    assert done.err == "limsflow: taking 1 begins\n"
    assert done.out.endswith("this is taking 1; to undo it: the same with --undo 1\n")
    assert between != first
    assert old.legacy() == first
    assert undone.out.endswith(" undone, 0 kept, and still on record\n")
    assert again.out.startswith("of taking 1 there is nothing to undo\n")


def test_done_again_it_says_that_there_is_nothing(limsflow: Cli, old: OldEntero) -> None:
    limsflow(*COMMAND, "--apply")
    before = old.dump()
    facts = json.loads(limsflow(*COMMAND, "--apply", "--json").out)
    said = limsflow(*COMMAND)

    assert (facts["applied"], facts["taking"], facts["schema"]) == (True, None, [])
    assert facts["changes"] == []
    assert old.dump() == before
    assert "\n0 would be changed, " in said.out
    assert "--apply" not in said.out


def test_json_and_the_file_of_changes_say_the_same(
    limsflow: Cli, old: OldEntero, tmp_path: Path
) -> None:
    facts = json.loads(limsflow(*COMMAND, "--json", "--changes", "list").out)
    limsflow(*COMMAND, "--apply", "--changes", "done")
    listed = lines((tmp_path / "list").read_text())
    written = [one for one in listed if "after" in one]
    left = [one["left"] for one in listed if "left" in one]

    assert (facts["applied"], facts["taking"]) == (False, None)
    assert [one["schema"] for one in listed if "schema" in one] == facts["schema"]
    assert sum(one["count"] for one in facts["changes"]) == len(written)
    assert sum(one["count"] for one in facts["left"]) == len(left)
    assert lines((tmp_path / "done").read_text()) == listed
    assert {one["table"] for one in written} >= {"scheme_calls", "user_jobs", "assembly_lookup"}


def test_changes_on_standard_output_stand_there_alone(limsflow: Cli, old: OldEntero) -> None:
    said = limsflow(*COMMAND, "--changes", "-")

    assert len(lines(said.out)) > 20
    assert said.err.startswith("a dry run: nothing is written\n")


def test_no_file_is_overwritten(limsflow: Cli, old: OldEntero, tmp_path: Path) -> None:
    before = (tmp_path / "old.db").read_bytes()
    said = limsflow(*COMMAND, "--changes", "old.db")

    assert is_one_line(said)
    assert "cannot write the changes to a new file old.db" in said.err
    assert (tmp_path / "old.db").read_bytes() == before


def test_what_others_changed_is_kept_and_said(limsflow: Cli, old: OldEntero) -> None:
    limsflow(*COMMAND, "--apply")
    old.look().change("UPDATE user_jobs SET status = 'KILLED' WHERE job_id = 1")
    said = limsflow(*COMMAND, "--undo", "1")
    facts = json.loads(limsflow(*COMMAND, "--undo", "1", "--json").out)

    assert " undone, 1 kept, and still on record\n" in said.out
    assert "user_jobs.status             changed by others since\n" in said.out
    assert [(one["count"], one["why"]) for one in facts["left"]] == [(1, "changed by others since")]
    assert facts["changes"] == []


def test_how_old_is_old_can_be_said(limsflow: Cli, old: OldEntero) -> None:
    said = [
        json.loads(limsflow(*COMMAND, "--json", "--older-than-days", days).out)
        for days in ("0", "7", "36500")
    ]
    jobs = [
        sum(one["count"] for one in facts["changes"] if one["table"] == "user_jobs")
        for facts in said
    ]

    assert jobs == [3, 2, 1]  # of one nobody wrote when it was sent


def test_jobs_are_those_of_the_species_that_is_named(limsflow: Cli, old: OldEntero) -> None:
    facts = json.loads(limsflow(*COMMAND, "--json", "--database", "ecoli").out)
    mine = {one["table"]: one["count"] for one in facts["changes"]}

    assert (mine["user_jobs"], mine["user_preferences"]) == (1, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--older-than-days", "-1"),
        ("--older-than-days", "nan"),
        ("--older-than-days", "1e99"),
        ("--undo", "0"),
        ("--undo", "1", "--apply"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_does_nothing(
    limsflow: Cli, old: OldEntero, wrong: tuple[str, ...]
) -> None:
    before = old.dump()

    assert limsflow(*COMMAND, *wrong).status == 2
    assert old.dump() == before


@pytest.mark.parametrize("how", [(), ("--apply",)])
def test_a_database_that_is_no_enterobase_is_refused_and_stays(
    limsflow: Cli, tmp_path: Path, how: tuple[str, ...]
) -> None:
    limsflow("init", str(tmp_path / "ispyb.db"))
    said = limsflow("entero", "take-over", "--entero", "ispyb.db", *how)

    assert is_one_line(said)
    assert "it is no species database of an EnteroBase" in said.err


def test_a_table_without_an_index_is_warned_of(limsflow: Cli, old: OldEntero) -> None:
    old.look().change("DROP INDEX lookup_of")
    said = limsflow(*COMMAND)

    assert said.status == 0
    assert said.err.startswith(
        "limsflow: assembly_lookup has no index that begins with assembly_id"
    )


def test_what_a_terminal_would_obey_is_not_printed(limsflow: Cli, old: OldEntero) -> None:
    old.look().change("DELETE FROM assembly_lookup")
    old.add_lookup(status="EGG", other_data='"\x1b[2J')
    said = limsflow(*COMMAND)

    assert "\x1b" not in said.out
    assert "\ufffd[2J" in said.out
