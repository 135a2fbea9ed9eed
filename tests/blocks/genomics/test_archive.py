import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import (
    InconsistentInput,
    InvalidRequest,
    NoSuchRecord,
    ProgramFailed,
    ProgramNotFound,
    ServiceUnavailable,
)
from blocks.genomics.archive import concatenate, fetch_run
from blocks.genomics.archive_answers import ena_run
from blocks.genomics.records import ReadPair
from blocks.program import Program
from tests.fakes.read_archive import (
    ENTRY,
    FILES,
    REPORT,
    RIGHT,
    RUN,
    SRA,
    Answer,
    Server,
    fake_fasterq_dump,
    fastq,
    fetch,
    names_in,
    pair_at_ena,
    read_archive,
    reads_of,
    report,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with read_archive() as one:
        yield one


def test_a_run_comes_from_ena_as_it_is(server: Server, tmp_path: Path) -> None:
    files = pair_at_ena()
    server.put_ena(*files)

    pair = fetch(server.archive(), tmp_path / "reads")

    assert (pair.accession, pair.origin) == (RUN, "ENA")
    assert [pair.read1.read_bytes(), pair.read2.read_bytes()] == [files[0][1], files[1][1]]
    assert names_in(tmp_path / "reads") == FILES
    assert "instrument_platform" in server.asked[0].query


def test_progress_goes_from_the_first_byte_to_the_last(server: Server, tmp_path: Path) -> None:
    server.put_ena(*pair_at_ena(reads=6_000))
    told = list[tuple[float, str]]()

    asyncio.run(fetch_run(server.archive(), RUN, tmp_path, tell=lambda *what: told.append(what)))

    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert len(fractions) > 3
    assert told[-1] == (1.0, f"6,000 pairs of reads of {RUN} from ENA")


def test_a_run_that_is_here_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.put_ena(*pair_at_ena())
    first = fetch(server.archive(), tmp_path)
    asked = len(server.asked)

    again = fetch(server.archive(), tmp_path)

    assert again == first
    assert len(server.asked) == asked == 3


def test_only_the_file_that_was_damaged_on_this_disk_is_fetched_again(
    server: Server, tmp_path: Path
) -> None:
    server.put_ena(*pair_at_ena())
    pair = fetch(server.archive(), tmp_path)
    content = bytearray(pair.read2.read_bytes())
    content[100] ^= 1
    pair.read2.write_bytes(content)
    server.asked.clear()

    assert reads_of(fetch(server.archive(), tmp_path)) == RIGHT
    assert [one.path.rpartition("/")[2] for one in server.asked] == [
        "filereport",
        f"{RUN}_2.fastq.gz",
    ]


def test_reads_without_a_mate_are_left_at_ena(server: Server, tmp_path: Path) -> None:
    alone = (f"{RUN}.fastq.gz", gzip.compress(fastq(1, reads=3)))
    server.put_ena(alone, *pair_at_ena())

    assert reads_of(fetch(server.archive(), tmp_path)) == RIGHT
    assert names_in(tmp_path) == FILES


@pytest.mark.parametrize(
    "changes",
    [
        {"library_layout": "SINGLE"},
        {"instrument_platform": "ION_TORRENT"},
        {"instrument_platform": "PACBIO_SMRT", "library_layout": "SINGLE"},
    ],
)
def test_what_is_not_illumina_paired_end_is_refused_at_once(
    server: Server, tmp_path: Path, changes: dict[str, str]
) -> None:
    server.put_ena(*pair_at_ena(), **changes)
    server.put_ddbj(*RIGHT)

    with pytest.raises(InconsistentInput, match="only Illumina paired-end reads are assembled"):
        fetch(server.archive(), tmp_path)

    assert [one.path for one in server.asked] == [REPORT]


UNKNOWN = [Answer(b"[]"), Answer(status=204, length=-1), Answer(status=404), Answer(b"")]


@pytest.mark.parametrize("answer", UNKNOWN)
def test_a_run_that_ena_does_not_know_comes_from_ddbj(
    server: Server, tmp_path: Path, answer: Answer
) -> None:
    server.put(REPORT, answer)
    server.put_ddbj(*RIGHT)

    pair = fetch(server.archive(), tmp_path)

    assert (pair.origin, reads_of(pair)) == ("DDBJ", RIGHT)
    assert names_in(tmp_path) == FILES


def test_ddbj_is_found_by_what_ena_knows_when_only_enas_files_are_away(
    server: Server, tmp_path: Path
) -> None:
    server.put_ddbj(*RIGHT)
    server.put(ENTRY, Answer(status=500))
    server.put(REPORT, Answer(json.dumps([report(*pair_at_ena())]).encode()))

    assert fetch(server.archive(), tmp_path).origin == "DDBJ"


SRA_URL = "https://ddbj.nig.ac.jp/public/ddbj_database/dra/sralite/ByExp/litesra/SRX/SRX765"
XML_URL = "https://ddbj.nig.ac.jp/public/ddbj_database/dra/fastq/SRA012/SRA012345/SRA012345.run.xml"


def test_ddbj_is_found_by_its_newer_way_to_name_a_runs_files(
    server: Server, tmp_path: Path
) -> None:
    server.put_ddbj(*RIGHT)
    links = [XML_URL, f"{SRA_URL}/SRX765432/{RUN}/{RUN}.sra"]
    entry = {"distribution": [{"contentUrl": link} for link in links]}
    server.put(ENTRY, Answer(json.dumps(entry).encode()))

    assert fetch(server.archive(), tmp_path).origin == "DDBJ"


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>maintenance</html>",
        b"[1]",
        b"{}",
        b"null",
        b"[" * 200_000,
        json.dumps([report(*pair_at_ena(), run_accession="SRR7654321")]).encode(),
        json.dumps([report(*pair_at_ena())] * 2).encode(),
        json.dumps([report(*pair_at_ena(), fastq_md5="no")]).encode(),
        json.dumps([report(*pair_at_ena(), fastq_bytes="1;2;3")]).encode(),
        json.dumps([report(*pair_at_ena(), fastq_bytes="-1;5")]).encode(),
    ],
    ids=lambda answer: answer[:20],
)
def test_a_report_that_cannot_be_read_is_no_end(
    server: Server, tmp_path: Path, answer: bytes
) -> None:
    server.put_ena(*pair_at_ena())
    server.put(REPORT, Answer(answer))
    server.put_ddbj(*RIGHT)

    assert fetch(server.archive(), tmp_path).origin == "DDBJ"


