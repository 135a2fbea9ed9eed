import base64
import hashlib
import re
from pathlib import Path

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray

from blocks.mx.mini_cbf import byte_offset, image_name
from blocks.mx.synthetic_sweep import (
    N_FAST,
    N_SLOW,
    SyntheticCrystal,
    SyntheticMeasurement,
    all_intensities,
    true_intensities,
    write_sweep,
)

SMALL = SyntheticCrystal(d_min_angstrom=4.0)
OPERATIONS = gemmi.SpaceGroup(SMALL.space_group).operations()


def decoded(packed: bytes) -> list[int]:
    """Decode CBF byte-offset data one value at a time, as its definition reads."""
    values, value, at = list[int](), 0, 0
    while at < len(packed):
        for n_bytes in (1, 2, 4):
            delta = int.from_bytes(packed[at : at + n_bytes], "little", signed=True)
            at += n_bytes
            if delta != -(1 << (8 * n_bytes - 1)):
                break
        value += delta
        values.append(value)
    return values


def binary_section(path: Path) -> bytes:
    content = path.read_bytes()
    (size,) = map(int, re.findall(rb"X-Binary-Size: (\d+)", content))
    start = content.index(b"\x0c\x1a\x04\xd5") + 4
    return content[start : start + size]


def image_of(path: Path) -> NDArray[np.int64]:
    return np.array(decoded(binary_section(path))).reshape(N_SLOW, N_FAST)


@pytest.fixture(scope="module")
def first_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("sweep"), SMALL, first_image=1, last_image=1)[0]


def test_symmetry_mates_and_friedel_mates_have_equal_intensities() -> None:
    hkl, intensity = all_intensities(SMALL)
    of = dict(zip(map(tuple, hkl.tolist()), intensity.tolist(), strict=True))
    for index in list(of)[::17]:
        mates = {tuple(op.apply_to_hkl(index)) for op in OPERATIONS.sym_ops}
        mates |= {tuple(-i for i in mate) for mate in mates}

        assert {of[mate] for mate in mates} == {of[index]}


def test_the_unique_reflections_are_those_of_the_sphere_in_the_asymmetric_unit() -> None:
    asu = gemmi.ReciprocalAsu(gemmi.SpaceGroup(SMALL.space_group))
    sphere = all_intensities(SMALL)[0].tolist()

    unique = true_intensities(SMALL)[0].tolist()
    assert {tuple(h) for h in sphere if asu.is_in(h)} == {tuple(h) for h in unique}


def test_exactly_the_systematic_absences_have_no_intensity() -> None:
    hkl, intensity = true_intensities(SMALL)

    assert np.array_equal(intensity == 0, OPERATIONS.systematic_absences(hkl))
    assert intensity[(hkl == [0, 0, 3]).all(axis=1)] == [0.0]


def test_acentric_intensities_follow_wilsons_statistics() -> None:
    hkl, intensity = true_intensities(SyntheticCrystal(b_factor=0))
    acentric = intensity[~OPERATIONS.centric_flag_array(hkl)]

    assert acentric.mean() == pytest.approx(1, abs=0.05)
    assert (acentric**2).mean() / acentric.mean() ** 2 == pytest.approx(2, abs=0.1)


def test_the_b_factor_only_scales_by_resolution() -> None:
    hkl, weak = true_intensities(SMALL.model_copy(update={"b_factor": 50.0}))
    _, strong = true_intensities(SMALL.model_copy(update={"b_factor": 0.0}))
    d = gemmi.UnitCell(*SMALL.unit_cell).calculate_d_array(hkl)

    assert weak == pytest.approx(strong * np.exp(-50.0 / (2 * d**2)))


@pytest.mark.parametrize(
    "values",
    [[0], [-1, -1, 5], [127, 0, 128, 0], [-127, 1, -127], [32767, 0, 32768, 0], [1_048_500, -1, 3]],
)
def test_byte_offset_data_decode_to_the_same_values(values: list[int]) -> None:
    assert decoded(byte_offset(np.array(values, dtype=np.int32))) == values


