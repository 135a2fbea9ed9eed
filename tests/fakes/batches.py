"""A night's batch, from its claim to its end: what the tests of batches begin with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from blocks.genomics.batches import BatchStore, Key
from blocks.genomics.pairs import Outcome, Pair, Wanted
from blocks.genomics.records import Assembly, Claim, Fate, LookupStatus, Scheme
from tests.fakes.entero import Entero, ids

TOOL = "limsflow 1"


def generic(entero: Entero) -> Scheme:
    """Return a new scheme that a program calls."""
    return entero.a_scheme({}, (), scheme="", pipeline="rehearsal")


@dataclass(frozen=True)
class ABatch:
    """Some pairs of one scheme, and the names of their batch and its runs; nothing is claimed."""

    entero: Entero
    scheme: Scheme
    assemblies: Sequence[Assembly]
    id: str
    night_id: int
    night_run: str
    tool: str = TOOL

    @property
    def store(self) -> BatchStore:
        """Where batches are kept."""
        return self.entero.store.batches

    @property
    def pairs(self) -> list[Pair]:
        """What is claimed, as a night finds it."""
        return [Pair(one.id, one.barcode, one.version, self.scheme.id) for one in self.assemblies]

    @property
    def keys(self) -> list[Key]:
        """Which pairs they are."""
        return [(one.id, self.scheme.id) for one in self.assemblies]

    def claim(self, *, force: bool = False, store: BatchStore | None = None) -> int:
        """Claim the pairs; return how many were free."""
        return (store or self.store).claim(
            self.pairs,
            {self.scheme.id: Wanted(self.scheme, self.tool)},
            batch_id=self.id,
            flow_run_id=self.night_run,
            night_id=self.night_id,
            force=force,
        )

    def begin(self, run: str) -> dict[Key, int]:
        """Hand what is left to a run; return the job of each pair that is its own now."""
        jobs = {one.key: one.job_id for one in self.store.waiting(self.id) if one.job_id}
        left = [one for one in self.store.waiting(self.id) if not one.job_id]
        about = [(one.assembly.barcode, "x") for one in left]
        new = self.entero.store.jobs.start_many(about, run)
        jobs |= {one.key: job for one, job in zip(left, new, strict=True)}
        return {key: jobs[key] for key in self.store.begin(self.id, run, jobs)}

    def begun(self, run: str) -> dict[Key, int]:
        """Claim and begin; return the job of each pair."""
        assert self.claim() == len(self.pairs)
        return self.begin(run)

    def rows(self) -> list[dict[str, Any]]:
        """Return what decides about these pairs, in the order of the assemblies."""
        sql = "SELECT * FROM scheme_calls WHERE assembly_id = :a AND scheme_id = :s"
        look = self.entero.species
        found = [look.rows(sql, a=a, s=s) for a, s in self.keys]
        return [dict(row._mapping) for [row] in found]

    def standing(self) -> list[tuple[str, str | None]]:
        """Return status and fate of each pair."""
        return [(row["status"], row["fate"]) for row in self.rows()]

    def lookups(self) -> list[Row[Any] | None]:
        """Return the row that the site reads of each pair, None where there is none."""
        found = [self.entero.lookups(self.claim_of(n)) for n in range(len(self.pairs))]
        return [rows[-1] if rows else None for rows in found]

    def shown(self) -> list[str | None]:
        """Return the status that the site shows of each pair."""
        return [row.status if row else None for row in self.lookups()]

    def data(self) -> list[dict[str, Any]]:
        """Return `other_data` of each pair."""
        return [json.loads(row.other_data) for row in self.lookups() if row]

    def claim_of(self, number: int) -> Claim:
        """Return what another run wants of a pair."""
        return Claim(
            assembly=self.assemblies[number],
            scheme=self.scheme,
            job_id=next(ids),
            flow_run_id=f"run-{next(ids)}",
            tool=self.tool,
        )


def a_batch(entero: Entero, n_pairs: int = 3, scheme: Scheme | None = None) -> ABatch:
    """Return new pairs that a night is about to claim."""
    return again(entero, scheme or generic(entero), [entero.an_assembly() for _ in range(n_pairs)])


def again(
    entero: Entero, scheme: Scheme, assemblies: Sequence[Assembly], *, tool: str = TOOL
) -> ABatch:
    """Return what another night wants of these."""
    number = next(ids)
    names = {"id": f"batch-{number}", "night_id": number, "night_run": f"night-{number}"}
    return ABatch(entero, scheme, assemblies, tool=tool, **names)


def next_night(batch: ABatch) -> ABatch:
    """Return what the next night wants of the same pairs."""
    return again(batch.entero, batch.scheme, batch.assemblies, tool=batch.tool)


def complete(key: Key, job: int, **results: Any) -> Outcome:
    """Return the outcome of a call that went well."""
    return outcome(key, job, LookupStatus.COMPLETE, results=results)


def failed(key: Key, job: int, fate: Fate = Fate.PERMANENT, reason: str = "no locus") -> Outcome:
    """Return the outcome of a call that failed."""
    return outcome(key, job, LookupStatus.FAILED, fate=fate, reason=reason)


def outcome(key: Key, job: int, status: LookupStatus, **facts: Any) -> Outcome:
    """Return what became of a pair."""
    return Outcome(assembly_id=key[0], scheme_id=key[1], job_id=job, status=status, **facts)
