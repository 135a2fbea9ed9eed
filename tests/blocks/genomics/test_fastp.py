"""fastp: what it is asked, and which of its ends are none of a good trimming."""

import json
from pathlib import Path

import pytest

from blocks.errors import (
    FileNotYetVisible,
    InconsistentInput,
    InvalidRequest,
    OutputInvalid,
    ProgramFailed,
    ProgramKilled,
)
from blocks.genomics import fastp
from blocks.genomics.fastp import TrimJob
from blocks.genomics.running import version_in
from tests.fakes.reads import an_end

JOB = TrimJob(read1=Path("/data/SRR1_1.fastq.gz"), read2=Path("/data/SRR1_2.fastq.gz"))


def option(job: TrimJob, name: str) -> str:
    given = fastp.arguments(job)
    return given[given.index(name) + 1]


def a_report(path: Path, *, reads: int = 1000, kept: int = 900) -> Path:
    before = {"total_reads": reads, "total_bases": 150 * reads, "q30_bases": 135 * reads}
    after = {"total_reads": kept, "total_bases": 140 * kept, "q30_bases": 139 * kept}
    summary = {"before_filtering": before, "after_filtering": after}
    path.write_text(json.dumps({"summary": summary}))
    return path


def test_reads_are_trimmed_as_enterobase_trims_them() -> None:
    given = fastp.arguments(JOB)

    assert (option(JOB, "--in1"), option(JOB, "--in2")) == (str(JOB.read1), str(JOB.read2))
    assert {"--cut_front", "--cut_tail"} < set(given)
    assert [option(JOB, f"--{n}") for n in ("cut_mean_quality", "length_required")] == ["6", "23"]
    assert option(JOB, "--n_base_limit") == "2"


def test_counting_duplicates_which_takes_a_gigabyte_is_left_out() -> None:
    assert "--dont_eval_duplication" in fastp.arguments(JOB)


def test_more_threads_than_it_can_use_are_not_asked_for() -> None:
    assert option(JOB.model_copy(update={"n_threads": 64}), "--thread") == "16"


def test_the_adapters_of_both_illumina_kits_are_known() -> None:
    adapters = fastp.ADAPTERS.read_text()

    assert adapters.count(">") == 3
    assert {"AGATCGGAAGAGC", "CTGTCTCTTATACACATCT"} <= {
        *(line[:13] for line in adapters.splitlines()),
        *adapters.splitlines(),
    }


@pytest.mark.parametrize("name", ["--out1=x", "-V", "reads\n--in2.fq"])
def test_a_file_that_is_called_like_an_option_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="rename the file"):
        fastp.arguments(JOB.model_copy(update={"read2": Path(name)}))


def test_a_report_gives_what_was_read_and_what_is_left(tmp_path: Path) -> None:
    counts = fastp.read_counts(a_report(tmp_path / "fastp.json"))

    assert (counts.reads, counts.reads_kept) == (1000, 900)
    assert (counts.bases, counts.bases_kept) == (150_000, 126_000)
    assert counts.q30_share == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("reads", "kept", "reason"), [(1000, 0, "none of 1,000 reads is left"), (0, 0, "no read in")]
)
def test_nothing_left_is_a_matter_of_the_reads(
    tmp_path: Path, reads: int, kept: int, reason: str
) -> None:
    with pytest.raises(InconsistentInput, match=reason):
        fastp.read_counts(a_report(tmp_path / "fastp.json", reads=reads, kept=kept))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"summary": {"before_filtering": 3}}', "\x00"])
def test_a_report_that_is_none_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "fastp.json").write_text(text)
    with pytest.raises(OutputInvalid, match=r"fastp.json is no report of fastp"):
        fastp.read_counts(tmp_path / "fastp.json")


@pytest.mark.parametrize(
    ("stderr", "meaning"),
    [
        ("\nWARNNIG: different read numbers of the 15 pack\n", "not the same number of reads"),
        ("ERROR: sequence and quality have different length:\n", "as many qualities as bases"),
        ("ERROR: igzip: Error invalid gzip header found: x", "called gzip and is none"),
    ],
)
def test_files_that_are_cut_short_are_refused_though_fastp_says_success(
    tmp_path: Path, stderr: str, meaning: str
) -> None:
    run = an_end(tmp_path, "fastp", stderr=stderr)

    with pytest.raises(InconsistentInput, match=f"SRR1_1.fastq.gz and SRR1_2.*{meaning}"):
        fastp.check(run, JOB)


def test_a_failure_has_fastps_own_reason(tmp_path: Path) -> None:
    run = an_end(tmp_path, "fastp", stderr="ERROR: Failed to write\n", exit_status=255)

    with pytest.raises(ProgramFailed, match=r"^fastp: Failed to write$"):
        fastp.check(run, JOB)


def test_fastp_is_tried_again_with_fewer_threads_when_memory_is_short(tmp_path: Path) -> None:
    (fault,) = fastp.FAULTS
    with pytest.raises(ProgramKilled) as failure:
        fastp.check(an_end(tmp_path, "fastp", exit_status=None, signal=9), JOB)

    assert fault.marks(failure.value)
    assert fault.remedy(JOB) == JOB.model_copy(update={"n_threads": 1})
    assert fault.remedy(JOB.model_copy(update={"n_threads": 1})) is None


def test_a_gzip_file_by_another_name_is_refused_before_it_is_misread(tmp_path: Path) -> None:
    (tmp_path / "a.fastq").write_bytes(fastp.GZIP_MAGIC)

    with pytest.raises(InconsistentInput, match=r"a.fastq is gzip, but is not called .gz"):
        fastp.require_readable(tmp_path / "a.fastq")


def test_a_read_file_that_is_not_there_may_come_later(tmp_path: Path) -> None:
    with pytest.raises(FileNotYetVisible, match=r"a.fastq cannot be read: No such file"):
        fastp.require_readable(tmp_path / "a.fastq")


def test_the_version_is_found_in_what_it_says() -> None:
    assert version_in("fastp 0.23.2\n", fastp.VERSION) == "0.23.2"
