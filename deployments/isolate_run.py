"""`limsflow isolate type/assemble`: flows here and now, without a deployment."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

# Before Prefect is loaded: its console shows errors only, ours shows the progress.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "blocks,tasks,flows")

from prefect.exceptions import ParameterTypeError

from blocks.connections import EnteroBase
from blocks.errors import FileNotYetVisible, InvalidRequest, LimsflowError
from blocks.genomics.store import EnteroStore
from blocks.genomics.uploads import Upload, find_upload, parse_accession
from deployments.entero import block_or_url, plain, store_of
from deployments.isolate import as_text, isolate_facts
from deployments.job_run import print_progress, refuse_url_with_secret
from flows.assemble_strain import assemble_strain
from flows.type_assembly import type_assembly

ResultT = TypeVar("ResultT")


def type_one(options: argparse.Namespace) -> int:
    """Type one assembly by one scheme, or by all that are called by themselves.

    Of several, one that fails stops no other; the status then is 1.
    """
    name, store = _entero(options)
    status = 0
    _require_file(store.isolates.assembly(options.barcode).file_pointer)
    for scheme in [options.scheme] if options.scheme else _automatic(store):
        call = type_assembly(
            options.barcode, scheme, entero=name, toolchain=options.toolchain, force=options.force
        )
        try:
            _ended(call)
        except LimsflowError as failure:
            if options.scheme:
                raise
            print(plain(f"limsflow: {scheme}: {failure}"), file=sys.stderr)
            status = 1
    facts = isolate_facts(store, options.barcode)
    print(json.dumps(facts, indent=2) if options.json else "\n".join(as_text(facts)))
    return status


def _automatic(store: EnteroStore) -> list[str]:
    return [scheme.description for scheme in store.schemes.automatic()]


def assemble(options: argparse.Namespace) -> int:
    """Assemble reads, judge, and type; print what came of it."""
    name, store = _entero(options)
    if "#" in options.reads:
        _require_upload(options.reads, name)
    outcome = _ended(
        assemble_strain(
            options.reads,
            strain=options.strain,
            assembler=options.assembler,
            entero=name,
            toolchain=options.toolchain,
        )
    )
    facts = isolate_facts(store, outcome.assembly)
    if options.json:
        print(json.dumps({**facts, "outcome": outcome.model_dump(mode="json")}, indent=2))
        return 0
    verdict = "passed" if outcome.passed else f"failed: {outcome.reason}"
    print("\n".join([plain(f"quality: {verdict}"), *as_text(facts)]))
    return 0


def _require_upload(reads: str, entero: str) -> None:
    """Refuse, at once, an upload whose files a deployed run would wait for.

    Raises:
        FileNotYetVisible: they are not in the folder of the uploads.
        InvalidRequest: the text names no upload.
    """
    wanted = parse_accession(reads.strip())
    if isinstance(wanted, Upload):
        find_upload(wanted, Path(asyncio.run(EnteroBase.named(entero)).uploads))


def _require_file(path: Path | None) -> None:
    """Refuse, at once, an assembly whose file a deployed run would wait for.

    Raises:
        FileNotYetVisible: it is not on this disk.
    """
    if path is not None and not path.exists():
        msg = f"{path} is not on this disk"
        raise FileNotYetVisible(msg)


def _entero(options: argparse.Namespace) -> tuple[str, EnteroStore]:
    """Return what the flows call the database, and its store.

    Raises:
        InvalidRequest: there is none, it may show a password, or an argument is no text.
    """
    for name, value in vars(options).items():
        if isinstance(value, str) and value != value.encode(errors="replace").decode():
            msg = f"{name} is no text in UTF-8: {plain(value)}"
            raise InvalidRequest(msg)
    refuse_url_with_secret(options.entero)
    print_progress(to_stderr=options.json)
    return block_or_url(options.entero), store_of(options.entero)


def _ended(run: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return what a flow returns.

    Raises:
        InvalidRequest: a parameter is not what the flow takes.
    """
    try:
        return asyncio.run(run)
    except ParameterTypeError as error:
        raise InvalidRequest(" ".join(str(error).split())) from error