@pytest.mark.parametrize(
    "path",
    ["host/../passwd", "host//x", "host/a b", "host/a?b", "host/a#b", "host/%2e", "host", ""],
)
def test_a_report_leads_to_plain_paths_of_enas_own_server(path: str) -> None:
    files = pair_at_ena()
    whole = json.dumps([report(*files, fastq_ftp=f"{path};{path}")])

    with pytest.raises(ServiceUnavailable, match="the report of SRR1234567 cannot be read"):
        ena_run(whole, RUN)


def test_the_last_to_be_asked_is_ncbi(server: Server, tmp_path: Path) -> None:
    alone = fastq(1, reads=2, seed=7).decode()
    server.put_ncbi(_1=RIGHT[0].decode(), _2=RIGHT[1].decode(), alone=alone)
    dump = fake_fasterq_dump(tmp_path / "bin")

    pair = fetch(server.archive(), tmp_path / "reads", dump=dump)

    assert (pair.origin, reads_of(pair)) == ("NCBI", RIGHT)
    assert names_in(tmp_path / "reads") == FILES


def test_a_run_without_pairs_at_ncbi_is_refused(server: Server, tmp_path: Path) -> None:
    server.put_ncbi(alone=RIGHT[0].decode())
    dump = fake_fasterq_dump(tmp_path / "bin")

    with pytest.raises(InconsistentInput, match="only Illumina paired-end"):
        fetch(server.archive(), tmp_path / "reads", dump=dump)

    assert names_in(tmp_path / "reads") == []


def test_what_fasterq_dump_says_is_kept(server: Server, tmp_path: Path) -> None:
    server.put_ncbi(_1="", _2="")
    dump = fake_fasterq_dump(tmp_path / "bin", fails_with="invalid accession")

    with pytest.raises(ProgramFailed, match="NCBI: fasterq-dump: invalid accession") as failure:
        fetch(server.archive(), tmp_path / "reads", dump=dump)

    assert "quit with error code 3" in failure.value.evidence
    assert failure.value.program == "fasterq-dump"
    assert not list((tmp_path / "reads").rglob("*.sra"))


def test_nothing_is_fetched_for_a_program_that_is_not_installed(
    server: Server, tmp_path: Path
) -> None:
    server.put_ncbi(_1="", _2="")

    with pytest.raises(ProgramNotFound, match=r"ENA: .*no-such-dump is not installed"):
        fetch(server.archive(), tmp_path, dump=Program(name="no-such-dump"))

    assert server.asked_for(SRA) == []


@pytest.mark.parametrize("answer", [one for one in UNKNOWN if one.status != 404])
def test_a_run_that_no_archive_knows_is_told_with_what_each_said(
    server: Server, tmp_path: Path, answer: Answer
) -> None:
    server.put(REPORT, answer)
    dump = fake_fasterq_dump(tmp_path / "bin")

    with pytest.raises(NoSuchRecord, match="no archive has the run SRR1234567") as failure:
        fetch(server.archive(), tmp_path, dump=dump)

    story = str(failure.value)
    assert "ENA: SRR1234567 is not known; DDBJ: 127.0.0.1 answered 404 Not Found" in story
    assert "NCBI: 127.0.0.1 answered 404" in story
    assert len(server.asked) == 3


