"""Simulate a rotation data set from a known crystal, as mini-CBF images that DIALS can process.

It answers: does the whole chain from images to merged intensities give back what went in?
The laboratory frame is that of dxtbx: the spindle along +x, the source along +z, vertical +y.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import gemmi
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from blocks.mx.mini_cbf import image_name, mini_cbf
from blocks.record import Angstrom, Record

Floats = NDArray[np.float64]
Miller = NDArray[np.int32]

N_FAST, N_SLOW = 487, 619  # PILATUS 300K: three modules, one above the other
PIXEL_MM = 0.172
MODULE_ROWS, GAP_ROWS = 195, 17
SENSOR_MM = 0.32
POLARIZATION = 0.999  # what dxtbx assumes of a mini-CBF, with the normal along +y
COUNT_CUTOFF = 1_048_500  # 20-bit counters
STAMP_HALF_WIDTH_PX = 5
ROCKING_RANGE_SIGMA = 4.5
MIN_ZETA = 0.05  # dials.integrate leaves out what is nearer to the spindle
PLANCK_EV_ANGSTROM = 12398.42

Positive = Annotated[float, Field(gt=0)]


class SyntheticCrystal(Record):
    """A crystal whose every intensity is known; equal crystals have equal intensities."""

    unit_cell: tuple[float, float, float, float, float, float] = Field(
        default=(42.0, 42.0, 57.0, 90.0, 90.0, 90.0),
        description="a, b, c in Å; alpha, beta, gamma in degrees",
    )
    space_group: str = Field(default="P 43 21 2", description="Hermann-Mauguin symbol")
    d_min_angstrom: Angstrom = Field(default=1.8, description="nothing diffracts beyond this, Å")
    b_factor: float = Field(default=30.0, ge=0, description="isotropic, Å²")
    mosaicity_deg: Positive = Field(default=0.12, description="one sigma of the rocking curve")
    orientation_deg: tuple[float, float, float] = Field(
        default=(43.0, 26.0, 38.0), description="turns about laboratory x, y, z, in this order"
    )
    seed: int = Field(default=300, ge=0)

    @model_validator(mode="after")
    def _cell_fits_space_group(self) -> "SyntheticCrystal":
        try:
            group = gemmi.SpaceGroup(self.space_group)
        except ValueError:
            raise ValueError(f"unknown space group {self.space_group!r}") from None
        cell = gemmi.UnitCell(*self.unit_cell)
        if not cell.is_crystal() or not cell.is_compatible_with_spacegroup(group):
            raise ValueError(f"unit cell {self.unit_cell} does not fit {self.space_group}")
        return self


class SyntheticMeasurement(Record):
    """How the crystal is measured: geometry, rotation and light."""

    wavelength_angstrom: Angstrom = 0.9795
    distance_mm: Positive = 100.0
    beam_centre_px: tuple[float, float] = Field(
        default=(240.3, 303.8), description="fast, slow, from the outer corner of the first pixel"
    )
    oscillation_deg: Positive = Field(default=0.5, description="width of one image")
    exposure_s: Positive = 0.1
    spot_sigma_px: Positive = Field(default=0.9, description="one sigma of the spot profile")
    peak_counts: Positive = Field(
        default=400.0, description="photons of a reflection of intensity 1, before Lorentz factor"
    )
    background_counts: float = Field(default=8.0, ge=0, description="per pixel at the beam")


@dataclass(frozen=True, slots=True)
class _Rays:
    """Diffracted rays that meet the detector; one element per passage of the Ewald sphere."""

    phi_deg: Floats
    sigma_deg: Floats
    fast_px: Floats
    slow_px: Floats
    counts: Floats

    def where(self, chosen: NDArray[np.bool_]) -> "_Rays":
        """Return the chosen rays only."""
        columns = (self.phi_deg, self.sigma_deg, self.fast_px, self.slow_px, self.counts)
        return _Rays(*(column[chosen] for column in columns))


def true_intensities(crystal: SyntheticCrystal) -> tuple[Miller, Floats]:
    """Return the unique reflections of the crystal, and the intensity of each.

    Intensities follow Wilson's statistics, with the mean 1 times the fall-off exp(-B/2d²).
    Friedel mates are equal. Screw and glide absences are there, with intensity zero.

    Returns:
        Miller indices (n, 3) int32 in gemmi's asymmetric unit of the Laue group, lexicographic
        order; intensities (n,) float64.
    """
    group = _space_group(crystal)
    cell = gemmi.UnitCell(*crystal.unit_cell)
    symmorphic = gemmi.find_spacegroup_by_ops(group.operations().derive_symmorphic())
    hkl = gemmi.make_miller_array(cell, symmorphic, crystal.d_min_angstrom)
    hkl = hkl[np.lexsort(hkl.T[::-1])]
    fall_off = np.exp(-0.5 * crystal.b_factor * cell.calculate_1_d2_array(hkl))
    return hkl, fall_off * _wilson(group.operations(), hkl, np.random.default_rng(crystal.seed))


def _space_group(crystal: SyntheticCrystal) -> gemmi.SpaceGroup:
    return gemmi.SpaceGroup(crystal.space_group)


def _wilson(operations: gemmi.GroupOps, hkl: Miller, rng: np.random.Generator) -> Floats:
    """Draw one intensity per reflection; their mean is the multiplicity epsilon."""
    acentric = rng.exponential(size=len(hkl))
    centric = rng.chisquare(1, size=len(hkl))
    drawn = np.where(operations.centric_flag_array(hkl), centric, acentric)
    drawn *= operations.epsilon_factor_without_centering_array(hkl)
    return np.where(operations.systematic_absences(hkl), 0.0, drawn)


def all_intensities(crystal: SyntheticCrystal) -> tuple[Miller, Floats]:
    """Return every reflection of the sphere, symmetry mates and Friedel mates included."""
    unique, intensity = true_intensities(crystal)
    turns = [np.array(op.rot) // gemmi.Op.DEN for op in _space_group(crystal).operations().sym_ops]
    mates = np.concatenate([sign * unique @ turn for turn in turns for sign in (1, -1)])
    hkl, first = np.unique(mates.astype(np.int32), axis=0, return_index=True)
    return hkl, intensity[first % len(unique)]


def _rotation(axis: int, angle_deg: float) -> Floats:
    """Return the right-handed rotation about a laboratory axis (0 = x, 1 = y, 2 = z)."""
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i] = matrix[j, j] = math.cos(math.radians(angle_deg))
    matrix[j, i] = math.sin(math.radians(angle_deg))
    matrix[i, j] = -matrix[j, i]
    return matrix


def _setting_matrix(crystal: SyntheticCrystal) -> Floats:
    """Return the matrix that takes Miller indices to the laboratory at phi = 0, in 1/Å."""
    reciprocal = np.array(gemmi.UnitCell(*crystal.unit_cell).frac.mat.tolist()).T
    about_x, about_y, about_z = crystal.orientation_deg
    return _rotation(2, about_z) @ _rotation(1, about_y) @ _rotation(0, about_x) @ reciprocal


def _diffracted(crystal: SyntheticCrystal, wavelength: float) -> tuple[Floats, Floats, Floats]:
    """Return phi in degrees, the unit vector and the intensity of each diffracted ray.

    A reciprocal vector r turns about x with the radius rho and meets the Ewald sphere where its
    z is r²/2k, with k = 1/wavelength: twice in a full turn, or never.
    """
    hkl, intensity = all_intensities(crystal)
    x, y, z = _setting_matrix(crystal) @ hkl.T
    rho, depth = np.hypot(y, z), (x * x + y * y + z * z) * wavelength / 2
    meets = depth < rho
    x, y, z, rho, depth = (column[meets] for column in (x, y, z, rho, depth))
    half_chord = np.arccos(depth / rho)
    turn = np.concatenate([half_chord, -half_chord])
    phi = np.degrees(np.tile(np.arctan2(y, z), 2) - turn)
    x, rho, depth = np.tile(x, 2), np.tile(rho, 2), np.tile(depth, 2)
    ray = np.stack([x, rho * np.sin(turn), depth - 1 / wavelength], axis=1) * wavelength
    return phi, ray, np.tile(intensity[meets], 2)


def _rays(crystal: SyntheticCrystal, measurement: SyntheticMeasurement) -> _Rays:
    """Return all rays of a full turn that fall on the detector, with their photon counts."""
    phi, ray, intensity = _diffracted(crystal, measurement.wavelength_angstrom)
    lorentz = np.abs(ray[:, 1])
    zeta = lorentz / np.hypot(ray[:, 0], ray[:, 1])
    seen = (zeta > MIN_ZETA) & (ray[:, 2] < 0)
    phi, ray, intensity, lorentz, zeta = (
        column[seen] for column in (phi, ray, intensity, lorentz, zeta)
    )
    efficiency = _polarization(ray) * _absorbed(ray, measurement.wavelength_angstrom)
    counts = measurement.peak_counts * intensity * efficiency / lorentz
    fast, slow = _impact(ray, measurement)
    rays = _Rays(phi, crystal.mosaicity_deg / zeta, fast, slow, counts)
    return rays.where((fast > 0) & (fast < N_FAST) & (slow > 0) & (slow < N_SLOW))


def _polarization(ray: Floats) -> Floats:
    """Return Kabsch's polarization factor, the one that dials.integrate divides by."""
    across = (1 - 2 * POLARIZATION) * (1 - ray[:, 1] ** 2)
    return across + POLARIZATION * (1 + ray[:, 2] ** 2)


