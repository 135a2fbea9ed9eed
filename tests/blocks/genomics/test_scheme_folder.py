import gzip
import os
from pathlib import Path

import pytest

from blocks.errors import DataError, InconsistentInput, InvalidRequest
from blocks.genomics import locus_file, profile_table
from blocks.genomics.locus_file import LeftOut, Reason
from blocks.genomics.records import Profile
from blocks.genomics.scheme_folder import read_scheme_folder
from tests.fakes.scheme_folders import FILES, ONE, TABLE, THREE, TWO, a_folder, left_out, read


def test_a_pubmlst_folder_is_read(tmp_path: Path) -> None:
    scheme = read(tmp_path, database_version__txt="2026-01-01")

    assert (scheme.name, scheme.version, scheme.loci) == ("demo", "2026-01-01", ("adk", "fumC"))
    assert scheme.alleles("adk") == ((1, ONE.encode()), (2, TWO.encode()))
    assert list(scheme.profiles()) == [Profile(1, (1, 1), {}), Profile(2, (2, 1), {})]
    assert (scheme.n_alleles, scheme.n_profiles, scheme.left_out) == (3, 2, ())


def test_a_given_name_is_the_schemes(tmp_path: Path) -> None:
    assert read_scheme_folder(a_folder(tmp_path), "MLST_Achtman").name == "MLST_Achtman"


# Files of alleles


@pytest.mark.parametrize(
    "header",
    [
        *("adk_2", "adk-2", "adk:2", "2", "*2", "adk_*2", "ADK_2", "adk_02"),
        *("adk_2 a description", "adk_2\tafter a tab", "  adk_2"),
    ],
)
def test_an_allele_has_its_number_however_its_header_is_written(
    header: str, tmp_path: Path
) -> None:
    scheme = read(tmp_path, adk__tfa=f">adk_1\n{ONE}\n>{header}\n{TWO}\n")

    assert scheme.alleles("adk") == ((1, ONE.encode()), (2, TWO.encode()))


@pytest.mark.parametrize(
    ("file", "header"),
    [
        ("STMMW_00001.fasta", "STMMW_00001_7"),
        ("GCA-000007265-protein10.fasta", "GCA-000007265-protein10_7"),
        ("NEIS-0001.fas", "NEIS_0001_7"),
        ("aro(E)'.tfa", "aro(E)'_7"),
        ("SACOL 0001.fas", "SACOL 0001_7"),
        ("lmo0001.1.fa", "lmo0001.1-7"),
    ],
)
def test_a_locus_name_may_have_digits_and_signs(file: str, header: str, tmp_path: Path) -> None:
    folder = a_folder(tmp_path, dict.fromkeys(FILES) | {file: f">{header}\n{ONE}\n"})
    scheme = read_scheme_folder(folder)

    assert scheme.loci == (file.rpartition(".")[0],)
    assert scheme.alleles(scheme.loci[0]) == ((7, ONE.encode()),)


def test_case_line_ends_and_line_lengths_do_not_matter(tmp_path: Path) -> None:
    broken = f"{TWO[:10].lower()}\r\n{TWO[10:30]} {TWO[30:]}\r\n"
    content = b"\xef\xbb\xbf\r\n" + f">adk_1\r\n{ONE}\r\n\r\n>adk_2\r\n{broken}\r\n".encode()
    scheme = read(tmp_path, adk__tfa=content, demo__txt=TABLE.replace("\n", "\r\n"))

    assert scheme.alleles("adk") == ((1, ONE.encode()), (2, TWO.encode()))
    assert scheme.n_profiles == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["Unix", "Windows", "old Macintosh"])
def test_lines_are_counted_whatever_their_ends_are(end: str, tmp_path: Path) -> None:
    content = f"{FILES['adk.tfa']}>adk_3\n{ONE[:9]}\nN\n>adk_0\n{ONE}\n".replace("\n", end)
    scheme = read(tmp_path, adk__tfa=content)

    assert [(one.line, one.what) for one in scheme.left_out] == [(5, "adk_3"), (8, "adk_0")]


