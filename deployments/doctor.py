"""`limsflow doctor`: is this machine ready, line by line."""

import argparse
import json
import os
import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import httpx

from blocks.record import Record
from deployments.embedded import default_home

DIALS = ("dials.import", "dials.index", "dials.integrate", "dials.scale", "dials.merge")
GIBIBYTE = 1 << 30
GENOMICS = {
    "fastp": "trims reads; Debian: apt-get install fastp",
    "spades.py": "assembles; Debian: apt-get install spades (or skesa, megahit)",
    "minimap2": "maps reads back; Debian: apt-get install minimap2",
    "samtools": "judges every base; Debian: apt-get install samtools",
    "kraken2": "names species; needs a database too: kraken_database of the toolchain block",
    "pilercr": "the scheme CRISPer; Debian: apt-get install pilercr",
    "prodigal": "the scheme annotation; Debian: apt-get install prodigal",
    "sistr": "the scheme SeroPred; see deployments/sistr.lock",
}


class Finding(Record):
    """One line: what was looked at, what was found, whether the main job needs it."""

    what: str
    found: str
    ok: bool
    needed: bool = True


def doctor(options: argparse.Namespace) -> int:
    """Look at everything; exit with 1 if something that is needed is missing."""
    findings = look()
    if options.json:
        print(json.dumps([finding.model_dump() for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "ok" if finding.ok else "MISSING" if finding.needed else "absent"
            print(f"{mark:8} {finding.what:18} {finding.found}")
    return int(any(finding.needed and not finding.ok for finding in findings))


def look() -> list[Finding]:
    """Return what this machine has."""
    return [
        Finding(what="Python", found=sys.version.split()[0], ok=sys.version_info >= (3, 11)),
        Finding(what="Prefect", found=version("prefect"), ok=True),
        _fastapi(),
        _dials(),
        _program("xia2", "comes with a DIALS or CCP4 release; 'module load' at a facility"),
        _program("freerflag", "of CCP4; xia2 needs it for its last step"),
        _program("mariadbd", "only the tests need it: make services"),
        *(_program(name, hint) for name, hint in GENOMICS.items()),
        _disk(),
        _prefect_server(),
    ]


def _fastapi() -> Finding:
    installed = version("fastapi")
    good = tuple(int(part) for part in installed.split(".")[:2]) < (0, 151)
    why = "" if good else ": Prefect 3.8's server needs one before 0.151; use requirements.lock"
    return Finding(what="FastAPI", found=f"{installed}{why}", ok=good)


def _dials() -> Finding:
    missing = [name for name in DIALS if shutil.which(name) is None]
    found = f"not on the PATH: {', '.join(missing)}; Debian: apt-get install dials"
    at = shutil.which(DIALS[0])
    return Finding(what="DIALS", found=found if missing else str(at), ok=not missing, needed=False)


def _program(name: str, hint: str) -> Finding:
    at = shutil.which(name)
    return Finding(what=name, found=at or f"not on the PATH; {hint}", ok=bool(at), needed=False)


def _disk() -> Finding:
    place = default_home().resolve()
    while not place.exists():
        place = Path(place.parent)
    free = shutil.disk_usage(place).free / GIBIBYTE
    return Finding(what="disk", found=f"{free:.1f} GiB free in {place}", ok=free >= 1)


def _prefect_server() -> Finding:
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        found = "PREFECT_API_URL is not set: 'limsflow serve' starts a server"
        return Finding(what="Prefect server", found=found, ok=False, needed=False)
    shown = re.sub(r"//[^/]*@", "//", url)  # without user and password
    try:
        answer = httpx.get(f"{url}/health", timeout=5, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found = f"{shown} does not answer: {type(error).__name__}"
        return Finding(what="Prefect server", found=found, ok=False)
    found = f"{shown} answers {answer.status_code}"
    return Finding(what="Prefect server", found=found, ok=answer.is_success)
