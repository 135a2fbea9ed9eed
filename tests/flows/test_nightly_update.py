"""The night: every database's schemes, then its assemblies, one report, and one end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from blocks.genomics.records import LookupStatus
from tasks.genomics.night_report import ASSEMBLIES, Part
from tests.flows.isolates import Isolates, published
from tests.flows.nights import dump, nothing_is_open, rehearsed, uploaded
from tests.flows.strains import Bench, make_bench
from tests.flows.test_nights_that_fail import BREAKS


def nightly(bench: Bench, *others: Isolates, **options: Any) -> Any:
    """Go over the databases; return the state that the night ends in."""
    from flows.nightly_update import nightly_update  # noqa: PLC0415 - loads Prefect
    from tasks.fan_out import FanOut  # noqa: PLC0415

    names = [bench.isolates.name, *(one.name for one in others)]
    facts = {"databases": names, "toolchain": bench.isolates.name, "return_state": True}
    flow: Any = nightly_update
    return asyncio.run(flow(**(facts | {"fan_out": FanOut(concurrency=1)} | options)))


def parts(state: Any) -> list[Part]:
    """Return the parts of a night's report."""
    return list(asyncio.run(state.aresult(raise_on_failure=False)).parts)


def page(state: Any) -> str:
    """Return what the night published, as a person reads it."""
    return published(str(state.state_details.flow_run_id)).replace("\\", "")


@pytest.fixture
def bench(prefect: None, empty_entero: Path, tmp_path: Path) -> Bench:
    root = tmp_path / "bench"
    root.mkdir()
    return make_bench(root, empty_entero)


def test_a_night_calls_schemes_then_assembles_and_says_both_in_one_report(bench: Bench) -> None:
    barcode = bench.isolates.genome(2)
    uploaded(bench, st=3)
    state = nightly(bench)
    schemes, assemblies = parts(state)

    assert state.type.value == "COMPLETED"
    assert (schemes.kind, assemblies.kind) == ("update-all-schemes", "update-assemblies")
    assert [one.scheme for one in schemes.counts] == ["mlst"]
    assert (schemes.counts[0].complete, assemblies.counts[0].complete) == (1, 1)
    assert bench.isolates.call(barcode).results["ST"] == 2
    new = bench.isolates.look.value("SELECT max(barcode) FROM assemblies")
    assert bench.isolates.call(new).results["ST"] == 3  # at once, not the next night
    text = page(state)
    assert text.startswith("# 2 claimed, 0 failed")
    assert "| mlst | 1 | 1 | 0 | 1 | 0 | 0 | 0 |" in text
    assert f"| {ASSEMBLIES} | 1 | 1 | 0 | 1 | 0 | 0 | 0 |" in text


def test_each_part_is_a_night_in_the_database_with_its_report_as_json(bench: Bench) -> None:
    bench.isolates.genome()
    uploaded(bench)
    found = parts(nightly(bench))
    store = bench.isolates.store.nights

    for part, number in zip(found, (1, 2), strict=True):
        night = store.night(number)
        assert (night.kind, part.night_id) == (part.kind, number)
        assert Part.model_validate(night.report) == part.model_copy(update={"n_lost": 0})
        assert night.ended
    assert store.night(1).parameters["limits"] == {"limit": 1000, "since": None, "force": False}
    assert store.night(2).parameters["limits"]["limit"] == 100


def test_two_databases_have_one_report_with_both(bench: Bench, isolates: Isolates) -> None:
    bench.isolates.genome()
    isolates.genome()
    rehearsed(isolates)
    state = nightly(bench, isolates, assembly_limit=0)

    own, other = parts(state)
    assert (own.database, other.database) == (bench.isolates.name, isolates.name)
    assert [one.complete for part in (own, other) for one in part.counts] == [1, 1, 1]
    text = page(state)
    assert f"| {bench.isolates.name} | mlst | 1 | 1 | 0 | 1 |" in text
    assert f"| {isolates.name} | rehearsal_1 | 1 | 1 | 0 | 1 |" in text


def test_a_dry_night_writes_nothing_and_names_everything(bench: Bench) -> None:
    barcode, reads = bench.isolates.genome(), uploaded(bench)
    before = dump(bench.isolates.look)
    state = nightly(bench, dry_run=True)

    assert dump(bench.isolates.look) == before
    assert [part.listed for part in parts(state)] == [[(barcode, "mlst")], [(reads, "")]]
    assert page(state).startswith("# dry run: 2 would be claimed")


def test_a_night_with_a_bug_does_everything_else_and_ends_as_failed_with_its_report(
    bench: Bench,
) -> None:
    broken, fine = bench.isolates.genome(), bench.isolates.genome()
    bench.isolates.look.change(BREAKS.format(barcode=broken))
    uploaded(bench)
    state = nightly(bench)
    found = {barcode: bench.isolates.call(barcode).status for barcode in (broken, fine)}

    assert state.type.value == "FAILED"
    assert "1 failed by a bug: a person must look" in state.message
    assert found == {broken: LookupStatus.FAILED, fine: LookupStatus.COMPLETE}
    assert parts(state)[1].counts[0].complete == 1
    assert f"| [{broken}](/runs/flow-run/" in page(state)
    assert "| mlst | bug | a bug, for a person to look at: IntegrityError: " in page(state)
    report = bench.isolates.store.nights.night(1).report
    assert report["counts"][0]["failed"] == {"bug": 1}
    assert nothing_is_open(bench.isolates.look)


def test_a_night_over_a_database_that_nobody_saved_is_refused_and_says_so(bench: Bench) -> None:
    state = nightly(bench, databases=["nowhere"])

    assert state.type.value == "FAILED"
    assert "no enterobase block named 'nowhere'" in state.message