def test_packed_files_are_read_as_enterobase_gives_them(tmp_path: Path) -> None:
    files = {f"{name}.gz": gzip.compress(content.encode()) for name, content in FILES.items()}
    files["profiles.list.gz"] = files.pop("demo.txt.gz")
    folder = a_folder(tmp_path, dict.fromkeys(FILES) | files)
    scheme = read_scheme_folder(folder)

    assert (scheme.loci, scheme.n_alleles, scheme.n_profiles) == (("adk", "fumC"), 3, 2)


def test_alleles_come_by_number(tmp_path: Path) -> None:
    scheme = read(tmp_path, adk__tfa=f">adk_12\n{ONE}\n>adk_2\n{TWO}\n>adk_1\n{THREE}\n")

    assert [number for number, _ in scheme.alleles("adk")] == [1, 2, 12]


def test_a_folder_without_profiles_has_its_loci_by_name(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, {"demo.txt": None, "aaa.fasta": f">1\n{ONE}\n>2\n{TWO}\n"})
    (folder / "short").mkdir()
    (folder / ".schema_config").write_text("binary")
    (folder / "._adk.tfa").write_text("of a Macintosh")
    scheme = read_scheme_folder(folder)

    assert scheme.loci == ("aaa", "adk", "fumC")
    assert list(scheme.profiles()) == []


@pytest.mark.parametrize("header", ["lmo_10", "lmo_10 exemplar of 2021"])
def test_an_exemplar_without_a_number_is_allele_one(header: str, tmp_path: Path) -> None:
    folder = a_folder(tmp_path, dict.fromkeys(FILES) | {"lmo_10.fasta": f">{header}\n{ONE}\n"})

    assert read_scheme_folder(folder).alleles("lmo_10") == ((1, ONE.encode()),)


@pytest.mark.parametrize("other", ["adk_2", "adk"])
def test_an_allele_without_a_number_beside_others_is_refused(other: str, tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match=r"adk.tfa.*(without a number|another sequence)"):
        read(tmp_path, adk__tfa=f">adk\n{ONE}\n>{other}\n{TWO}\n")


# What is left out, and why


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (f">adk_3\n{ONE[:20]}N{ONE[21:]}\n", Reason.LETTERS),
        (f">adk_3\n{ONE[:20]}R{ONE[21:]}\n", Reason.LETTERS),
        (f">adk_3\n{ONE[:20]}-{ONE[20:]}\n", Reason.LETTERS),
        (f">adk_3\n{ONE[:20]}\x00\xe9{ONE[20:]}\n", Reason.LETTERS),
        (">adk_3\n", Reason.SHORT),
        (f">adk_3\n{ONE[:31]}\n", Reason.SHORT),
        (f">adk_3\n{ONE * 6000}\n", Reason.LONG),
        (f">adk_0\n{THREE}\n", Reason.NUMBER),
        (f">adk_MB45\n{THREE}\n", Reason.NUMBER),
        (f">adk_2.002\n{THREE}\n", Reason.NUMBER),
        (f">adk_\n{THREE}\n", Reason.NUMBER),
        (f">adk_2147483648\n{THREE}\n", Reason.NUMBER),
        (f">adk_{'9' * 5000}\n{THREE}\n", Reason.NUMBER),
        (f">adk_2\n{TWO}\n", Reason.REPEATED),
    ],
)
def test_an_allele_that_no_genome_can_have_is_left_out(
    record: str, reason: Reason, tmp_path: Path
) -> None:
    scheme = read(tmp_path, adk__tfa=FILES["adk.tfa"] + record)
    label = record[1:].partition("\n")[0][:60]

    assert left_out(scheme) == [("adk.tfa", 5, label, reason)]
    assert scheme.alleles("adk") == ((1, ONE.encode()), (2, TWO.encode()))
    assert scheme.left_out_by_reason == {reason: 1}


