"""minimap2 and samtools: what they are asked, and which of their ends are failures."""

from pathlib import Path

import pytest

from blocks.errors import InconsistentInput, InvalidRequest, ProgramFailed, ProgramKilled
from blocks.genomics import minimap2, samtools
from blocks.genomics.minimap2 import MappingJob
from blocks.genomics.running import LineProgress, version_in
from blocks.genomics.samtools import SortJob
from tests.fakes.reads import an_end

MAPPING = MappingJob(
    reference=Path("contigs.fasta"), read1=Path("a_1.fq.gz"), read2=Path("a_2.fq.gz"), n_threads=4
)
SORTING = SortJob(alignments=Path("mapped.sam"), n_threads=4, memory_mb=1024)
WARNING = "[W::mm_bseq_read_frag2]\x1b[1;31m query files have different number of records; extra\n"


def test_each_read_is_mapped_once_and_only_reads_that_map_are_kept() -> None:
    assert minimap2.arguments(MAPPING) == (
        *("-ax", "sr", "-t", "4", "--secondary=no", "--sam-hit-only"),
        *("-o", "mapped.sam", "contigs.fasta", "a_1.fq.gz", "a_2.fq.gz"),
    )


def test_the_memory_of_sorting_is_shared_among_its_threads() -> None:
    assert samtools.sort_arguments(SORTING) == (
        *("sort", "-@", "3", "-m", "256M", "-l", "1", "-T", "sorting"),
        *("-o", "mapped.bam", "mapped.sam"),
    )


def test_every_call_of_the_bayesian_model_is_asked_for() -> None:
    assert samtools.pileup_arguments(Path("mapped.bam")) == (
        *("consensus", "-f", "pileup", "-C", "0", "--show-del", "yes", "--show-ins", "yes"),
        *("-o", "pileup.tsv", "mapped.bam"),
    )


def test_files_that_are_called_like_options_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"'-x.fa' cannot be given"):
        minimap2.arguments(MAPPING.model_copy(update={"reference": Path("-x.fa")}))
    with pytest.raises(InvalidRequest, match=r"'-x.sam' cannot be given"):
        samtools.sort_arguments(SORTING.model_copy(update={"alignments": Path("-x.sam")}))
    with pytest.raises(InvalidRequest, match=r"'-x.bam' cannot be given"):
        samtools.pileup_arguments(Path("-x.bam"))


def test_reads_without_mates_are_refused_though_minimap2_says_success(tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match=r"a_1.fq.gz and a_2.fq.gz have not the same"):
        minimap2.check(an_end(tmp_path, "minimap2", stderr=WARNING), MAPPING)


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: failed to open file 'x'\n",
        "[ERROR]\x1b[1;31m failed to open file 'x'\x1b[0m\n",
        "[ERROR] failed to open file 'x'\n",
    ],
)
def test_a_failure_has_minimap2s_own_reason(tmp_path: Path, said: str) -> None:
    with pytest.raises(ProgramFailed, match=r"^minimap2: failed to open file 'x'"):
        minimap2.check(an_end(tmp_path, "minimap2", stderr=said, exit_status=1), MAPPING)


def test_mapping_is_told_by_reads() -> None:
    told = list[tuple[float, str]]()
    progress = LineProgress(minimap2.progress(1000), lambda *step: told.append(step))

    progress.read("[M::main] x\n[M::worker_pipeline::0.5*0.6] mapped 250 sequences\n[M::wor")
    progress.read("ker_pipeline::0.5*0.6] mapped 500 sequences\n")

    assert told == [(0.25, "mapped 250 of 1,000 reads"), (0.75, "mapped 750 of 1,000 reads")]


def test_mapping_and_sorting_are_tried_again_with_less_when_memory_is_short(
    tmp_path: Path,
) -> None:
    with pytest.raises(ProgramKilled) as failure:
        minimap2.check(an_end(tmp_path, "minimap2", exit_status=None, signal=9), MAPPING)
    (mapping,), (sorting,) = minimap2.FAULTS, samtools.SORT_FAULTS

    assert mapping.marks(failure.value)
    assert sorting.marks(failure.value)
    assert mapping.remedy(MAPPING) == MAPPING.model_copy(update={"n_threads": 2})
    assert mapping.remedy(MAPPING.model_copy(update={"n_threads": 1})) is None
    less = SORTING.model_copy(update={"n_threads": 2, "memory_mb": 512})
    assert sorting.remedy(SORTING) == less
    assert sorting.remedy(SORTING.model_copy(update={"n_threads": 1, "memory_mb": 64})) is None


def test_versions_are_found_in_what_programs_say() -> None:
    text = "samtools 1.16.1\nUsing htslib 1.16\nCopyright (C) 2022 Genome Research Ltd.\n"

    assert version_in(text, samtools.VERSION) == "1.16.1"
    assert version_in("2.24-r1122\n", minimap2.VERSION) == "2.24-r1122"
