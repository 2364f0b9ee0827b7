"""The commands ``mahtai cases …``. What takes long to load is imported by the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

_SERVER = click.option("--server", help="Address of the server (default: this computer's).")
_TOKEN_FILE = click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="With a token of mahtai users token; wanted for another computer's server, and where people sign in.",
)
_CA_FILE = click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The authority of the server's certificate (PEM), where this computer does not know it.",
)


@click.group()
def cases() -> None:
    """Bring cases to a running server, and list them."""


@cases.command("import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_SERVER
@_TOKEN_FILE
@_CA_FILE
@click.option("--task", type=click.Choice(["auto", "brain-tumour", "cephalometry"]), default="auto", show_default=True)
@click.option("--report", type=click.Path(path_type=Path), help="Write what was imported and left out into this JSON.")
@click.option("--assignee", help="For whom the cases are meant.")
@click.option("--priority", type=int, default=0, show_default=True, help="The higher, the sooner.")
@click.option(
    "--names",
    type=click.Choice(["hash", "folder"]),
    default="hash",
    show_default=True,
    help="How cases are called; folder only where folder names are no patient data.",
)
@click.option("--labels", is_flag=True, help="Save a segmentation beside a study as its first label version.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be imported.")
def import_cases(
    folder: Path,
    server: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    task: Literal["auto", "brain-tumour", "cephalometry"],
    report: Path | None,
    assignee: str | None,
    priority: int,
    names: str,
    labels: bool,
    dry_run: bool,
) -> None:
    """Make a case of every study below a folder: NIfTI, NRRD, DICOM; cephalograms as DICOM, PNG, JPEG, TIFF, BMP."""
    from mahtai.cases_import.connecting import Where
    from mahtai.cases_import.sending import Terms
    from mahtai.cases_import.terminal import import_command
    from mahtai.settings import Settings

    terms = Terms(by_folder=names == "folder", priority=priority, assignee=assignee, labels=labels)
    where = Where(Settings.from_environment(), server, token_file, ca_file)
    sys.exit(import_command(where, folder, task, terms, report, dry_run))


@cases.command("list")
@_SERVER
@_TOKEN_FILE
@_CA_FILE
def list_all_cases(server: str | None, token_file: Path | None, ca_file: Path | None) -> None:
    """The cases of a running server, the newest first."""
    from mahtai.cases_import.connecting import Where
    from mahtai.cases_import.terminal import list_command
    from mahtai.settings import Settings

    for line in list_command(Where(Settings.from_environment(), server, token_file, ca_file)):
        click.echo(line)