def test_of_two_numbers_with_one_sequence_the_lowest_is_kept(tmp_path: Path) -> None:
    scheme = read(
        tmp_path,
        adk__tfa=f">adk_9\n{ONE}\n>adk_2\n{TWO}\n>adk_4\n{ONE.lower()}\n>adk_12\n{ONE}\n",
        demo__txt="ST\tadk\tfumC\n1\t9\t1\n2\t2\t1\n",
    )

    assert scheme.alleles("adk") == ((2, TWO.encode()), (4, ONE.encode()))
    assert left_out(scheme) == [
        ("adk.tfa", 1, "adk 9", Reason.SAME_SEQUENCE),
        ("adk.tfa", 7, "adk 12", Reason.SAME_SEQUENCE),
    ]
    assert [profile.alleles for profile in scheme.profiles()] == [(4, 1), (2, 1)]


def test_a_file_without_a_column_is_left_out_unread(tmp_path: Path) -> None:
    scheme = read(tmp_path, extra__fasta="this is no FASTA")

    assert scheme.loci == ("adk", "fumC")
    assert left_out(scheme) == [("extra.fasta", 1, "locus extra", Reason.NO_COLUMN)]


def test_what_is_left_out_reads_as_a_line_of_a_report() -> None:
    one = LeftOut("adk.tfa", 5, "adk_3", Reason.LETTERS)

    assert str(one) == "adk.tfa, line 5: adk_3: letters other than A, C, G and T"


# Coding


def test_a_scheme_of_whole_reading_frames_is_coding(tmp_path: Path) -> None:
    scheme = read(tmp_path)

    assert (scheme.coding, scheme.n_reading_frames) == (True, 3)


def with_no_frames(n_frames: int, sequence: str, n_others: int) -> str:
    """Return a file of reading frames, and of other alleles that are cut from this one."""
    whole = [ONE.replace("CGATCG", f"C{a}{b}T{c}G") for a in "ACGT" for b in "ACGT" for c in "ACGT"]
    others = [sequence.replace("GATTTG", f"G{a}TTT{b}") for a in "CGT" for b in "CGT"]
    alleles = [*whole[:n_frames], *others[:n_others]]
    return "".join(f">adk_{number}\n{allele}\n" for number, allele in enumerate(alleles, 1))


@pytest.mark.parametrize(
    "sequence",
    [ONE[:10] + ONE[11:], "CCC" + ONE[3:], ONE[:-3] + "CAA", ONE[:33]],
    ids=["frame", "start", "stop", "cut"],
)
@pytest.mark.parametrize(("n_others", "coding"), [(1, True), (2, True), (3, False)])
def test_a_scheme_is_of_whole_genes_while_nine_of_ten_alleles_are(
    sequence: str, n_others: int, *, coding: bool, tmp_path: Path
) -> None:
    table = "ST\tadk\n1\t1\n"
    files = with_no_frames(20 - n_others, sequence, n_others)
    scheme = read(tmp_path, adk__tfa=files, fumC__tfa=None, demo__txt=table)

    assert (scheme.n_reading_frames, scheme.n_alleles) == (20 - n_others, 20)
    assert scheme.coding is coding


# What is refused


def test_one_number_with_two_sequences_is_refused_by_line(tmp_path: Path) -> None:
    with pytest.raises(
        InconsistentInput, match=r"adk.tfa, line 5: .* allele 2 another sequence than line 3"
    ):
        read(tmp_path, adk__tfa=f"{FILES['adk.tfa']}>adk_2\n{THREE}\n")


