"""`limsflow update-scheme` and its kin: a night here and now, or what one would do."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

# Before Prefect is loaded: its console shows errors only, ours shows the progress.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "blocks,tasks,flows")

from prefect.exceptions import ParameterTypeError
from pydantic import ValidationError

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import InvalidRequest
from blocks.genomics.unassembled import why_not_assembled
from deployments.entero import block_or_url, plain, store_of
from deployments.job_run import print_progress, refuse_url_with_secret
from flows.update_all_schemes import update_all_schemes
from flows.update_assemblies import update_assemblies
from flows.update_scheme import update_scheme
from tasks.fan_out import FanOut
from tasks.genomics.assembly_night import ASSEMBLER
from tasks.genomics.night import lost_run_ids, wanted_schemes
from tasks.genomics.night_report import ASSEMBLIES, NightReport
from tasks.genomics.tools import assembly_tool
from tasks.runs import STALE_AFTER


def scheme(options: argparse.Namespace) -> int:
    """Call one scheme wherever it is missing, or say where that is."""
    if options.dry_run:
        return _listed(options, [options.scheme])
    return _gone(options, update_scheme, options.scheme)


def all_schemes(options: argparse.Namespace) -> int:
    """Call every automatic scheme wherever it is missing, or say where that is."""
    if options.dry_run:
        return _listed(options, None)
    return _gone(options, update_all_schemes)


def assemblies(options: argparse.Namespace) -> int:
    """Assemble every strain that lacks a valid assembly, or say which do."""
    if options.dry_run:
        return _listed_strains(options)
    return _gone(options, update_assemblies)


def show(options: argparse.Namespace) -> int:
    """Print the newest night of a database, or one of a number."""
    night = store_of(options.entero).nights.night(options.night)
    if options.json:
        print(night.model_dump_json(indent=2))
        return 0
    until = f"{night.ended:%Y-%m-%d %H:%M}" if night.ended else "not over"
    print(f"night {night.id}  {night.kind}  {night.started:%Y-%m-%d %H:%M} to {until}")
    for one in night.report.get("counts", []):
        print(_line(one))
    for one in night.report.get("failures", []):
        about = " ".join(filter(None, (one["about"], one["scheme"])))
        print(plain(f"  {about}: {one['fate']}: {one['reason'].splitlines()[0]}"))
    return 0


def _gone(
    options: argparse.Namespace,
    flow: Callable[..., Coroutine[Any, Any, NightReport]],
    *arguments: str,
) -> int:
    """Run a flow here and print its counts; the status is 1 if a bug was met."""
    refuse_url_with_secret(options.entero)
    print_progress(to_stderr=options.json)
    common = {
        "database": block_or_url(options.entero),
        "toolchain": options.toolchain,
        "limit": options.limit,
        "since": options.since,
        "force": options.force,
        "fan_out": _fan_out(options),
    }
    try:
        report = asyncio.run(flow(*arguments, **common))
    except ParameterTypeError as error:
        raise InvalidRequest(" ".join(str(error).split())) from error
    _print(report, as_json=options.json)
    return 1 if any(part.bugs for part in report.parts) else 0


def _fan_out(options: argparse.Namespace) -> FanOut:
    """Return what runs the batches.

    Raises:
        InvalidRequest: an option is beyond its range.
    """
    names = ("engine", "concurrency", "batch_size", "dask_scheduler")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    try:
        return FanOut.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        option = str(wrong["loc"][0]).replace("_", "-")
        msg = f"--{option} cannot be {plain(str(wrong['input']))}: {wrong['msg']}"
        raise InvalidRequest(msg) from error


def _print(report: NightReport, *, as_json: bool) -> None:
    if as_json:
        print(report.model_dump_json(indent=2))
        return
    for part in report.parts:
        for one in part.counts:
            print(_line(one.model_dump()))
        print(f"{part.claimed:,} claimed, {part.failed:,} failed in {part.wall_s:.1f} s")


def _line(one: dict[str, Any]) -> str:
    failed = ", ".join(f"{number:,} failed ({fate})" for fate, number in one["failed"].items())
    skipped = ", ".join(f"{number:,} {reason}" for reason, number in one["skipped"].items())
    done = ", ".join(filter(None, (f"{one['complete']:,} complete", failed)))
    name = plain(one["scheme"] or ASSEMBLIES)
    return (
        f"  {name:30}  {one['eligible']:,} eligible: {one['claimed']:,} claimed, {done}; {skipped}"
    )


# Dry runs: what a real one would claim, line by line


def _listed(options: argparse.Namespace, names: list[str] | None) -> int:
    lims, programs = _blocks(options)
    wanted = asyncio.run(wanted_schemes(lims, programs, names))
    called = {one.scheme.id: one.scheme.description for one in wanted}
    lost = asyncio.run(lost_run_ids(lims, STALE_AFTER))
    store = lims.store().pairs

    def found() -> Iterator[tuple[str, str]]:
        for again in (False, True):  # what the machine failed comes after all others
            for window in store.windows(
                wanted, since=options.since, force=options.force, lost=lost
            ):
                for one in window.again if again else window.pairs:
                    yield one.barcode, called[one.scheme_id]

    return _print_listed(found(), options)


def _listed_strains(options: argparse.Namespace) -> int:
    lims, programs = _blocks(options)
    tool = asyncio.run(assembly_tool(lims, programs, ASSEMBLER))
    lost = asyncio.run(lost_run_ids(lims, STALE_AFTER))
    store = lims.store().assembling
    strains = (
        (strain.reads, strain.strain)
        for again in (False, True)
        for window in store.windows(since=options.since, lost=lost)
        for strain in window
        if strain.was_tried is again and not why_not_assembled(strain, tool, force=options.force)
    )
    return _print_listed(strains, options)


def _print_listed(found: Iterator[tuple[str, str]], options: argparse.Namespace) -> int:
    number = 0
    for number, (about, what) in enumerate(found, 1):
        if options.limit and number > options.limit:
            number -= 1  # noqa: PLW2901 - that one is beyond it
            break
        print(json.dumps([about, what]) if options.json else plain(f"{about}  {what}"))
    sys.stdout.flush()
    print(f"dry run: {number:,} would be claimed; nothing was written", file=sys.stderr)
    return 0


def _blocks(options: argparse.Namespace) -> tuple[EnteroBase, Toolchain]:
    refuse_url_with_secret(options.entero)

    async def named() -> tuple[EnteroBase, Toolchain]:
        lims = await EnteroBase.named(block_or_url(options.entero))
        return lims, await Toolchain.named(options.toolchain)

    return asyncio.run(named())
