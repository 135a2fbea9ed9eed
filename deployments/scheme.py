"""`limsflow scheme load/list` and `limsflow type`: typing in a shell."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from blocks.errors import InconsistentInput, InvalidRequest
from blocks.genomics.genome import read_genome
from blocks.genomics.profiles import profile_of, type_among
from blocks.genomics.records import LocusCall, SequenceType, Typing
from blocks.genomics.scheme_folder import SchemeFolder, read_scheme_folder
from blocks.genomics.store import EnteroStore
from deployments.entero import is_folder, plain, store_of
from tasks.genomics.alleles import LocusAlleles, TypingIndex, build_index, type_genome
from tasks.genomics.indexes import IndexCache
from tasks.genomics.scheme_loading import (
    known_scheme,
    load_scheme,
    scheme_param,
    usual_max_missing,
)

SHOWN = 12  # parts of a folder that were left out, or numbers that changed, in the terminal
TABLE_LOCI = 60  # a scheme with more prints only what is not an exact allele


def load(options: argparse.Namespace) -> int:
    """Load a folder into the database; say what is new, renumbered and left out."""
    folder = read_scheme_folder(options.folder, options.name)
    store = store_of(options.entero)
    known = known_scheme(store.schemes, folder.name)
    param = scheme_param(
        folder,
        automatic=not options.not_automatic,
        max_missing=options.max_missing,
        first_own_number=options.own_numbers_from,
        coding=options.coding,
        known=known,
    )
    label = options.label or (known.name if known else folder.name)
    loaded = load_scheme(store.schemes, folder, name=label, param=param)
    left_out = [str(one) for one in folder.left_out]
    if options.json:
        print(json.dumps({**loaded.model_dump(), "left_out": left_out}))
        return 0
    print(
        f"{loaded.scheme}, version {loaded.version}: {loaded.loci} loci, {loaded.alleles} alleles "
        f"({loaded.new_alleles} new), {loaded.types} types ({loaded.new_types} new)"
    )
    if loaded.renumbered:
        print(
            f"{loaded.renumbered_alleles} alleles and {loaded.renumbered_types} types of this "
            "site's own have the folder's numbers now"
        )
    _print_some("renumbered", [plain(str(one)) for one in loaded.renumbered])
    _print_some("left out", left_out)
    return 0


def _print_some(what: str, lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"{what}: {line}")
    if len(lines) > SHOWN:
        print(f"{what}: {len(lines) - SHOWN} more; --json has them all")


def schemes(options: argparse.Namespace) -> int:
    """Print the schemes of a database."""
    found = store_of(options.entero).schemes.schemes()
    if options.json:
        print(json.dumps([scheme.model_dump(exclude={"loci"}) for scheme in found]))
        return 0
    for scheme in found:
        kind = "nomenclature" if scheme.is_nomenclature else scheme.param.pipeline or "generic"
        automatic = "called on every assembly" if scheme.is_automatic else "called on request"
        line = f"{scheme.description:30} version {scheme.version:<4} {kind}, {automatic}"
        print(plain(line))
    if not found:
        print("no schemes: see 'limsflow scheme load'", file=sys.stderr)
    return 0


def type_file(options: argparse.Namespace) -> int:
    """Type one assembly file; nothing is minted and nothing is stored."""
    if options.entero is not None:
        typing = _by_database(store_of(options.entero), options.scheme, options.fasta)
    elif is_folder(Path(options.scheme)):
        typing = _by_folder(read_scheme_folder(Path(options.scheme)), options.fasta)
    else:
        msg = f"{options.scheme} is no folder: name a scheme's folder, or a database with --entero"
        raise InvalidRequest(msg)
    print(typing.model_dump_json(indent=2) if options.json else as_text(typing))
    return 0


def _by_database(store: EnteroStore, name: str, path: Path) -> Typing:
    scheme = store.schemes.scheme(name)
    if not scheme.is_nomenclature:
        msg = f"{name} is a program's scheme: add the isolate and say 'limsflow isolate type'"
        raise InvalidRequest(msg)
    index = IndexCache().index(store.schemes, scheme, where="")
    if not index.exact.n_alleles:
        msg = f"scheme {name} has no alleles: see 'limsflow scheme load'"
        raise InconsistentInput(msg)
    calls = _calls(index, path)
    st = store.schemes.known_type(scheme, calls)
    return Typing(assembly=path.name, scheme=name, calls=calls, st=st)


def _by_folder(folder: SchemeFolder, path: Path) -> Typing:
    loci = [LocusAlleles(locus, folder.alleles(locus)) for locus in folder.loci]
    calls = _calls(build_index(loci, coding=folder.coding), path)
    profile = profile_of(calls, usual_max_missing(folder))
    number = type_among(folder.profiles(), profile)
    st = SequenceType(number=number, barcode="") if number is not None else None
    return Typing(assembly=path.name, scheme=folder.name, calls=calls, st=st)


def _calls(index: TypingIndex, path: Path) -> tuple[LocusCall, ...]:
    return type_genome(read_genome(path), index)


def as_text(typing: Typing) -> str:
    """Return a typing as lines for a terminal."""
    st = typing.st.number if typing.st else "-"
    counts = ", ".join(f"{count} {status}" for status, count in typing.counts.items())
    shown = typing.calls
    if len(shown) > TABLE_LOCI:
        shown = tuple(call for call in shown if call.code is None or call.code <= 0)
    lines = [f"{typing.assembly}  {typing.scheme}  ST {st}  ({counts})"]
    return "\n".join(plain(line) for line in [*lines, *(_line(call) for call in shown)])


def _line(call: LocusCall) -> str:
    allele = "new" if call.code is None else str(call.code)
    places = " ".join(f"{at.contig}:{at.start + 1}-{at.end}{at.strand}" for at in call.places)
    return f"  {call.locus:24} {allele:>8}  {call.status:22} {places}".rstrip()
