"""`limsflow job run` and `limsflow reconcile`: flows here and now, without a deployment."""

import argparse
import asyncio
import json
import logging
import os
import sys

# Before Prefect is loaded: its console shows errors only, ours shows the progress.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "blocks,tasks,flows")

from blocks.database import refuse_secret
from deployments.entero import block_or_url, plain
from deployments.job import as_text, job_facts, store_of
from flows.reconcile_jobs import Mended, reconcile_jobs
from flows.reprocess_job import reprocess_job


def run(options: argparse.Namespace) -> int:
    """Run one job in this process; print progress, then what `job show` prints."""
    refuse_url_with_secret(options.ispyb)
    print_progress(to_stderr=options.json)
    outcome = asyncio.run(
        reprocess_job(
            options.id,
            ispyb=options.ispyb,
            toolchain=options.toolchain,
            resume=not options.no_resume,
            wait_for_rows_s=options.wait_s,
        )
    )
    if options.json:
        print(outcome.model_dump_json(indent=2))
    else:
        facts = job_facts(store_of(options.ispyb), options.id)
        facts["attempts"] = [a for a in facts["attempts"] if a["id"] == outcome.program_id]
        print("\n".join(["", *as_text(facts)]))
    return 0


DEEDS = {"closed": "close", "started": "start", "rescheduled": "reschedule"}


def reconcile(options: argparse.Namespace) -> int:
    """Close what nobody works on, start what nobody started; print what and why."""
    for name in (options.ispyb, options.entero):
        refuse_url_with_secret(name)
    mended = asyncio.run(
        reconcile_jobs(
            ispyb=options.ispyb,
            entero=block_or_url(options.entero),
            broker=options.broker,
            stuck_after_s=options.stuck_after_s,
            stale_after_s=options.stale_after_s,
            dry_run=options.dry_run,
        )
    )
    if options.json:
        print(json.dumps([one.model_dump() for one in mended]))
    else:
        for one in mended:
            verb = f"would {DEEDS[one.deed]}" if options.dry_run else one.deed
            print(plain(f"{verb} {_what(one)}: {one.reason}"))
        if not mended:
            print("nothing to close")
    return 0


def _what(mended: Mended) -> str:
    if mended.program_id is not None:
        return f"attempt {mended.program_id} of job {mended.job_id}"
    if not mended.about:
        return f"processing job {mended.job_id}"
    return f"flow run {mended.flow_run_id} of job {mended.job_id or '-'} ({mended.about})"


def refuse_url_with_secret(name: str) -> None:
    """Refuse it before Prefect sees it: a flow's parameters are kept and shown.

    Raises:
        InvalidRequest: the URL may hold a password.
    """
    if "://" in name:
        refuse_secret(name)


def print_progress(*, to_stderr: bool) -> None:
    """Print what the tasks say of their progress, one line each."""
    handler = logging.StreamHandler(sys.stderr if to_stderr else sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("tasks")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