def _attenuation(wavelength: float) -> float:
    """Return the attenuation of silicon per mm, within 1 % of NIST's table from 0.7 to 1.5 Å."""
    return 7.896 * (wavelength / 1.2398) ** 2.93


def _absorbed(ray: Floats, wavelength: float) -> Floats:
    """Return the fraction of each ray that the sensor stops."""
    return 1 - np.exp(_attenuation(wavelength) * SENSOR_MM / ray[:, 2])


def _impact(ray: Floats, measurement: SyntheticMeasurement) -> tuple[Floats, Floats]:
    """Return where rays are detected, fast and slow in pixels, parallax in the sensor included."""
    mu = _attenuation(measurement.wavelength_angstrom)
    depth = SENSOR_MM / -ray[:, 2]
    mean_path = 1 / mu - (depth + 1 / mu) * np.exp(-mu * depth)  # as dxtbx has it
    travel = (measurement.distance_mm / -ray[:, 2] + mean_path) / PIXEL_MM
    centre_fast, centre_slow = measurement.beam_centre_px
    return centre_fast + travel * ray[:, 0], centre_slow - travel * ray[:, 1]


def _normal_cdf(deviate: Floats) -> Floats:
    erf = np.array([math.erf(value) for value in (deviate.ravel() / math.sqrt(2)).tolist()])
    return 0.5 * (1 + erf.reshape(deviate.shape))


