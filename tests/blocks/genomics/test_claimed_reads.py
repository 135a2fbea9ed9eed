"""Who assembles which reads: a night or a person, one run at a time, and what came of it."""

import pytest

from blocks.genomics.records import Fate
from blocks.genomics.unassembled import AssemblyCallStore, Unassembled
from tests.fakes.entero import Entero, at_once
from tests.fakes.night_rows import ids

TOOL = "spades 4"


def a_run() -> str:
    return f"run-{next(ids)}"


def a_strain(reads: str = "") -> Unassembled:
    """Return a strain as a night finds it; its rows are not looked at again."""
    return Unassembled(next(ids), "one", reads or f"SRR{next(ids):07}")


def assembling(entero: Entero) -> AssemblyCallStore:
    return entero.store.assembling


def claimed(
    entero: Entero, strain: Unassembled, night: int, *, run: str = "", force: bool = False
) -> bool:
    """Let a night claim the reads of a strain; return whether it got them."""
    facts = {"flow_run_id": run or f"night-{night}", "night_id": night, "force": force}
    return assembling(entero).claim_for_night(strain, TOOL, **facts)


def taken(entero: Entero, reads: str, run: str, held_by: str = "", job: int = 7) -> str:
    """Let a run claim reads; return who has them."""
    facts = {"flow_run_id": run, "tool": TOOL, "job_id": job, "held_by": held_by}
    return assembling(entero).claim(reads, **facts)


def row_of(entero: Entero, reads: str) -> dict[str, object]:
    [row] = entero.species.rows("SELECT * FROM assembly_calls WHERE reads = :reads", reads=reads)
    return dict(row._mapping)


def standing(entero: Entero, reads: str) -> tuple[object, ...]:
    row = row_of(entero, reads)
    return row["status"], row["fate"], row["reason"]


QUEUED = ("QUEUED", None, None)


# Nights


def test_a_night_takes_reads_that_nobody_has(entero: Entero) -> None:
    strain = a_strain()
    is_given = claimed(entero, strain, 3)
    row = row_of(entero, strain.reads)

    assert is_given
    assert standing(entero, strain.reads) == QUEUED
    assert (row["night_id"], row["flow_run_id"], row["strain_id"], row["tool"]) == (
        *(3, "night-3", strain.strain_id, TOOL),
    )
    assert "night-3" in assembling(entero).open_runs()


def test_a_claim_that_is_made_again_after_an_answer_that_never_came_is_given(
    entero: Entero,
) -> None:
    strain = a_strain()
    given = [claimed(entero, strain, 3) for _ in range(2)]
    before = row_of(entero, strain.reads)

    assert given == [True, True]
    assert claimed(entero, strain, 3, force=True)
    assert row_of(entero, strain.reads) == before


def test_what_one_night_has_another_does_not_get(entero: Entero) -> None:
    strain = a_strain()
    claimed(entero, strain, 3)
    before = row_of(entero, strain.reads)

    assert not claimed(entero, strain, 4)
    assert not claimed(entero, strain, 4, force=True)
    assert row_of(entero, strain.reads) == before


def test_of_nights_that_claim_the_same_reads_at_once_one_gets_them(entero: Entero) -> None:
    strain, numbers = a_strain(), [next(ids) for _ in range(6)]
    given = at_once([lambda one=one: claimed(entero, strain, one) for one in numbers])

    assert sorted(given) == [False] * 5 + [True]
    assert row_of(entero, strain.reads)["night_id"] == numbers[given.index(True)]


def test_of_nights_that_claim_failed_reads_again_at_once_one_gets_them(entero: Entero) -> None:
    for _ in range(3):
        strain, numbers = a_strain(), [next(ids) for _ in range(6)]
        claimed(entero, strain, 3)
        assembling(entero).fail_if_open(strain.reads, 3, "no power")
        given = at_once([lambda one=one, s=strain: claimed(entero, s, one) for one in numbers])

        assert sorted(given) == [False] * 5 + [True]


