"""`limsflow demo`: a small real input, the main job, and what happened."""

import argparse
import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from blocks.mx.records import DataCollection, JobRequest, SweepRequest
from blocks.mx.store import create_tables, open_store
from blocks.mx.synthetic_sweep import SyntheticCrystal, write_sweep
from blocks.program import run_program
from deployments import replay
from deployments.demo_isolate import (
    STRAIN,
    DemoIsolate,
    entero_options,
    entero_store,
    make_isolate,
)
from deployments.embedded import Home, make_home
from deployments.isolate import as_text as isolate_text
from deployments.isolate import isolate_facts
from deployments.job import as_text, job_facts
from deployments.stack import FOR_EVER_S, prefect_server, run_ours
from tasks.mx.requests import create_job

Say = Callable[[str], None]

CRYSTAL = SyntheticCrystal()
RANGES = ((1, 40), (81, 120))  # of one template: two sweeps of 20 degrees, 20 degrees apart
TEMPLATE = "xtal_1_####.cbf"


def demo(options: argparse.Namespace) -> int:
    """Set up, run the main job, print what happened; end by itself."""
    return asyncio.run(_demo(make_home(options.home), as_json=options.json))


async def _demo(home: Home, *, as_json: bool) -> int:
    started = time.monotonic()
    say = _quiet if as_json else _say
    say(f"Everything is in {home.folder}")
    say("Starting a Prefect server of its own (about 15 s) ...")
    async with prefect_server(home):
        say(f"The page: {home.page_url} (it ends with this command; 'make serve' leaves it up)")
        job_id, isolate, replayed = await prepare(home, say)
        say(f"An isolate: typing {isolate.barcode}, {STRAIN!r}, by every scheme:")
        status = await _type_isolate(home, isolate, say)
        say(f"A crystal: processing job {job_id}, recipe dials:")
        status = await _run_job(home, job_id, say) or status
    store = open_store(home.ispyb_url)
    facts = job_facts(store, job_id)
    if as_json:
        typed = isolate_facts(entero_store(home), isolate.barcode)
        rest = {"isolate": typed, "replayed": replayed, "folder": str(home.folder)}
        print(json.dumps({**facts, **rest}))
        return status
    say("")
    say("\n".join(as_text({**facts, "attempts": facts["attempts"][-1:]})))
    say("")
    say(_truth())
    say(f"The isolate: {home.entero_url}  (limsflow isolate show {isolate.barcode})")
    say(f"Rows:  {home.ispyb_url}  (limsflow job show {job_id} --ispyb {home.ispyb_url})")
    say(f"Files: {home.visit / 'processed'}")
    say(f"The page again, with this run and its pictures: limsflow serve --home {home.folder}")
    say(f"{time.monotonic() - started:.0f} s in all.")
    if replayed:
        say(replayed)
    return status


async def prepare(home: Home, say: Say | None = None) -> tuple[int, DemoIsolate, str]:
    """Make input, databases, blocks and deployments; return job, isolate, what is replayed."""
    say = say or _quiet
    programs, replayed = programs_of(home)
    if replayed:
        say(replayed)
    await asyncio.to_thread(make_images, home, say)
    create_tables(home.ispyb_url)
    job_id = await asyncio.to_thread(first_job, home)
    say("Simulating a bacterial genome, and schemes that type it ...")
    isolate = await asyncio.to_thread(make_isolate, home)
    say("Registering blocks and deployments ...")
    arguments = ["--ispyb", home.ispyb_url, "--visit-depth", str(len(home.visit.parts))]
    where = ["--toolchain-directory", str(programs)] if programs else []
    where += ["--toolchain-note", "REPLAYED, not run: a recording of DIALS"] if programs else []
    arguments += [*where, *entero_options(home)]
    await run_ours(home, ["deploy", *arguments], log_name="limsflow-deploy")
    return job_id, isolate, replayed


def programs_of(home: Home) -> tuple[Path | None, str]:
    """Return where the programs are (None: the PATH), and what to say if they are replayed."""
    if shutil.which("dials.index"):
        return None, ""
    directory = replay.install(home.folder / "replayed-programs")
    return directory, (
        "REPLAYED: DIALS is not installed, so its programs are stand-ins that check what they are "
        "asked and then show a recorded run of the real DIALS 3.12 on this same input. "
        "Debian's package 'dials' makes it real."
    )


def make_images(home: Home, say: Say) -> None:
    """Simulate the two sweeps, unless they are there."""
    directory = home.visit / "demo"
    if len(list(directory.glob("*.cbf"))) == sum(last - first + 1 for first, last in RANGES):
        return
    directory.mkdir(parents=True, exist_ok=True)
    cell = " ".join(f"{number:g}" for number in CRYSTAL.unit_cell)
    say(f"Simulating two sweeps of a crystal {CRYSTAL.space_group}, cell {cell} ...")
    for first, last in RANGES:
        write_sweep(directory, CRYSTAL, template=TEMPLATE, first_image=first, last_image=last)


def first_job(home: Home) -> int:
    """Return the demo's job, created if the database has none."""
    store = open_store(home.ispyb_url)
    known = store.job_ids()
    return known[-1] if known else create_job(store, job_request(home.visit / "demo"))


def job_request(directory: Path) -> JobRequest:
    """Return the request for the simulated sweeps in this directory."""
    images = DataCollection(
        id=1,
        image_directory=f"{directory}/",
        file_template=TEMPLATE,
        start_image=1,
        n_images=120,
        image_prefix="xtal",
        number=1,
    )
    sweeps = tuple(
        SweepRequest(data_collection_id=1, start_image=first, end_image=last)
        for first, last in RANGES
    )
    return JobRequest(
        recipe="dials",
        data_collections=(images,),
        sweeps=sweeps,
        display_name="Simulated crystal, two sweeps",
    )


async def _type_isolate(home: Home, isolate: DemoIsolate, say: Say) -> int:
    """Type the genome, and say what it was made of."""
    run = await run_program(
        home.command("python"),
        ["-m", "deployments.cli", "isolate", "type", isolate.barcode],
        directory=home.folder / "logs",
        timeout_s=FOR_EVER_S,
        log_name="isolate-type",
    )
    if run.exit_status != 0:
        say(run.log_tail())
    say("\n".join(isolate_text(isolate_facts(entero_store(home), isolate.barcode))))
    say(f"What it was made of: {isolate.truth}.")
    return 1 if run.exit_status is None else run.exit_status


async def _run_job(home: Home, job_id: int, say: Say) -> int:
    run = await run_program(
        home.command("python"),
        ["-m", "deployments.cli", "job", "run", str(job_id), "--toolchain", "mx", "--wait-s", "10"],
        directory=home.folder / "logs",
        timeout_s=FOR_EVER_S,
        log_name="job-run",
        on_output=lambda piece: say(_progress_only(piece)),
    )
    if run.exit_status != 0:
        say(run.log_tail())
    return 1 if run.exit_status is None else run.exit_status


def _progress_only(piece: str) -> str:
    """Return the progress lines; the summary is printed from the database afterwards."""
    return piece.partition("\nprocessing job ")[0].rstrip("\n")


def _truth() -> str:
    cell = " ".join(f"{number:g}" for number in CRYSTAL.unit_cell)
    return f"What was simulated: {CRYSTAL.space_group} (or its mirror image), cell {cell}."


def _say(text: str) -> None:
    print(text, flush=True)


def _quiet(_text: str) -> None:
    pass