def _within_image(rays: _Rays, number: int, oscillation_deg: float) -> _Rays:
    """Return the rays that light image `number`, each with the photons of this image only."""
    from_centre = rays.phi_deg - (number - 0.5) * oscillation_deg
    from_centre = (from_centre + 180) % 360 - 180
    reach = oscillation_deg / 2 + ROCKING_RANGE_SIGMA * rays.sigma_deg
    lit = np.abs(from_centre) < reach
    chosen, from_centre = rays.where(lit), from_centre[lit]
    edges = np.stack([oscillation_deg / 2 - from_centre, -oscillation_deg / 2 - from_centre])
    upper, lower = _normal_cdf(edges / chosen.sigma_deg)
    counts = chosen.counts * (upper - lower)
    return _Rays(chosen.phi_deg, chosen.sigma_deg, chosen.fast_px, chosen.slow_px, counts)


def _profile(centre_px: Floats, sigma_px: float) -> tuple[NDArray[np.int64], Floats]:
    """Return the pixels around each spot on one axis, and the share of the spot in each."""
    first = np.floor(centre_px).astype(np.int64) - STAMP_HALF_WIDTH_PX
    edges = first[:, None] + np.arange(2 * STAMP_HALF_WIDTH_PX + 2)
    share = np.diff(_normal_cdf((edges - centre_px[:, None]) / sigma_px), axis=1)
    return edges[:, :-1], share


def _expected_spots(rays: _Rays, sigma_px: float) -> Floats:
    """Return the mean photons of the spots in each pixel, (slow, fast)."""
    fast, fast_share = _profile(rays.fast_px, sigma_px)
    slow, slow_share = _profile(rays.slow_px, sigma_px)
    photons = rays.counts[:, None, None] * slow_share[:, :, None] * fast_share[:, None, :]
    on_fast, on_slow = (fast >= 0) & (fast < N_FAST), (slow >= 0) & (slow < N_SLOW)
    inside = on_slow[:, :, None] & on_fast[:, None, :]
    pixel = slow[:, :, None] * N_FAST + fast[:, None, :]
    total = np.zeros(N_SLOW * N_FAST)
    np.add.at(total, pixel[inside], photons[inside])
    return total.reshape(N_SLOW, N_FAST)


