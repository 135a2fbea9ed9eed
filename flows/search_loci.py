"""Sequences that a person pasted, looked up in a scheme: which loci, which alleles."""

from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from blocks.connections import PLAIN_NAME, EnteroBase
from blocks.errors import DataError, TransientError
from blocks.record import Record
from tasks.genomics.closing import close_what_run_left
from tasks.genomics.publish import alive, publish_failure, publish_typing
from tasks.genomics.searching import (
    BegunSearch,
    begin_search,
    search_sequences,
    store_search,
    store_search_failure,
)


class Search(Record):
    """What was found in the sequences."""

    analysis: int = Field(description="id in user_preferences")
    job_id: int
    loci: dict[str, int | None] = Field(description="allele number; None: new, -1: no use")


@flow(
    name="search-loci",
    flow_run_name="search-{name}",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def search_loci(
    sequences: Annotated[str, Field(min_length=1, max_length=5_000_000)],
    scheme: Annotated[str, Field(min_length=1, max_length=200)],
    name: Annotated[str, Field(min_length=1, max_length=100)] = "locus search",
    entero: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "entero",
    user_id: Annotated[int | None, Field(ge=1)] = None,
) -> Search:
    """Look sequences up in a scheme; nothing is minted.

    1. make the analysis, so that its owner sees it   2. call the scheme's loci in the sequences
    3. store what was found   4. report

    Args:
        sequences: One or more sequences as FASTA text.
        scheme: Description of the scheme whose loci are looked for.
        name: What the analysis is called.
        entero: Name of the EnteroBase block.
        user_id: users.id of whoever asks, whose analysis it will be; empty for the site itself.
    """
    lims, run_id = await EnteroBase.named(entero), flow_run.get_id() or ""
    async with alive(lims, run_id):
        begun = await begin_search(lims, name, scheme, run_id, user_id=user_id)
        return await searched(lims, begun, sequences)


async def searched(lims: EnteroBase, begun: BegunSearch, sequences: str) -> Search:
    """Search, and store and report what comes of it."""
    try:
        typing = await search_sequences(lims, begun, sequences)
        await store_search(lims, begun, typing)
    except (DataError, TransientError) as failure:
        await store_search_failure(lims, begun, failure)
        await publish_failure(begun.name, failure)
        raise
    await publish_typing(typing)
    found = {call.locus: call.code for call in typing.calls if call.code != 0}
    return Search(analysis=begun.analysis, job_id=begun.job_id, loci=found)
