"""`limsflow isolate type/assemble`: flows here and now, without a deployment."""

import argparse
import asyncio
import json
import os

# Before Prefect is loaded: its console shows errors only, ours shows the progress.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "blocks,tasks,flows")

from flows.assemble_strain import assemble_strain

from deployments.entero import block_or_url, store_of
from deployments.isolate import as_text, isolate_facts
from deployments.job_run import print_progress
from flows.type_assembly import type_assembly


def type_one(options: argparse.Namespace) -> int:
    """Type one assembly by one scheme, or by all that are called by themselves."""
    print_progress(to_stderr=options.json)
    name, store = block_or_url(options.entero), store_of(options.entero)
    schemes = [options.scheme] if options.scheme else automatic_schemes(options.entero)
    for scheme in schemes:
        asyncio.run(
            type_assembly(
                options.barcode,
                scheme,
                entero=name,
                toolchain=options.toolchain,
                force=options.force,
            )
        )
    facts = isolate_facts(store, options.barcode)
    print(json.dumps(facts, indent=2) if options.json else "\n".join(as_text(facts)))
    return 0


def automatic_schemes(entero: str) -> list[str]:
    """Return the schemes that are called on every new assembly."""
    schemes = store_of(entero).schemes.schemes()
    return [scheme.description for scheme in schemes if scheme.is_automatic]


def assemble(options: argparse.Namespace) -> int:
    """Assemble reads, judge, and type; print what came of it."""
    print_progress(to_stderr=options.json)
    outcome = asyncio.run(
        assemble_strain(
            options.reads,
            strain=options.strain,
            assembler=options.assembler,
            entero=block_or_url(options.entero),
            toolchain=options.toolchain,
        )
    )
    facts = isolate_facts(store_of(options.entero), outcome.assembly)
    if options.json:
        print(json.dumps({**facts, "outcome": outcome.model_dump(mode="json")}, indent=2))
        return 0
    verdict = "passed" if outcome.passed else f"failed: {outcome.reason}"
    print("\n".join([f"quality: {verdict}", *as_text(facts)]))
    return 0