def test_a_night_and_a_person_that_want_reads_at_once_do_not_both_get_them(entero: Entero) -> None:
    for _ in range(3):
        strain, run = a_strain(), a_run()
        night, holder = at_once(
            [
                lambda s=strain: claimed(entero, s, 3),
                lambda s=strain, r=run: taken(entero, s.reads, r),
            ]
        )

        assert (night, holder) in ((True, "night-3"), (False, run))


def test_two_strains_with_the_same_reads_are_sent_once(entero: Entero) -> None:
    one = a_strain()
    other = a_strain(one.reads)

    assert (claimed(entero, one, 3), claimed(entero, other, 3)) == (True, False)


def test_runs_are_the_same_reads_in_any_order_and_uploads_in_theirs_only(entero: Entero) -> None:
    a, b = (f"SRR{next(ids):07}" for _ in range(2))
    upload = a_strain(f"{a}#1.fq#2.fq")
    claimed(entero, a_strain(f"{b},{a}"), 3)
    claimed(entero, upload, 3)

    assert not claimed(entero, a_strain(f"{a},{b}"), 4)
    assert not claimed(entero, upload, 4)
    assert claimed(entero, a_strain(f"{a}#2.fq#1.fq"), 4)
    assert row_of(entero, f"{a},{b}")["night_id"] == 3


@pytest.mark.parametrize("failed", [True, False], ids=["no assembly", "a poor assembly"])
def test_what_is_put_aside_meanwhile_is_not_taken_until_the_tool_changes(
    entero: Entero, *, failed: bool
) -> None:
    strain, run = a_strain(), a_run()
    taken(entero, strain.reads, run)
    facts = {"fate": Fate.PERMANENT, "reason": "N50 is 12", "failed": failed}
    assembling(entero).finish(strain.reads, run, **facts)
    nights = [claimed(entero, strain, night) for night in range(5)]
    night = {"flow_run_id": "night-6", "night_id": 6, "force": False}
    newer = assembling(entero).claim_for_night(strain, "spades 5", **night)

    assert nights == [False] * 5
    assert newer
    assert row_of(entero, strain.reads)["tool"] == "spades 5"
    assert standing(entero, strain.reads) == QUEUED


def test_what_was_taken_over_without_a_tool_waits_for_a_person(entero: Entero) -> None:
    strain, run = a_strain(), a_run()
    taken(entero, strain.reads, run)
    assembling(entero).finish(strain.reads, run, fate=Fate.PERMANENT, failed=True)
    sql = "UPDATE assembly_calls SET tool = NULL WHERE reads = :reads"
    entero.species.change(sql, reads=strain.reads)

    assert not claimed(entero, strain, 3)
    assert claimed(entero, strain, 4, force=True)


# Runs


def test_the_run_that_a_night_sends_takes_the_reads_over_from_it(entero: Entero) -> None:
    strain, run = a_strain(), a_run()
    claimed(entero, strain, 3)
    holder = taken(entero, strain.reads, run, held_by="night-3", job=11)
    row = row_of(entero, strain.reads)

    assert holder == run == row["flow_run_id"]
    assert (row["night_id"], row["job_id"], row["strain_id"]) == (3, 11, strain.strain_id)
    assert not claimed(entero, strain, 3)  # the night does not send it a second time


def test_a_person_is_told_who_has_the_reads(entero: Entero) -> None:
    strain, mine = a_strain(), a_run()
    claimed(entero, strain, 3)
    before = row_of(entero, strain.reads)

    assert taken(entero, strain.reads, mine) == "night-3"
    assert taken(entero, strain.reads, mine, held_by="night-4") == "night-3"
    assert row_of(entero, strain.reads) == before