def _expected_background(measurement: SyntheticMeasurement) -> Floats:
    """Return the mean background, which falls from the beam to 40 % at high angle."""
    slow, fast = np.indices((N_SLOW, N_FAST), dtype=np.float64) + 0.5
    centre_fast, centre_slow = measurement.beam_centre_px
    radius_mm = np.hypot(fast - centre_fast, slow - centre_slow) * PIXEL_MM
    tangent = radius_mm / measurement.distance_mm
    return measurement.background_counts * (0.4 + 0.6 * np.exp(-((tangent / 0.25) ** 2)))


def _counted(expected: Floats, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return the image as the detector counts it; the gaps between the modules hold -1."""
    image = np.minimum(rng.poisson(expected), COUNT_CUTOFF).astype(np.int32)
    for row in range(MODULE_ROWS, N_SLOW, MODULE_ROWS + GAP_ROWS):
        image[row : row + GAP_ROWS] = -1
    return image


def _header(crystal: SyntheticCrystal, measurement: SyntheticMeasurement, number: int) -> str:
    """Return the PILATUS header lines of image `number`."""
    wavelength, width = measurement.wavelength_angstrom, measurement.oscillation_deg
    start = (number - 1) * width
    moment = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=number * measurement.exposure_s)
    centre_fast, centre_slow = measurement.beam_centre_px
    return f"""\
# Detector: PILATUS 300K, S/N 0-0000, simulated
# {moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}
# Comment: this image is simulated by limsflow, it was never measured
# Crystal: {crystal.space_group}, cell {crystal.unit_cell}, seed {crystal.seed}
# Pixel_size {PIXEL_MM * 1e3:.0f}e-6 m x {PIXEL_MM * 1e3:.0f}e-6 m
# Silicon sensor, thickness {SENSOR_MM * 1e-3:.6f} m
# Exposure_time {measurement.exposure_s:.7f} s
# Exposure_period {measurement.exposure_s:.7f} s
# Tau = 0 s
# Count_cutoff {COUNT_CUTOFF} counts
# Threshold_setting: {PLANCK_EV_ANGSTROM / wavelength / 2:.0f} eV
# Wavelength {wavelength:.5f} A
# Detector_distance {measurement.distance_mm * 1e-3:.5f} m
# Beam_xy ({centre_fast:.2f}, {centre_slow:.2f}) pixels
# Start_angle {start:.4f} deg.
# Angle_increment {width:.4f} deg.
# Phi {start:.4f} deg.
# Oscillation_axis X, CW
"""


def write_sweep(
    directory: Path,
    crystal: SyntheticCrystal,
    measurement: SyntheticMeasurement | None = None,
    *,
    template: str = "xtal_1_####.cbf",
    first_image: int,
    last_image: int,
    report: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write images `first_image` to `last_image`, both included, and return their paths.

    Image n covers phi from (n - 1) to n oscillation widths and depends on nothing but n, the
    crystal and the measurement, so any ranges of one template are parts of one rotation.

    The directory is made if missing; files of the same name are overwritten. `report` is called
    after each image with the number written and the number to write.

    Raises:
        ValueError: the range is reversed, or the template cannot name its images.
    """
    if first_image > last_image:
        raise ValueError(f"image range {first_image}-{last_image} is reversed")
    measurement = measurement or SyntheticMeasurement()
    names = {n: image_name(template, n) for n in range(first_image, last_image + 1)}
    directory.mkdir(parents=True, exist_ok=True)
    rays, background = _rays(crystal, measurement), _expected_background(measurement)
    paths = list[Path]()
    for number, name in names.items():
        lit = _within_image(rays, number, measurement.oscillation_deg)
        expected = background + _expected_spots(lit, measurement.spot_sigma_px)
        image = _counted(expected, np.random.default_rng((crystal.seed, number)))
        path = directory / name
        path.write_bytes(mini_cbf(path.stem, _header(crystal, measurement, number), image))
        paths.append(path)
        if report:
            report(len(paths), len(names))
    return paths
