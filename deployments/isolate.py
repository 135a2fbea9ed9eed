"""`limsflow isolate add/show`: assemblies in a shell, without Prefect unless a block is named."""

import argparse
import json
from typing import Any, cast

from blocks.errors import InvalidRequest
from blocks.genomics.genome import read_genome
from blocks.genomics.records import SchemeCall
from blocks.genomics.store import EnteroStore
from deployments.entero import plain, store_of

LONGEST_STRAIN = 200


def add(options: argparse.Namespace) -> int:
    """Register a genome file that comes assembled; print its barcode."""
    if not options.strain.strip():
        msg = "a strain without a name would be everybody's: say --strain NAME"
        raise InvalidRequest(msg)
    if len(options.strain) > LONGEST_STRAIN or not options.strain.isprintable():
        msg = f"a strain's name is one line of at most {LONGEST_STRAIN} letters"
        raise InvalidRequest(msg)
    path = options.file.resolve()
    read_genome(path)  # refuses what is no assembly, before there is a row for it
    assembly = store_of(options.entero).isolates.add_genome(path, strain=options.strain)
    print(json.dumps({"barcode": assembly.barcode}) if options.json else assembly.barcode)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print an assembly, and what became of every scheme that was called on it."""
    facts = isolate_facts(store_of(options.entero), options.barcode)
    print(json.dumps(facts, indent=2) if options.json else "\n".join(as_text(facts)))
    return 0


def isolate_facts(store: EnteroStore, barcode: str) -> dict[str, Any]:
    """Return everything about an assembly, as JSON can hold it."""
    assembly = store.isolates.assembly(barcode)
    calls = [call.model_dump(mode="json") for call in store.calls.calls(assembly.id)]
    return {**assembly.model_dump(mode="json"), "schemes": calls}


def as_text(facts: dict[str, Any]) -> list[str]:
    """Return the facts as lines for a terminal."""
    lines = [
        f"{facts['barcode']}  strain {facts['strain'] or '-'}  {facts['status']}",
        f"  file {facts['file_pointer'] or '-'}",
    ]
    lines += [_line(SchemeCall.model_validate(call)) for call in facts["schemes"]]
    return [plain(line) for line in lines]


def _line(call: SchemeCall) -> str:
    loci = call.results.get("loci")
    if call.reason:
        said = f"{call.fate}: {call.reason.strip().partition(chr(10))[0]}"
    elif "ST" in call.results and isinstance(loci, dict):
        counted = cast("dict[str, Any]", loci)
        counts = ", ".join(f"{number} {status}" for status, number in counted.items())
        said = f"ST {call.results['ST'] or '-'}  {counts}"
    else:
        said = ", ".join(call.plain_results)
    said = said or call.st_barcode
    return f"  {call.scheme:24} {call.status:9} {said}".rstrip()