def test_a_person_may_assemble_what_was_put_aside_and_the_night_leaves_it_to_him(
    entero: Entero,
) -> None:
    strain, mine = a_strain(), a_run()
    claimed(entero, strain, 3)
    assembling(entero).finish(strain.reads, "night-3", fate=Fate.BUG, reason="x", failed=True)

    assert taken(entero, strain.reads, mine) == mine
    assert not claimed(entero, strain, 3)
    assert row_of(entero, strain.reads)["night_id"] is None
    assembling(entero).fail_if_open(strain.reads, 3, "its run ended CRASHED")
    assert standing(entero, strain.reads) == QUEUED


def test_a_run_that_is_started_again_keeps_its_reads(entero: Entero) -> None:
    reads, run = a_strain().reads, a_run()

    assert [taken(entero, reads, run) for _ in range(2)] == [run, run]


def test_tries_are_counted_for_who_has_the_reads_and_begin_anew_with_each_claim(
    entero: Entero,
) -> None:
    reads, run = a_strain().reads, a_run()
    taken(entero, reads, run)
    for who in (run, "another", run):
        assembling(entero).tried(reads, who)
    first = row_of(entero, reads)["attempts"]
    taken(entero, reads, a_run(), held_by=run)

    assert (first, row_of(entero, reads)["attempts"]) == (2, None)


# What came of it


@pytest.mark.parametrize(
    ("fate", "failed", "expected"),
    [
        (None, False, ("COMPLETE", None, None)),
        (Fate.PERMANENT, False, ("COMPLETE", "permanent", "\ufffdwhy ?")),
        (Fate.TRANSIENT, True, ("FAILED", "transient", "\ufffdwhy ?")),
        (Fate.BUG, True, ("FAILED", "bug", "\ufffdwhy ?")),
    ],
)
def test_what_came_of_reads_is_stored_once(
    entero: Entero, fate: Fate | None, failed: bool, expected: tuple[str, ...]
) -> None:
    reads, run = a_strain().reads, a_run()
    taken(entero, reads, run)
    assembling(entero).finish(
        reads, run, fate=fate, reason="\0why \ud83d" if fate else "", failed=failed
    )
    before = row_of(entero, reads)
    assembling(entero).finish(reads, run, fate=Fate.BUG, reason="late", failed=True)

    assert standing(entero, reads) == expected
    assert row_of(entero, reads) == before
    assert run not in assembling(entero).open_runs()


def test_a_run_that_lost_its_reads_writes_nothing(entero: Entero) -> None:
    reads, lost, run = a_strain().reads, a_run(), a_run()
    taken(entero, reads, lost)
    taken(entero, reads, run, held_by=lost)
    before = row_of(entero, reads)
    assembling(entero).finish(reads, lost, fate=Fate.BUG, failed=True)
    assembling(entero).tried(reads, lost)

    assert assembling(entero).fail_open(lost, Fate.TRANSIENT, "x") == 0
    assert row_of(entero, reads) == before


def test_what_a_run_left_open_is_failed_and_what_it_finished_stays(entero: Entero) -> None:
    run, left, done = a_run(), a_strain().reads, a_strain().reads
    for reads in (left, done):
        taken(entero, reads, run)
    assembling(entero).finish(done, run)
    n_closed = [
        assembling(entero).fail_open(run, Fate.TRANSIENT, "lost:\0 silent") for _ in range(2)
    ]

    assert n_closed == [1, 0]
    assert standing(entero, left) == ("FAILED", "transient", "lost:\ufffd silent")
    assert standing(entero, done) == ("COMPLETE", None, None)


def test_what_a_night_sent_and_its_run_left_open_is_failed_by_the_machine(entero: Entero) -> None:
    strain, done = a_strain(), a_strain()
    for one in (strain, done):
        claimed(entero, one, 3)
    assembling(entero).finish(done.reads, "night-3")
    for night in (4, 3):
        assembling(entero).fail_if_open(strain.reads, night, f"night {night}:\0 CRASHED")
    assembling(entero).fail_if_open(done.reads, 3, "x")

    expected = ("FAILED", "transient", "night 3:\ufffd CRASHED")
    assert standing(entero, strain.reads) == expected
    assert standing(entero, done.reads) == ("COMPLETE", None, None)
