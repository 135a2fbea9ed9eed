import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import FileNotYetVisible, InconsistentInput, InvalidRequest
from blocks.genomics.uploads import (
    MAX_RUNS,
    Runs,
    Upload,
    find_upload,
    parse_accession,
    require_run_accession,
)

UPLOAD = Upload(accession="SAL_AA0001AA_TR", read1="a_1.fastq.gz", read2="a_2.fastq.gz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's folder with both files of an upload."""
    place = tmp_path / "uploads" / "42"
    place.mkdir(parents=True)
    (place / UPLOAD.read1).write_text("1")
    (place / UPLOAD.read2).write_text("2")
    return place


@pytest.mark.parametrize(
    "text",
    [
        "SRR1234567",
        "ERR000001,SRR1234567,DRR123456789",
        ",".join(f"SRR{n}" for n in range(100_000, 100_000 + MAX_RUNS)),
    ],
)
def test_runs_are_read_and_written_byte_for_byte(text: str) -> None:
    runs = parse_accession(text)

    assert isinstance(runs, Runs)
    assert runs.accessions == tuple(text.split(","))
    assert str(runs) == text


@pytest.mark.parametrize(
    "text",
    [
        "SAL_AA0001AA_TR#a_1.fastq.gz#a_2.fastq.gz",
        "traces-1.2#Probe 7 (Köln)_R1.fq#Probe 7 (Köln)_R2.fq",
        "SRR1234567#1#2",
        "t#a,b#c,d",
    ],
)
def test_uploads_are_read_and_written_byte_for_byte(text: str) -> None:
    upload = parse_accession(text)

    assert isinstance(upload, Upload)
    assert [upload.accession, upload.read1, upload.read2] == text.split("#")
    assert str(upload) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not a run accession"),
        ("SRR12345", "is not a run accession such as SRR1234567"),
        ("SRR1234567890123", "is not a run accession"),
        ("srr1234567", "is not a run accession"),
        ("XRR1234567", "is not a run accession"),
        ("SRR1234567,", "'' is not a run accession"),
        ("SRR1234567, ERR1234567", "' ERR1234567' is not a run accession"),
        ("SRR1234567\n", "is not a run accession"),
        ("SRR12345６７", "is not a run accession"),
        ("SRR1234567;ERR1234567", "is not a run accession"),
        ("SAL_AA0001AA_AS", "is not a run accession"),
        ("SRR1234567,SRR1234567", "a run is named twice"),
        (",".join(f"SRR{n}" for n in range(100_000, 100_001 + MAX_RUNS)), "21 runs are too many"),
    ],
)
def test_what_names_no_runs_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_accession(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t#a", "has 1 '#', not 2"),
        ("t#a#b#c", "has 3 '#', not 2"),
        ("#a#b", "'' is not the accession of a trace"),
        ("-t#a#b", "is not the accession of a trace"),
        ("t/../u#a#b", "is not the accession of a trace"),
        ("t#a#a", "'a' is named twice"),
        ("t##b", "is empty"),
        ("t#a#", "is empty"),
        ("t# a#b", "begins or ends with a space"),
        ("t#../a#b", "has a folder in it"),
        ("t#/etc/passwd#b", "has a folder in it"),
        ("t#a\\b#b", "has a folder in it"),
        ("t#..#b", "begins with '.' or '-'"),
        ("t#.#b", "begins with '.' or '-'"),
        ("t#.bashrc#b", "begins with '.' or '-'"),
        ("t#--outdir=x#b", "begins with '.' or '-'"),
        ("t#a\n#b", "is empty, or begins or ends"),
        ("t#a\nb#b", "characters that cannot be seen"),
        ("t#a\0b#b", "characters that cannot be seen"),
        ("t#a\u202egz.exe#b", "characters that cannot be seen"),
        ("t#a\u2028b#b", "characters that cannot be seen"),
        ("t#a\udc80b#b", "characters that cannot be seen"),
        (f"t#{'a' * 256}#b", "is longer than 255 bytes"),
        (f"t#{'ä' * 128}#b", "is longer than 255 bytes"),
    ],
)
def test_what_names_no_upload_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refusal:
        parse_accession(text)

    assert len(str(refusal.value)) < 300


def test_one_accession_is_one_run() -> None:
    require_run_accession("DRR123456")
    with pytest.raises(InvalidRequest):
        require_run_accession("DRR123456,DRR123457")


