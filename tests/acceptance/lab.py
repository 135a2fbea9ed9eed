"""An EnteroBase on real PostgreSQL, with the machine's real programs."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import NullPool, create_engine

from blocks.genomics.records import SchemeCall
from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore
from tests.fakes.entero import Look
from tests.fakes.served import environment

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared" / "data" / "genomics"
NEEDED = ("fastp", "spades.py", "megahit", "minimap2", "samtools", "pilercr", "prodigal", "blastn")


@dataclass(frozen=True)
class Lab:
    """An EnteroBase, its files, and the name of its blocks."""

    name: str
    url: str
    root: Path
    store: EnteroStore

    @property
    def look(self) -> Look:
        """A look at the rows past the store."""
        return Look(create_engine(self.url, poolclass=NullPool))

    def load(self, folder: Path, *options: str) -> dict[str, Any]:
        """Load a scheme's folder as a person does; return what was loaded."""
        command = ["scheme", "load", str(folder), "--entero", self.url, "--json", *options]
        run = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *command],
            env=environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def assemble(self, reads: str, **options: Any) -> Any:
        """Assemble reads and type the assembly."""
        from flows.assemble_strain import assemble_strain  # noqa: PLC0415 - loads Prefect

        names = {"entero": self.name, "toolchain": self.name}
        return asyncio.run(assemble_strain(reads, **(names | options)))

    def typing(self, barcode: str, scheme: str) -> Coroutine[Any, Any, Any]:
        """Return the run that types an assembly, to be awaited."""
        from flows.type_assembly import type_assembly  # noqa: PLC0415 - loads Prefect

        return type_assembly(barcode, scheme, entero=self.name, toolchain=self.name)

    def call(self, barcode: str, scheme: str) -> SchemeCall:
        """Return what is stored of a scheme on an assembly."""
        assembly = self.store.isolates.assembly(barcode)
        return next(c for c in self.store.calls.calls(assembly.id) if c.scheme == scheme)

    def alleles(self, barcode: str, scheme: str) -> dict[str, str]:
        """Return the key of each allele that an assembly has, by locus."""
        rows = self.look.rows(
            "SELECT l.name, a.key FROM locus_positions p JOIN loci l ON l.id = p.locus_id"
            " JOIN schemes s ON s.id = l.scheme_id JOIN assemblies b ON b.id = p.assembly_id"
            " JOIN alleles a ON a.locus_id = l.id AND a.number = p.allele"
            " WHERE b.barcode = :barcode AND s.description = :scheme",
            barcode=barcode,
            scheme=scheme,
        )
        return {row.name: str(row.key) for row in rows}


def make_lab(
    root: Path,
    url: str,
    *,
    name: str,
    prefix: str,
    genus: str,
    limits: dict[str, int] | None = None,
    n_processes: int = 2,
) -> Lab:
    """Make an EnteroBase in an empty database."""
    from blocks.connections import EnteroBase, Toolchain  # noqa: PLC0415 - loads Prefect

    missing = [program for program in NEEDED if not shutil.which(program)]
    assert not missing, f"{', '.join(missing)} are missing: run 'make services'"
    migrate(url)
    limits_file = root / "limits.json"
    limits_file.write_text(json.dumps({"genera": {genus: limits or {}}}))
    (root / "uploads").mkdir(exist_ok=True)
    block = EnteroBase(
        url=SecretStr(url),
        database=name,
        prefix=prefix,
        genus=genus,
        limits_file=str(limits_file),
        share=str(root / "share"),
        uploads=str(root / "uploads"),
    )
    programs = Toolchain(directory=sistr_folder(), n_processes=n_processes)

    async def save() -> None:
        await block.asave(name)
        await programs.asave(name)

    asyncio.run(save())
    return Lab(name=name, url=url, root=root, store=block.store())


def sistr_folder() -> str:
    """Return where SISTR is: in an environment of its own."""
    named = os.environ.get("LIMSFLOW_SISTR") or shutil.which("sistr")
    path = Path(named) if named else REPOSITORY / ".venv-sistr" / "bin" / "sistr"
    assert path.is_file(), f"SISTR is not at {path}: run 'make services'"
    return str(path.parent)


def shared(name: str) -> Path:
    """Return a file or folder of the shared data; without it, the test is skipped."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} of the shared data is not beside this repository")
    return path