def test_the_same_seed_gives_the_same_bytes_whatever_the_range(
    first_image: Path, tmp_path: Path
) -> None:
    again = write_sweep(tmp_path, SMALL, first_image=1, last_image=2)

    assert again[0].read_bytes() == first_image.read_bytes()
    assert not np.array_equal(image_of(again[0]), image_of(again[1]))


def test_another_seed_gives_other_counts(first_image: Path, tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"seed": SMALL.seed + 1})
    (path,) = write_sweep(tmp_path, other, first_image=1, last_image=1)

    assert not np.array_equal(image_of(path), image_of(first_image))


def test_gaps_between_modules_are_marked_and_all_else_is_counted(first_image: Path) -> None:
    image = image_of(first_image)

    assert np.flatnonzero((image == -1).all(axis=1)).tolist() == [
        *range(195, 212),
        *range(407, 424),
    ]
    assert np.count_nonzero(image < 0) == 34 * N_FAST


def test_spots_stand_out_of_the_background(first_image: Path) -> None:
    image = image_of(first_image)

    assert image.max() > 100 * SyntheticMeasurement().background_counts / 8
    assert 3 < np.median(image) < 9


def test_the_header_states_geometry_and_that_the_image_is_simulated(tmp_path: Path) -> None:
    measurement = SyntheticMeasurement(oscillation_deg=0.25, distance_mm=120.0)
    (path,) = write_sweep(tmp_path, SMALL, measurement, first_image=81, last_image=81)
    header = path.read_bytes().split(b"--CIF-BINARY")[0].decode()

    assert '_array_data.header_convention "PILATUS_1.2"' in header
    assert "# Pixel_size 172e-6 m x 172e-6 m\r\n" in header
    assert "# Detector_distance 0.12000 m\r\n" in header
    assert "# Start_angle 20.0000 deg.\r\n# Angle_increment 0.2500 deg.\r\n" in header
    assert "simulated by limsflow" in header


def test_the_stated_digest_is_that_of_the_compressed_data(first_image: Path) -> None:
    digest = hashlib.md5(binary_section(first_image), usedforsecurity=False).digest()

    assert b"Content-MD5: " + base64.b64encode(digest) in first_image.read_bytes()


def test_progress_is_reported_after_each_image(tmp_path: Path) -> None:
    seen = list[tuple[int, int]]()
    paths = write_sweep(
        tmp_path / "new", SMALL, first_image=9, last_image=10, report=lambda *n: seen.append(n)
    )

    assert seen == [(1, 2), (2, 2)]
    assert [path.name for path in paths] == ["xtal_1_0009.cbf", "xtal_1_0010.cbf"]


@pytest.mark.parametrize(
    ("template", "number"),
    [("xtal.cbf", 1), ("x_##_##.cbf", 1), ("x_##.cbf", 100), ("x_##.cbf", 0), ("a/x_##.cbf", 1)],
)
def test_a_template_that_cannot_name_an_image_is_refused(template: str, number: int) -> None:
    with pytest.raises(ValueError, match="template"):
        image_name(template, number)


def test_a_reversed_range_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5-4 is reversed"):
        write_sweep(tmp_path / "new", SMALL, first_image=5, last_image=4)

    assert not (tmp_path / "new").exists()


def test_an_unknown_space_group_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown space group 'P 43 21 7'"):
        SyntheticCrystal(space_group="P 43 21 7")


@pytest.mark.parametrize(
    "cell", [(42.0, 43.0, 57.0, 90.0, 90.0, 90.0), (42.0, 42.0, 57.0, 90.0, 95.0, 90.0)]
)
def test_a_cell_that_does_not_fit_the_space_group_is_refused(cell: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit P 43 21 2"):
        SyntheticCrystal.model_validate({"unit_cell": cell})