def test_the_two_files_of_an_upload_are_found(folder: Path) -> None:
    pair = find_upload(UPLOAD, folder)

    assert (pair.accession, pair.origin) == ("SAL_AA0001AA_TR", "upload")
    assert [pair.read1.read_text(), pair.read2.read_text()] == ["1", "2"]
    assert pair.read1.is_absolute()


def test_a_folder_may_itself_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "share").symlink_to(folder.parent)

    assert find_upload(UPLOAD, tmp_path / "share" / "42").read1 == folder / UPLOAD.read1


def test_an_upload_may_be_a_link_inside_its_folder(folder: Path) -> None:
    (folder / UPLOAD.read1).rename(folder / "stored")
    (folder / UPLOAD.read1).symlink_to("stored")

    assert find_upload(UPLOAD, folder).read1 == folder / "stored"


@pytest.mark.parametrize("target", ["../43/a_1.fastq.gz", "/etc/passwd", "..", "../42"])
def test_a_link_that_leads_out_of_the_folder_is_refused(folder: Path, target: str) -> None:
    (folder.parent / "43").mkdir()
    (folder.parent / "43" / UPLOAD.read1).write_text("another user's")
    (folder / UPLOAD.read1).unlink()
    (folder / UPLOAD.read1).symlink_to(target)

    with pytest.raises(InvalidRequest, match=r"leads out of|is not a file"):
        find_upload(UPLOAD, folder)


def test_a_link_to_itself_is_refused(folder: Path) -> None:
    (folder / UPLOAD.read1).unlink()
    (folder / UPLOAD.read1).symlink_to(UPLOAD.read1)

    with pytest.raises(InvalidRequest, match="cannot be found: Too many levels"):
        find_upload(UPLOAD, folder)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_not_a_file_is_refused(folder: Path, kind: str) -> None:
    path = folder / UPLOAD.read2
    path.unlink()
    path.mkdir() if kind == "folder" else os.mkfifo(path)

    with pytest.raises(InvalidRequest, match=r"'a_2\.fastq\.gz' in .* is not a file"):
        find_upload(UPLOAD, folder)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_one_file_under_two_names_is_no_pair(folder: Path, link: object) -> None:
    (folder / UPLOAD.read2).unlink()
    assert callable(link)
    link(folder / UPLOAD.read1, folder / UPLOAD.read2)

    with pytest.raises(InconsistentInput, match="are one file"):
        find_upload(UPLOAD, folder)


def test_an_upload_that_is_not_there_may_come(folder: Path) -> None:
    (folder / UPLOAD.read2).unlink()

    with pytest.raises(FileNotYetVisible, match=r"'a_2\.fastq\.gz' is not in .*/42: it was not"):
        find_upload(UPLOAD, folder)
    with pytest.raises(FileNotYetVisible):
        find_upload(UPLOAD, folder / "none")


def test_an_upload_that_was_not_read_from_a_text_is_checked_too(folder: Path) -> None:
    (folder.parent / "secret").write_text("of another user")

    with pytest.raises(InvalidRequest, match="has a folder in it"):
        find_upload(UPLOAD.model_copy(update={"read1": "../secret"}), folder)


# What a hostile user would write: real pieces of both forms, and what leads elsewhere.
PIECES = st.sampled_from(
    [
        *("SRR1234567", "ERR7654321", ",", "#", "a_1.fastq.gz", "..", "/", "\\", "-", " ", "~"),
        *("\0", "\n", "%2e", "$(id)", "é", "\u202e", "\udcff", "a" * 200, "."),
    ]
)
HOSTILE = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=9).map("".join))


@settings(max_examples=500, deadline=None)
@given(text=HOSTILE)
def test_any_text_is_reads_or_a_clear_refusal(text: str) -> None:
    try:
        found = parse_accession(text)
    except InvalidRequest:
        return

    assert str(found) == text
    assert parse_accession(str(found)) == found


@settings(max_examples=500, deadline=None)
@given(name=st.one_of(HOSTILE, st.text(alphabet="./-\\a\0é \n", max_size=8)))
def test_no_name_leads_out_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    place = tmp_path_factory.getbasetemp() / "uploads"
    (place / "42").mkdir(parents=True, exist_ok=True)
    (place / "42" / "b").write_text("2")
    (place / "a").write_text("of another user")

    with pytest.raises((InvalidRequest, FileNotYetVisible, InconsistentInput)):
        find_upload(Upload(accession="t", read1=name, read2="b"), place / "42")