def test_an_archive_that_is_not_asked_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NoSuchRecord, match="NCBI was not asked, for want of fasterq-dump"):
        fetch(server.archive(), tmp_path)


def test_a_network_that_is_down_is_no_reason_to_give_a_run_up(tmp_path: Path) -> None:
    with read_archive() as server:
        archive = server.archive(attempts=2)
    dump = fake_fasterq_dump(tmp_path / "bin")

    with pytest.raises(ServiceUnavailable, match="SRR1234567 are not to be had now") as failure:
        fetch(archive, tmp_path, dump=dump)

    assert str(failure.value).count("127.0.0.1 cannot be reached") == 3


def test_one_archive_that_is_away_may_be_the_one_that_has_it(
    server: Server, tmp_path: Path
) -> None:
    server.put(REPORT, Answer(status=503))

    with pytest.raises(ServiceUnavailable, match=r"ENA: 127\.0\.0\.1 answered 503"):
        fetch(server.archive(), tmp_path)


def test_a_run_whose_files_ena_has_not_made_yet_may_come_later(
    server: Server, tmp_path: Path
) -> None:
    server.put_ena()

    with pytest.raises(ServiceUnavailable, match="no FASTQ files at ENA yet"):
        fetch(server.archive(), tmp_path)


def test_files_that_are_no_pair_come_from_elsewhere(server: Server, tmp_path: Path) -> None:
    first, _ = pair_at_ena()
    shorter = gzip.compress(fastq(2, reads=39))
    server.put_ena(first, (f"{RUN}_2.fastq.gz", shorter))
    server.put_ddbj(*RIGHT)

    pair = fetch(server.archive(), tmp_path)

    assert (pair.origin, reads_of(pair)) == ("DDBJ", RIGHT)


def test_files_that_are_a_pair_nowhere_are_put_aside(server: Server, tmp_path: Path) -> None:
    server.put(REPORT, Answer(b"[]"))
    server.put_ddbj(RIGHT[0], fastq(2, reads=39))

    with pytest.raises(InconsistentInput, match=r"not pairs of reads.*_2\.fastq\.gz has 39 reads"):
        fetch(server.archive(), tmp_path)


def test_a_damaged_bzip2_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.put_ddbj(*RIGHT)
    server.put(
        f"/ddbj/public/ddbj_database/dra/fastq/SRA012/SRA012345/SRX765432/{RUN}_1.fastq.bz2",
        Answer(b"BZh9 this is not so"),
    )

    with pytest.raises(InconsistentInput, match=r"SRR1234567_1\.fastq\.bz2 is damaged"):
        fetch(server.archive(), tmp_path)

    assert [name for name in names_in(tmp_path) if not name.endswith(".part")] == []


def test_reads_that_unpack_to_more_than_the_limit_are_refused(
    server: Server, tmp_path: Path
) -> None:
    server.put_ena(*pair_at_ena())
    server.put_ddbj(*RIGHT)

    with pytest.raises(InconsistentInput, match="more than 1,000 bytes unpacked") as refusal:
        fetch(server.archive(max_unpacked_bytes=1000), tmp_path)

    assert f"{RUN}_1.fastq.gz has" in str(refusal.value)
    assert f"{RUN}_1.fastq.bz2 has" in str(refusal.value)


@pytest.mark.parametrize(
    "accession", ["", "SRR1", "srr1234567", "SRR1234567&x=1", "../SRR1234567", "SRR123456７"]
)
def test_only_an_accession_is_asked_for(server: Server, tmp_path: Path, accession: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a run accession"):
        asyncio.run(fetch_run(server.archive(), accession, tmp_path))

    assert server.asked == []


# Several runs of one sample


def a_pair(directory: Path, run: str, *, packed: bool = True) -> ReadPair:
    paths = [directory / f"{run}_{mate}.fastq{'.gz' if packed else ''}" for mate in (1, 2)]
    for mate, path in enumerate(paths, 1):
        content = fastq(mate, run=run)
        path.write_bytes(gzip.compress(content) if packed else content)
    return ReadPair(accession=run, read1=paths[0], read2=paths[1], origin="ENA")


def test_the_runs_of_one_sample_are_put_together_in_their_order(tmp_path: Path) -> None:
    pairs = [a_pair(tmp_path, "SRR1234568"), a_pair(tmp_path, "SRR1234569", packed=False)]

    whole = concatenate(pairs, tmp_path)

    expected = [fastq(m, run="SRR1234568") + fastq(m, run="SRR1234569") for m in (1, 2)]
    assert list(reads_of(whole)) == expected
    assert (whole.accession, whole.origin) == ("SRR1234568,SRR1234569", "ENA")
    assert concatenate(pairs, tmp_path) == whole


def test_one_run_needs_no_copy(tmp_path: Path) -> None:
    pair = a_pair(tmp_path, RUN)

    assert concatenate([pair], tmp_path) is pair


def test_no_runs_give_no_reads(tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match="no reads"):
        concatenate([], tmp_path)
