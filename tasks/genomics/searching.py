"""The steps of a locus search: nomenclature on pasted sequences, which mints nothing."""

import asyncio
from pathlib import Path
from typing import Any

from blocks.connections import EnteroBase
from blocks.errors import InconsistentInput, LimsflowError, NoSuchRecord
from blocks.genomics.genome import genome_of, parse_genome
from blocks.genomics.records import JobStatus, Scheme, Typing
from blocks.record import Record
from tasks.genomics.alleles import type_genome
from tasks.genomics.calling import index_of
from tasks.genomics.dispatch import LOCUS_SEARCH
from tasks.policies import step


class BegunSearch(Record):
    """An analysis and its job."""

    analysis: int
    job_id: int
    name: str
    scheme: Scheme


@step(name="begin search")
async def begin_search(
    lims: EnteroBase, name: str, scheme: str, run_id: str, *, user_id: int | None = None
) -> BegunSearch:
    """Make the analysis and its job; a run that begins twice has one job.

    Raises:
        NoSuchRecord: there is no such scheme.
        InconsistentInput: the scheme has no loci.
    """
    store = lims.store()
    wanted = await asyncio.to_thread(store.schemes.scheme, scheme)
    if not wanted.is_nomenclature:
        msg = f"{scheme} is no nomenclature scheme: it has no loci to look for"
        raise InconsistentInput(msg)
    try:
        job = await asyncio.to_thread(store.jobs.of_run, run_id)
        analysis = int(job.accession.rpartition(":")[2])
    except NoSuchRecord:
        data: dict[str, Any] = {"scheme": scheme}
        analysis = await asyncio.to_thread(
            store.jobs.add_analysis, LOCUS_SEARCH, name, data, user_id=user_id
        )
        job = await asyncio.to_thread(
            store.jobs.start,
            accession=str(analysis),
            pipeline=LOCUS_SEARCH,
            flow_run_id=run_id,
            user_id=user_id,
        )
    await asyncio.to_thread(store.jobs.update_analysis, analysis, {"job_id": job.id})
    return BegunSearch(analysis=analysis, job_id=job.id, name=name, scheme=wanted)


@step(name="search loci")
async def search_sequences(lims: EnteroBase, begun: BegunSearch, sequences: str) -> Typing:
    """Call the scheme's loci in the sequences.

    Raises:
        InconsistentInput: the text is no FASTA.
    """
    return await asyncio.to_thread(_search, lims, begun, sequences)


def _search(lims: EnteroBase, begun: BegunSearch, sequences: str) -> Typing:
    records = parse_genome(sequences.strip().encode(), Path(f"{begun.name}.fasta"))
    calls = type_genome(genome_of(begun.name, records), index_of(lims, begun.scheme))
    st = lims.store().schemes.known_type(begun.scheme, calls)
    return Typing(assembly=begun.name, scheme=begun.scheme.description, calls=calls, st=st)


@step(name="store search")
async def store_search(lims: EnteroBase, begun: BegunSearch, typing: Typing) -> None:
    """Write what was found, then that it is complete."""
    store = lims.store()
    found = [call.model_dump(mode="json") for call in typing.calls if call.places]
    changes = {"results": found, "complete": "true", "failed": None, "reason": None}
    await asyncio.to_thread(store.jobs.update_analysis, begun.analysis, changes)
    await asyncio.to_thread(store.jobs.close, begun.job_id, JobStatus.COMPLETE)


@step(name="store failure")
async def store_search_failure(
    lims: EnteroBase, begun: BegunSearch, failure: LimsflowError
) -> None:
    """Write that the search failed, and why."""
    store = lims.store()
    changes = {"failed": "true", "reason": str(failure)[:2000], "complete": None}
    await asyncio.to_thread(store.jobs.update_analysis, begun.analysis, changes)
    await asyncio.to_thread(store.jobs.close, begun.job_id, JobStatus.FAILED)
