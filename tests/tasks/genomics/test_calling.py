"""Calling many pairs: each has its own outcome, whatever becomes of the others."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from blocks.errors import (
    DatabaseUnavailable,
    FileNotYetVisible,
    InconsistentInput,
    LimsflowError,
    ProgramFailed,
    ProgramKilled,
)
from blocks.genomics.pairs import Outcome
from blocks.genomics.records import Assembly, Claim, Fate, LookupStatus, Scheme, SchemeParam
from tasks.genomics import calling
from tasks.genomics.calling import ERROR_LENGTH, Called, outcomes

SCHEME = Scheme(id=1, description="SeroPred", name="one", param=SchemeParam(pipeline="SeroPred"))
LONGEST_S = 10


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "WAIT_S", 0.0)


def a_claim(number: int) -> Claim:
    assembly = Assembly(id=number, barcode=f"SAL_{number}_AS", status="legacy", file_pointer=None)
    return Claim(assembly=assembly, scheme=SCHEME, job_id=100 + number, flow_run_id="run-1")


class Machine:
    """A machine whose calls go as they are told to: each of a pair raises its next failure."""

    def __init__(self, **failures: Sequence[Exception]) -> None:
        self.failures = {name: list(some) for name, some in failures.items()}
        self.begun = Counter[int]()
        self.running = self.most = 0

    async def call(self, claim: Claim) -> Called:
        number = claim.assembly.id
        self.begun[number] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)  # others have their turn
        self.running -= 1
        left = self.failures.get(f"pair_{number}")
        if left:
            raise left.pop(0)
        return Called(results={"number": number})


async def always() -> bool:
    return True


def told(
    machine: Machine,
    n_pairs: int,
    *,
    at_once: int = 1,
    goes_on: Callable[[], Awaitable[bool]] = always,
) -> tuple[list[Outcome], list[BaseException]]:
    """Call pairs; return what was told of them, and the bugs."""

    async def call_all() -> tuple[list[Outcome], list[BaseException]]:
        ended, bugs = list[Outcome](), list[BaseException]()
        claims = [a_claim(number) for number in range(n_pairs)]
        async for some, broken in outcomes(claims, machine.call, at_once=at_once, goes_on=goes_on):
            ended += some
            bugs += broken
        return ended, bugs

    return asyncio.run(asyncio.wait_for(call_all(), LONGEST_S))


def only(machine: Machine) -> Outcome:
    """Call one pair; return what became of it."""
    [outcome], _ = told(machine, 1)
    return outcome


def test_a_result_is_the_outcome_of_its_pair(tmp_path: Path) -> None:
    [first, second], bugs = told(Machine(), 2)

    assert (first.assembly_id, first.scheme_id, first.job_id) == (0, 1, 100)
    assert (first.status, first.fate, first.attempts) == (LookupStatus.COMPLETE, None, 1)
    assert (first.results, second.results) == ({"number": 0}, {"number": 1})
    assert bugs == []


def test_what_fails_twice_and_then_goes_well_is_complete_with_three_attempts() -> None:
    machine = Machine(pair_0=[FileNotYetVisible("not here"), DatabaseUnavailable("away")])
    outcome = only(machine)

    assert (outcome.status, outcome.fate, outcome.attempts) == (LookupStatus.COMPLETE, None, 3)
    assert outcome.results == {"number": 0}


def test_what_the_machine_fails_three_times_is_left_for_another_night() -> None:
    machine = Machine(pair_0=[DatabaseUnavailable(f"away {n}") for n in range(9)])
    outcome = only(machine)

    assert (outcome.status, outcome.fate) == (LookupStatus.FAILED, Fate.TRANSIENT)
    assert (outcome.attempts, outcome.reason) == (3, "away 2")
    assert machine.begun[0] == 3


@pytest.mark.parametrize(
    ("failure", "fate"),
    [
        (InconsistentInput("no such locus"), Fate.PERMANENT),
        (ProgramFailed("exit status 155", program="spades"), Fate.PERMANENT),
        (ProgramKilled("out of memory", program="spades"), Fate.TRANSIENT),
    ],
    ids=["input", "program", "killed"],
)
def test_what_would_fail_again_is_tried_once(failure: LimsflowError, fate: Fate) -> None:
    machine = Machine(pair_0=[failure])
    outcome = only(machine)

    assert (outcome.status, outcome.fate) == (LookupStatus.FAILED, fate)
    assert (outcome.attempts, machine.begun[0]) == (1, 1)
    assert str(failure) in outcome.reason


def test_a_try_that_fails_for_good_counts_beside_those_before_it() -> None:
    machine = Machine(pair_0=[DatabaseUnavailable("away"), InconsistentInput("no such locus")])
    outcome = only(machine)

    assert (outcome.fate, machine.begun[0]) == (Fate.PERMANENT, 2)
    assert outcome.attempts == 2


def test_the_evidence_of_a_program_is_kept_and_cut_where_it_is_long() -> None:
    failure = ProgramFailed("exit status 1", directory=Path("/runs/7"), log_tail="no\n" * 5_000)
    outcome = only(Machine(pair_0=[failure]))

    assert outcome.reason.startswith("exit status 1\nin /runs/7\n\nno\n")
    assert len(outcome.reason) == ERROR_LENGTH


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_a_bug_is_the_outcome_of_one_pair_and_the_others_finish(at_once: int) -> None:
    bug = KeyError("hemD")
    machine = Machine(pair_1=[bug], pair_2=[InconsistentInput("empty")])
    ended, bugs = told(machine, 5, at_once=at_once)
    fates = {one.assembly_id: one.fate for one in ended}
    [reason] = [one.reason for one in ended if one.fate is Fate.BUG]

    assert fates == {0: None, 1: Fate.BUG, 2: Fate.PERMANENT, 3: None, 4: None}
    assert reason == "a bug, for a person to look at: KeyError: 'hemD'"
    assert bugs == [bug]
    assert machine.begun == Counter(range(5))


def test_a_bug_is_not_tried_again() -> None:
    machine = Machine(pair_0=[ZeroDivisionError("x")] * 3)

    assert only(machine).fate is Fate.BUG
    assert machine.begun[0] == 1


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_no_more_pairs_are_called_at_once_than_asked(at_once: int) -> None:
    machine = Machine()
    ended, _ = told(machine, 20, at_once=at_once)

    assert sorted(one.assembly_id for one in ended) == list(range(20))
    assert machine.most == min(at_once, 20)


def test_pairs_are_begun_in_the_order_given() -> None:
    machine = Machine()
    told(machine, 6, at_once=2)

    assert list(machine.begun) == list(range(6))


@pytest.mark.parametrize(("at_once", "n_begun"), [(1, 3), (2, 3), (64, 3)])
def test_when_somebody_waits_what_runs_is_finished_and_no_more_is_begun(
    at_once: int, n_begun: int
) -> None:
    machine, asked = Machine(pair_1=[DatabaseUnavailable("away")]), Counter[str]()

    async def three_times() -> bool:
        asked["times"] += 1
        return asked["times"] <= 3

    ended, _ = told(machine, 10, at_once=at_once, goes_on=three_times)

    assert sorted(machine.begun) == list(range(n_begun))
    assert sorted(one.assembly_id for one in ended) == list(range(n_begun))


def test_when_somebody_waits_at_once_nothing_is_begun() -> None:
    async def never() -> bool:
        return False

    machine = Machine()

    assert told(machine, 10, goes_on=never) == ([], [])
    assert not machine.begun


def test_of_no_pairs_nothing_is_told() -> None:
    assert told(Machine(), 0) == ([], [])


def test_what_ended_is_told_while_others_are_still_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "TELL_EVERY_S", 0.0)
    machine = Machine()

    async def call_all() -> list[list[int]]:
        claims = [a_claim(number) for number in range(4)]
        parts = outcomes(claims, machine.call, at_once=1, goes_on=always)
        return [[one.assembly_id for one in some] async for some, _ in parts]

    assert asyncio.run(call_all()) == [[0], [1], [2], [3]]


def test_what_ended_is_told_before_a_pair_that_takes_all_night(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "TELL_EVERY_S", 0.05)

    async def call_all() -> list[int]:
        first_is_told, order = asyncio.Event(), list[int]()

        async def call(claim: Claim) -> Called:
            if claim.assembly.id == 1:
                await asyncio.wait_for(first_is_told.wait(), 1)
            return Called()

        claims = [a_claim(number) for number in range(2)]
        async for some, bugs in outcomes(claims, call, at_once=2, goes_on=always):
            order += [one.assembly_id for one in some if not bugs]
            first_is_told.set()
        return order

    assert asyncio.run(call_all()) == [0, 1]


def test_no_call_goes_on_for_a_run_that_has_ended() -> None:
    async def end_early() -> int:
        async def call(claim: Claim) -> Called:
            await asyncio.sleep(60 * claim.assembly.id)
            return Called()

        claims = [a_claim(number) for number in range(3)]
        parts = outcomes(claims, call, at_once=2, goes_on=always)
        closing = asyncio.create_task(anext(parts))
        await asyncio.sleep(0.05)
        closing.cancel()  # as Prefect cancels a run
        await asyncio.wait([closing])
        await parts.aclose()
        return len(asyncio.all_tasks()) - 1

    assert asyncio.run(end_early()) == 0
