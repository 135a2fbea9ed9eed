"""Image files of a sweep: names from templates, and templates back from names."""

import os
import re
from pathlib import Path

from blocks.mx.records import DataCollection, Integration, Sweep

NUMBER = re.compile("#+")


def image_path(collection: DataCollection, number: int) -> str:
    """Return the path of one image.

    The first run of `#` in the file template is the image number, padded with zeros to the run's
    length. A template without `#` (`..._master.h5`, `.nxs`) is one file for all images. `%` and
    other characters stay as they are, and so does a `#` in the directory.
    """
    digits = NUMBER.search(collection.file_template)
    name = collection.file_template
    if digits:
        padded = str(number).zfill(len(digits[0]))
        name = name[: digits.start()] + padded + name[digits.end() :]
    return str(Path(collection.image_directory) / name)


def is_one_file(collection: DataCollection) -> bool:
    """Whether all images are in one container file."""
    return NUMBER.search(collection.file_template) is None


def image_argument(sweep: Sweep) -> str:
    """Return xia2's `path:first:last`, with the sweep's own first image in the path."""
    path = image_path(sweep.collection, sweep.start_image)
    return f"{path}:{sweep.start_image}:{sweep.end_image}"


def image_paths(sweep: Sweep) -> list[str]:
    """Return the paths of a sweep's images; one, where all are in one file."""
    if is_one_file(sweep.collection):
        return [image_path(sweep.collection, sweep.start_image)]
    numbers = range(sweep.start_image, sweep.end_image + 1)
    return [image_path(sweep.collection, number) for number in numbers]


def missing_images(sweep: Sweep) -> list[str]:
    """Return the paths of a sweep's images that are not on this disk.

    The directory is listed once: asking for each of thousands of images is slow on NFS.

    Raises:
        OSError: the directory may not be read.
    """
    try:
        with os.scandir(sweep.collection.image_directory) as entries:
            present = {entry.name for entry in entries if not entry.is_dir()}
    except (FileNotFoundError, NotADirectoryError):
        present = set[str]()
    paths = image_paths(sweep)
    return [path for path in paths if Path(path).name not in present]


def names_image_of(template: str, file_name: str) -> bool:
    """Whether a file name, or another template, is of this template."""
    digits = NUMBER.search(template)
    if digits is None:
        return file_name == template
    before, after = template[: digits.start()], template[digits.end() :]
    number = rf"(?:\d{{{len(digits[0])},}}|#+)"
    return re.fullmatch(re.escape(before) + number + re.escape(after), file_name) is not None


def sweep_of(integration: Integration, sweeps: tuple[Sweep, ...]) -> Sweep | None:
    """Return the sweep that an integration is of: same images, most images in common."""

    def shared(sweep: Sweep) -> int:
        first = max(sweep.start_image, integration.start_image)
        return min(sweep.end_image, integration.end_image) - first + 1

    same = [
        sweep
        for sweep in sweeps
        if Path(sweep.collection.image_directory) == Path(integration.image_directory)
        and names_image_of(sweep.collection.file_template, integration.file_template)
        and shared(sweep) > 0
    ]
    return max(same, key=shared, default=None)
