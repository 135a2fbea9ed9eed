"""The `limsflow` command: what a person does in a shell; loads Prefect only where it is used."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from blocks.errors import LimsflowError, ProgramError
from deployments.embedded import UNTRACKED, default_home
from deployments.night_options import add_night
from deployments.service_options import add_services

ENTERO_HELP = "a saved block, a SQLAlchemy URL, or the path of a SQLite file"
ISPYB_HELP = "ISPyB: a SQLAlchemy URL, or the name of a saved block"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status. A known failure is one line on standard error."""
    status = 0
    for name, value in UNTRACKED.items():  # also by the server that Prefect starts for one command
        os.environ.setdefault(name, value)
    try:
        options = _parser().parse_args(arguments)
        status, failure = _run(options)
        if failure and options.json:
            print(json.dumps({"error": str(failure), "kind": type(failure).__name__}))
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("limsflow: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _run(options: argparse.Namespace) -> tuple[int, LimsflowError | None]:
    """Return the status and, of a known failure, the failure."""
    module, _, function = options.run.partition(":")
    try:
        # Each command is a module of its own, loaded when it is asked for: Prefect takes seconds.
        return getattr(import_module(module), function)(options), None
    except LimsflowError as error:
        said = error.evidence if isinstance(error, ProgramError) else str(error)
        print(f"limsflow: {said}", file=sys.stderr)
        return 1, error


class _Parser(argparse.ArgumentParser):
    """A parser whose help may be cut off by a closed pipe."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()
        super().exit(status, message)


def _count(text: str) -> int:
    """Return a number of processes or runs: at least 1."""
    number = int(text)
    if number < 1:
        msg = f"{number} is less than 1"
        raise argparse.ArgumentTypeError(msg)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="limsflow",
        description="Do the jobs that a laboratory's LIMS asks for, and write the answers back.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = _command(commands, "demo", "deployments.demo:demo", "the main job on its own data")
    demo.add_argument("--home", type=Path, default=Path("limsflow-demo"), help="folder for it all")
    serve = _command(commands, "serve", "deployments.serve:serve", "the same stack, left running")
    serve.add_argument("--home", type=Path, default=default_home(), help="folder for it all")
    serve.add_argument("--port", type=int, default=4200, help="of the page; 0 is any free port")
    init = _command(commands, "init", "deployments.init:init", "create the tables of a database")
    init.add_argument("database", metavar="DB", help="SQLAlchemy URL, or a path for SQLite")
    init.add_argument(
        "--for", dest="kind", choices=("ispyb", "entero"), default="ispyb", help="whose tables"
    )
    deploy = _command(
        commands, "deploy", "deployments.deploy:deploy", "register blocks, pool and deployments"
    )
    _add_deploy_options(deploy)
    _command(commands, "doctor", "deployments.doctor:doctor", "is this machine ready")
    _add_reconcile(commands)
    _add_job(commands)
    _add_scheme(commands)
    _add_type(commands)
    _add_isolate(commands)
    add_night(commands, _command, _count, ENTERO_HELP)
    _add_entero(commands)
    add_services(commands, _command, _count)
    return parser


def _add_deploy_options(deploy: argparse.ArgumentParser) -> None:
    deploy.add_argument(
        "--ispyb",
        default=os.environ.get("LIMSFLOW_ISPYB"),
        help="SQLAlchemy URL to read with; better in $LIMSFLOW_ISPYB, where nobody else sees it",
    )
    deploy.add_argument(
        "--ispyb-processing",
        default=os.environ.get("LIMSFLOW_ISPYB_PROCESSING"),
        help="URL of the role with the stored procedures; or $LIMSFLOW_ISPYB_PROCESSING",
    )
    deploy.add_argument(
        "--entero",
        default=os.environ.get("LIMSFLOW_ENTERO"),
        help="SQLAlchemy URL of a species database; or $LIMSFLOW_ENTERO",
    )
    deploy.add_argument(
        "--entero-system",
        default=os.environ.get("LIMSFLOW_ENTERO_SYSTEM"),
        help="URL of the database with user_jobs, if another; or $LIMSFLOW_ENTERO_SYSTEM",
    )
    broker = os.environ.get("LIMSFLOW_BROKER")
    deploy.add_argument(
        "--broker",
        default=broker,
        help="amqp:// or stomp:// URL that 'limsflow listen' uses; or $LIMSFLOW_BROKER",
    )
    deploy.add_argument("--queue", action="append", help="that it consumes; may be repeated")
    deploy.add_argument("--forward-to", default="", help="queue of what is not ours: zocalo's")
    deploy.add_argument("--recipe", action="append", help="of jobs that are ours; all unless given")
    deploy.add_argument("--database", help="what user_jobs.database calls the species database")
    deploy.add_argument("--prefix", help="three letters that its barcodes begin with")
    deploy.add_argument("--genus", help="whose limits its assemblies are judged by")
    deploy.add_argument("--limits-file", help="JSON of the site's own limits")
    deploy.add_argument("--share", help="folder of assemblies and results")
    deploy.add_argument("--uploads", help="folder of uploaded reads")
    deploy.add_argument("--limit", type=_count, default=4, help="runs at once in the work pool")
    hook = os.environ.get("LIMSFLOW_NOTIFY")
    deploy.add_argument("--notify", default=hook, help="web hook that is told of a bad night")
    deploy.add_argument("--night-hours", type=float, default=8.0, help="longer is told of, too")
    deploy.add_argument("--visit-depth", type=int, default=6, help="path parts of a visit")
    deploy.add_argument("--toolchain-directory", help="where programs are, if not on the PATH")
    deploy.add_argument("--toolchain-note", default="", help="said with every result")


def _add_reconcile(commands: Any) -> None:
    reconcile = _command(
        commands, "reconcile", "deployments.job_run:reconcile", "close what nobody works on"
    )
    reconcile.add_argument("--ispyb", default="ispyb", help=f"{ISPYB_HELP}; empty: none")
    reconcile.add_argument("--entero", default="entero", help=f"{ENTERO_HELP}; empty: none")
    reconcile.add_argument(
        "--broker", default="broker", help="block with the recipes that are ours; empty: start none"
    )
    reconcile.add_argument("--stale-after-s", type=float, default=900.0, help="silence, in seconds")
    reconcile.add_argument(
        "--stuck-after-s", type=float, default=900.0, help="from a worker's taking to its beginning"
    )
    reconcile.add_argument("--dry-run", action="store_true", help="say it, and close nothing")


def _add_job(commands: Any) -> None:
    job = commands.add_parser("job", help="processing jobs of ISPyB")
    verbs = job.add_subparsers(required=True, metavar="VERB")
    create = _command(verbs, "create", "deployments.job:create", "from a JSON description")
    create.add_argument("file", type=Path, metavar="FILE", help="- reads standard input")
    argv = _command(verbs, "argv", "deployments.job:argv", "the command, one token a line")
    run = _command(verbs, "run", "deployments.job_run:run", "run it here and now")
    show = _command(verbs, "show", "deployments.job:show", "rows, attempts, state, files")
    retry = _command(verbs, "retry", "deployments.job_control:retry", "a new attempt at it")
    cancel = _command(verbs, "cancel", "deployments.job_control:cancel", "end what goes on for it")
    show.add_argument("--log", action="store_true", help="also what its runs told Prefect")
    for verb in (argv, run, show, retry, cancel):
        verb.add_argument("id", type=int, metavar="ID", help="processingJobId")
    for verb in (create, argv, run, show, retry, cancel):
        verb.add_argument("--ispyb", default="ispyb", help=ISPYB_HELP)
    for verb in (create, argv):
        verb.add_argument("--recipes", type=Path, help="directory of the facility's own recipes")
    argv.add_argument("--processes", type=_count, default=os.cpu_count() or 1, help="for nproc")
    run.add_argument("--toolchain", default="PATH", help="block of the programs; PATH is the PATH")
    retry.add_argument("--toolchain", help="block of the programs; the last run's unless given")
    run.add_argument("--no-resume", action="store_true", help="run finished DIALS steps again")
    run.add_argument("--wait-s", type=float, default=60.0, help="for rows and images to arrive")


def _add_scheme(commands: Any) -> None:
    scheme = commands.add_parser("scheme", help="typing schemes of an EnteroBase")
    verbs = scheme.add_subparsers(required=True, metavar="VERB")
    load = _command(verbs, "load", "deployments.scheme:load", "a PubMLST-style folder")
    load.add_argument("folder", type=Path, metavar="FOLDER", help=".tfa files and profiles")
    load.add_argument("--name", help="machine name; the folder's unless given")
    load.add_argument("--label", help="what a person reads; the machine name unless given")
    load.add_argument(
        "--not-automatic", action="store_true", help="do not call it on every new assembly"
    )
    load.add_argument("--max-missing", type=_share, help="share of loci a type may lack, 0 to 1")
    load.add_argument(
        "--own-numbers-from",
        type=_count,
        help="numbers from here on are this site's own, for alleles and types that are new here: "
        "1,000,000 for a new scheme; 1 for a scheme whose numbers only this site gives",
    )
    load.add_argument(
        "--coding",
        type=_yes,
        metavar="YES_NO",
        help="alleles are whole genes; a new scheme's are if nine of ten are",
    )
    listing = _command(verbs, "list", "deployments.scheme:schemes", "the schemes of a database")
    for verb in (load, listing):
        verb.add_argument("--entero", default="entero", help=ENTERO_HELP)


def _add_type(commands: Any) -> None:
    typing = _command(
        commands, "type", "deployments.scheme:type_file", "type one assembly; store nothing"
    )
    typing.add_argument("fasta", type=Path, metavar="FASTA", help="or FASTQ; plain or gzip")
    typing.add_argument(
        "--scheme", required=True, help="a scheme of --entero, or a PubMLST-style folder"
    )
    typing.add_argument("--entero", help=ENTERO_HELP)


def _add_isolate(commands: Any) -> None:
    isolate = commands.add_parser("isolate", help="strains, assemblies and their types")
    verbs = isolate.add_subparsers(required=True, metavar="VERB")
    example = _command(
        verbs, "example", "deployments.demo_isolate:example", "write a small synthetic one"
    )
    example.add_argument("folder", type=Path, metavar="FOLDER", help="for schemes, genome, reads")
    add = _command(verbs, "add", "deployments.isolate:add", "register a genome that is assembled")
    add.add_argument("file", type=Path, metavar="FILE", help="FASTA or FASTQ; plain or gzip")
    add.add_argument("--strain", required=True, help="name of the strain")
    show = _command(verbs, "show", "deployments.isolate:show", "an assembly and its schemes")
    run = _command(verbs, "type", "deployments.isolate_run:type_one", "type it here and now")
    for verb in (show, run):
        verb.add_argument("barcode", metavar="BARCODE", help="like SAL_AA0019AA_AS")
    run.add_argument("--scheme", help="all that are called by themselves unless given")
    run.add_argument("--force", action="store_true", help="also where there is a result")
    assemble = _command(
        verbs, "assemble", "deployments.isolate_run:assemble", "from reads, here and now"
    )
    assemble.add_argument(
        "reads", metavar="READS", help="run accessions with commas, or trace#read1#read2"
    )
    assemble.add_argument("--strain", default="", help="name; the first accession unless given")
    assemble.add_argument("--assembler", default="spades", choices=("spades", "skesa", "megahit"))
    for verb in (run, assemble):
        verb.add_argument("--toolchain", default="PATH", help="block of the programs")
    for verb in (add, show, run, assemble):
        verb.add_argument("--entero", default="entero", help=ENTERO_HELP)


def _add_entero(commands: Any) -> None:
    entero = commands.add_parser("entero", help="an EnteroBase as a whole")
    verbs = entero.add_subparsers(required=True, metavar="VERB")
    take_over = _command(
        verbs, "take-over", "deployments.take_over:take_over", "what an old one needs; a dry run"
    )
    which = take_over.add_mutually_exclusive_group()
    which.add_argument("--apply", action="store_true", help="do it: every change can be undone")
    which.add_argument("--undo", type=_count, metavar="N", help="undo what taking N did")
    take_over.add_argument(
        "--older-than-days",
        type=_days,
        default=7.0,
        help="what was sent longer ago nobody works on; 7 unless given",
    )
    take_over.add_argument("--changes", metavar="FILE", help="new file of JSON lines; - is stdout")
    take_over.add_argument(
        "--database", help="what user_jobs.database calls it; the block's unless given"
    )
    take_over.add_argument("--entero", default="entero", help=ENTERO_HELP)


def _days(text: str) -> float:
    """Return a number of days: 0 to a century."""
    number = float(text)
    if not 0 <= number <= 36_525:  # noqa: PLR2004 - and no NaN
        msg = f"{text} is not between 0 and 36525"
        raise argparse.ArgumentTypeError(msg)
    return number


def _yes(text: str) -> bool:
    """Return whether an answer is yes, and not no."""
    if text not in ("yes", "no"):
        msg = f"{text} is neither yes nor no"
        raise argparse.ArgumentTypeError(msg)
    return text == "yes"


def _share(text: str) -> float:
    """Return a share: 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        msg = f"{text} is not between 0 and 1"
        raise argparse.ArgumentTypeError(msg)
    return number


def _command(
    commands: Any,
    name: str,
    run: str,
    about: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