@pytest.mark.parametrize("header", ["fumC_3", "adkA_3", "adk3", "", "\xfc_3"])
def test_an_allele_of_another_locus_is_refused_by_line(header: str, tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match=r"adk.tfa, line 5: .* allele of another locus"):
        read(tmp_path, adk__tfa=f"{FILES['adk.tfa']}>{header}\n{THREE}\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "adk.tfa is no FASTA: it is empty"),
        (" \n\n", "it is empty"),
        ("<html>404 Not Found", "begins with '<html>404 Not Found'"),
        (f"adk_1\n{ONE}\n", "adk.tfa is no FASTA"),
        (b"\xff\xfe>\x00a\x00", r"begins with '\\\\xff"),
        (gzip.compress(FILES["adk.tfa"].encode())[:-12], "adk.tfa cannot be read"),
        (f">adk_1\n{ONE}N\n", "no usable allele of locus adk: letters other"),
        (">adk_1\n", "no usable allele of locus adk: shorter"),
    ],
)
def test_a_file_without_alleles_is_refused(
    content: str | bytes, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InconsistentInput, match=problem):
        read(tmp_path, adk__tfa=content)


@pytest.mark.parametrize(
    "name",
    ["-rf.tfa", "a;b.tfa", "a\nb.tfa", "é.tfa", "x" * 122 + ".tfa", "$(x).txt"],
)
def test_a_file_name_that_is_not_safe_is_refused(name: str, tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    (folder / name).write_text(f">1\n{ONE}\n")
    with pytest.raises(InconsistentInput, match="has no name to use in a scheme"):
        read_scheme_folder(folder)


def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    Path(os.fsdecode(os.fsencode(folder) + b"/ad\xff.tfa")).write_text(f">1\n{ONE}\n")
    with pytest.raises(InconsistentInput, match=r"ad\\udcff.tfa"):
        read_scheme_folder(folder)


def test_two_files_of_one_locus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match=r"adk.fasta and adk.tfa are both of locus adk"):
        read(tmp_path, adk__fasta=FILES["adk.tfa"])


@pytest.mark.parametrize("name", ["../up", "", "a/b", "a\nb", "-x", "x" * 122])
def test_a_scheme_name_that_is_not_safe_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is no name for a scheme"):
        read_scheme_folder(a_folder(tmp_path), name)


@pytest.mark.parametrize("place", ["nowhere", "file", "null\0byte", "x" * 300])
def test_what_is_no_folder_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_scheme_folder(tmp_path / place)


def test_a_folder_without_fasta_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InconsistentInput, match="no FASTA file of a locus"):
        read_scheme_folder(a_folder(tmp_path, {"adk.tfa": None, "fumC.tfa": None}))


def test_what_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_folder(tmp_path)
    for module, limit, value, problem in (
        (locus_file, "MAX_BYTES", 50, "larger than 0 MB"),
        (profile_table, "MAX_LINE", 10, "demo.txt, line 1 is longer than 10 bytes"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, value)
            with pytest.raises(InconsistentInput, match=problem):
                read_scheme_folder(folder)


@pytest.mark.parametrize("file", ["adk.tfa", "demo.txt"])
def test_a_file_of_which_nearly_all_is_left_out_is_refused(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"adk.tfa": ">adk_3\nN\n" * 30, "demo.txt": "9\t9\t9\n" * 30}[file]
    folder = a_folder(tmp_path, {file: FILES[file] + more})
    monkeypatch.setattr(locus_file, "MAX_LEFT_OUT", 20)
    with pytest.raises(DataError, match=f"more than 20 parts of {file} cannot be used, the first"):
        read_scheme_folder(folder)


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, {"demo.txt": None})
    (folder / "old.tfa").mkdir()
    os.mkfifo(folder / "pipe.tfa")
    (folder / "endless.tfa").symlink_to("/dev/zero")
    (folder / "gone.tfa").symlink_to(tmp_path / "nowhere")

    assert read_scheme_folder(folder).loci == ("adk", "fumC")


@pytest.mark.parametrize("version", [b"\xff\xfe\x00", b"", b"\x1b[31m"])
def test_a_version_that_is_no_text_does_not_matter(version: bytes, tmp_path: Path) -> None:
    scheme = read(tmp_path, database_version__txt=version)

    assert scheme.version == ""
