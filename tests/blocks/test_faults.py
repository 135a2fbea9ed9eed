import asyncio

import pytest

from blocks.errors import (
    DataError,
    InconsistentInput,
    OutputInvalid,
    ProgramError,
    ProgramFailed,
    ProgramKilled,
)
from blocks.faults import Fault, Repair, run_with_remedies

OUT_OF_MEMORY = Fault[int](
    name="out of memory",
    marks=lambda error: isinstance(error, ProgramKilled),
    remedy=lambda processes: processes // 2 or None,
    limit=2,
)
CRASHED_WORKER = Fault[int](
    name="crashed worker",
    marks=lambda error: "pool" in str(error),
    remedy=lambda processes: processes,
    limit=1,
)
KILLED = ProgramKilled("xia2 was killed by signal 9")
CRASHED = ProgramFailed("the pool is broken")
UNKNOWN = ProgramFailed("no solution")


class Cluster:
    """Runs jobs that fail with the given errors, in this order, and then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = list[tuple[int, int]]()
        self.repairs = list[Repair]()

    async def run(self, processes: int, number: int) -> str:
        self.tries.append((number, processes))
        if self.errors:
            raise self.errors.pop(0)
        return "solved"

    async def put_on_record(self, repair: Repair) -> None:
        await asyncio.sleep(0)
        self.repairs.append(repair)


def process(cluster: Cluster, *, processes: int = 8, max_tries: int = 9) -> str:
    return asyncio.run(
        run_with_remedies(
            cluster.run,
            processes,
            [OUT_OF_MEMORY, CRASHED_WORKER],
            max_tries=max_tries,
            on_repair=cluster.put_on_record,
        )
    )


def test_a_job_that_succeeds_runs_once() -> None:
    cluster = Cluster()

    assert process(cluster) == "solved"
    assert (cluster.tries, cluster.repairs) == ([(1, 8)], [])


def test_a_known_fault_is_mended_and_tried_again_with_the_changed_job() -> None:
    cluster = Cluster(KILLED, KILLED)

    assert process(cluster) == "solved"
    assert cluster.tries == [(1, 8), (2, 4), (3, 2)]


def test_each_repair_is_put_on_record_with_its_number_fault_and_error() -> None:
    cluster = Cluster(KILLED, CRASHED)

    process(cluster)

    assert cluster.repairs == [
        Repair(number=1, fault="out of memory", error="xia2 was killed by signal 9"),
        Repair(number=2, fault="crashed worker", error="the pool is broken"),
    ]


def test_a_repair_reads_as_a_sentence() -> None:
    repair = Repair(number=1, fault="out of memory", error="xia2 was killed by signal 9")

    assert str(repair) == (
        "try 1 failed (out of memory): xia2 was killed by signal 9; trying again with a remedy"
    )


def test_a_repair_is_on_record_before_the_next_try() -> None:
    cluster = Cluster(KILLED)
    recorded = list[int]()

    async def run(processes: int, number: int) -> str:
        recorded.append(len(cluster.repairs))
        return await Cluster.run(cluster, processes, number)

    asyncio.run(
        run_with_remedies(run, 8, [OUT_OF_MEMORY], max_tries=3, on_repair=cluster.put_on_record)
    )

    assert recorded == [0, 1]


@pytest.mark.parametrize(
    ("errors", "tries"),
    [
        pytest.param([KILLED] * 9, 3, id="memory twice"),
        pytest.param([CRASHED] * 9, 2, id="worker once"),
        pytest.param([KILLED, CRASHED, KILLED, CRASHED], 4, id="each by itself"),
    ],
)
def test_a_remedy_is_used_no_oftener_than_its_limit(errors: list[ProgramError], tries: int) -> None:
    cluster = Cluster(*errors)

    with pytest.raises(ProgramError) as failure:
        process(cluster)

    assert failure.value is errors[tries - 1]
    assert (len(cluster.tries), len(cluster.repairs)) == (tries, tries - 1)


@pytest.mark.parametrize("max_tries", [1, 2])
def test_all_remedies_together_are_bounded_and_the_last_failure_is_no_repair(
    max_tries: int,
) -> None:
    cluster = Cluster(KILLED, CRASHED, KILLED)

    with pytest.raises(ProgramError):
        process(cluster, max_tries=max_tries)

    assert (len(cluster.tries), len(cluster.repairs)) == (max_tries, max_tries - 1)


def test_an_unknown_failure_is_raised_at_once() -> None:
    cluster = Cluster(UNKNOWN)

    with pytest.raises(ProgramFailed, match="no solution"):
        process(cluster)

    assert (len(cluster.tries), cluster.repairs) == (1, [])


def test_without_a_remedy_left_the_failure_is_raised() -> None:
    cluster = Cluster(KILLED)

    with pytest.raises(ProgramKilled):
        process(cluster, processes=1)

    assert (len(cluster.tries), cluster.repairs) == (1, [])


@pytest.mark.parametrize(
    "error", [InconsistentInput("two proposals"), DataError("dark"), ZeroDivisionError("a bug")]
)
def test_bad_data_and_bugs_are_not_mended(error: Exception) -> None:
    anything = Fault[int](name="any", marks=lambda _: True, remedy=lambda job: job, limit=9)
    cluster = Cluster(error)

    with pytest.raises(type(error)):
        asyncio.run(
            run_with_remedies(
                cluster.run, 8, [anything], max_tries=9, on_repair=cluster.put_on_record
            )
        )

    assert len(cluster.tries) == 1


def test_the_first_fault_that_fits_is_mended() -> None:
    cluster = Cluster(ProgramKilled("the pool was killed"))

    process(cluster)

    assert [repair.fault for repair in cluster.repairs] == ["out of memory"]


def test_a_fault_whose_limit_is_reached_leaves_the_failure_to_the_next() -> None:
    both = ProgramKilled("the pool was killed")
    cluster = Cluster(both, both, both)

    assert process(cluster) == "solved"
    assert [repair.fault for repair in cluster.repairs][2] == "crashed worker"


def test_a_record_that_cannot_be_written_stops_the_tries() -> None:
    cluster = Cluster(KILLED)

    async def disk_full(repair: Repair) -> None:
        raise OutputInvalid(repair.fault)

    with pytest.raises(OutputInvalid, match="out of memory"):
        asyncio.run(
            run_with_remedies(cluster.run, 8, [OUT_OF_MEMORY], max_tries=9, on_repair=disk_full)
        )

    assert len(cluster.tries) == 1


def test_no_try_at_all_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="max_tries must be at least 1, not 0"):
        process(Cluster(), max_tries=0)
