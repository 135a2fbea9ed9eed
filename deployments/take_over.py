"""`limsflow entero take-over`: an old EnteroBase becomes ours, and back; at first only in words."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from blocks.errors import InvalidRequest
from blocks.genomics.changes import Change, Found, Left
from blocks.genomics.schema import migrate
from blocks.genomics.taking_over import TakingOver, open_taking_over
from deployments.entero import block_or_url, plain

DATABASE = "senterica"  # of a URL, like that of a store; a block says its own
STDOUT = "-"
PROGRESS = 20_000  # changes between two lines of progress
SHOWN = 60  # letters of a value


class Where(NamedTuple):
    """The databases of one EnteroBase."""

    url: str
    system_url: str | None
    database: str


class Tally:
    """How many changes of each kind there are, how many rows are left and why, an example each."""

    def __init__(self) -> None:
        self.changes = Counter[tuple[str, str, str]]()
        self.left = Counter[tuple[str, str, str]]()
        self.examples = dict[tuple[str, str, str], Found]()

    def count(self, one: Found) -> None:
        """Count one more."""
        kind = (one.table, one.column or "", str(one.why))
        (self.changes if isinstance(one, Change) else self.left)[kind] += 1
        self.examples.setdefault(kind, one)

    @property
    def n_changes(self) -> int:
        """How many changes there are."""
        return self.changes.total()

    def facts(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"changes": self._facts(self.changes), "left": self._facts(self.left)}

    def _facts(self, counts: Counter[tuple[str, str, str]]) -> list[dict[str, Any]]:
        return [
            {"table": kind[0], "column": kind[1] or None, "why": kind[2], "count": count}
            | {"example": self.examples[kind].model_dump(mode="json")}
            for kind, count in sorted(counts.items())
        ]

    def lines(self, changed: str, left: str) -> Iterator[str]:
        """Return it for a person, under the words for what is changed and what is left."""
        for title, counts in ((changed, self.changes), (left, self.left)):
            if counts:
                yield f"{title}:"
            for kind, count in sorted(counts.items()):
                table, column, why = kind
                name = f"{table}.{column}" if column else table
                yield f"  {count:>9}  {name:28} {why}"
                yield f"  {'':9}  for example {as_text(self.examples[kind])}"


def take_over(options: argparse.Namespace) -> int:
    """List what taking a database over would change; do it, or undo it, only when asked."""
    where = _where(options)
    taking_over = open_taking_over(
        where.url,
        database=where.database,
        system_url=where.system_url,
        older_than=timedelta(days=options.older_than_days),
    )
    with _listing(options.changes) as listing:
        # What is said beside a list on standard output must not be in it.
        out = sys.stderr if listing is sys.stdout else sys.stdout
        if options.undo is not None:
            return _undo(taking_over, options, listing, out)
        if options.apply:
            return _apply(taking_over, where, options, listing, out)
        return _list(taking_over, options, listing, out)


def _list(
    taking_over: TakingOver, options: argparse.Namespace, listing: TextIO | None, out: TextIO
) -> int:
    schema = _schema(taking_over, listing)
    tally = _tally(taking_over.find(), listing)
    if options.json:
        facts = {"applied": False, "taking": None, "schema": schema, **tally.facts()}
        print(json.dumps(facts), file=out)
        return 0
    print("a dry run: nothing is written", file=out)
    _print_schema(schema, "would be added", out)
    _print_tally(tally, "would be changed", out)
    if schema or tally.n_changes:
        print("to do it: the same command with --apply", file=out)
    return 0


def _apply(
    taking_over: TakingOver,
    where: Where,
    options: argparse.Namespace,
    listing: TextIO | None,
    out: TextIO,
) -> int:
    schema = _schema(taking_over, listing)
    for url in {where.url, where.system_url or where.url}:
        migrate(url)
    taking = taking_over.next_number()
    print(f"limsflow: taking {taking} begins", file=sys.stderr)
    tally = _tally(_of_pages(taking_over.apply(taking)), listing, progress="changed")
    number = taking if tally.n_changes else None
    if options.json:
        facts = {"applied": True, "taking": number, "schema": schema, **tally.facts()}
        print(json.dumps(facts), file=out)
        return 0
    _print_schema(schema, "added", out)
    _print_tally(tally, "changed", out)
    if number:
        print(f"this is taking {number}; to undo it: the same with --undo {number}", file=out)
    return 0


def _undo(
    taking_over: TakingOver, options: argparse.Namespace, listing: TextIO | None, out: TextIO
) -> int:
    tally = _tally(_of_pages(taking_over.undo(options.undo)), listing, progress="undone")
    if options.json:
        print(json.dumps({"undone": options.undo, **tally.facts()}), file=out)
        return 0
    if not (tally.changes or tally.left):
        print(f"of taking {options.undo} there is nothing to undo", file=out)
    _print_tally(tally, "undone", out, left="kept, and still on record")
    return 0


# What is said


def as_text(one: Found) -> str:
    """Return a change, or what is left, in one line without what a terminal would obey."""
    key = " ".join(f"{name} {value}" for name, value in one.key.items())
    if isinstance(one, Left):
        return plain(f"{key}: {_short(one.said)}" if one.said else key)
    if one.column is None:
        return plain(f"{key}: {_short(one.after)}")
    return plain(f"{key}: {_short(one.before)} -> {_short(one.after)}")


def _short(text: str | None) -> str:
    said = text or "nothing"
    return said if len(said) <= SHOWN else f"{said[:SHOWN]}..."


def _print_schema(schema: list[str], what: str, out: TextIO) -> None:
    if schema:
        print(f"{what} to the schema:", file=out)
    for line in schema:
        print(f"  {line}", file=out)


def _print_tally(
    tally: Tally, changed: str, out: TextIO, *, left: str = "left as they are"
) -> None:
    for line in tally.lines(changed, left):
        print(line, file=out)
    print(f"{tally.n_changes} {changed}, {tally.left.total()} {left}", file=out)


# What is listed


def _tally(found: Iterable[Found], listing: TextIO | None, *, progress: str = "") -> Tally:
    tally, said = Tally(), 0
    for one in found:
        tally.count(one)
        _write(listing, _line(one))
        if progress and tally.n_changes >= said + PROGRESS:
            said = tally.n_changes
            print(f"limsflow: {said} {progress}", file=sys.stderr, flush=True)
    return tally


def _of_pages(pages: Iterable[list[Found]]) -> Iterator[Found]:
    for page in pages:
        yield from page


def _schema(taking_over: TakingOver, listing: TextIO | None) -> list[str]:
    schema = taking_over.missing()
    if advice := taking_over.advice():
        print(f"limsflow: {advice}", file=sys.stderr)
    for line in schema:
        _write(listing, {"schema": line})
    return schema


def _line(one: Found) -> dict[str, Any]:
    facts = one.model_dump(mode="json")
    return facts if isinstance(one, Change) else {"left": facts}


def _write(listing: TextIO | None, facts: dict[str, Any]) -> None:
    if listing is not None:
        listing.write(f"{json.dumps(facts)}\n")


@contextmanager
def _listing(name: str | None) -> Generator[TextIO | None, None, None]:
    """Open the file for every change, if one is asked for; none is overwritten."""
    if name is None:
        yield None
    elif name == STDOUT:
        yield sys.stdout
    else:
        try:
            file = Path(name).open("x", encoding="utf-8")  # noqa: SIM115 - closed below
        except (OSError, ValueError) as error:
            msg = f"cannot write the changes to a new file {plain(name)[:SHOWN]}: {error}"
            raise InvalidRequest(msg) from error
        with file:
            yield file


# Where


def _where(options: argparse.Namespace) -> Where:
    name = block_or_url(options.entero)
    if "://" in name:
        return Where(name, None, options.database or DATABASE)
    from blocks.connections import EnteroBase  # noqa: PLC0415 - loads Prefect

    block = asyncio.run(EnteroBase.named(name))
    system = block.system_url.get_secret_value() if block.system_url else None
    return Where(block.url.get_secret_value(), system, options.database or block.database)
