"""``mahtai doctor``, ``mahtai backup`` and ``mahtai restore``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mahtai.security.at_rest.master_key import MasterKey
    from mahtai.settings import Settings

_SHOWN = 50
_COLOURS = {"ok": None, "warning": "yellow", "error": "red"}


@click.command()
@click.option("--quick", is_flag=True, help="Do not read every file and every page of the database.")
def doctor(quick: bool) -> None:
    """Examine data folder, database, blobs, keys, models and disk; nothing is changed, servers may run."""
    from mahtai.settings import Settings
    from mahtai.upkeep.doctor import examine

    failed = False
    for finding in examine(Settings.from_environment(), quick):
        click.secho(str(finding), fg=_COLOURS[finding.level])
        failed = failed or finding.level == "error"
    sys.exit(1 if failed else 0)


_KEY_FILE = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key of the backup (mahtai keys new makes one); by default the server's own, see MAHTAI_KEY_FILE.",
)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_KEY_FILE
def backup(file: Path, key_file: Path | None) -> None:
    """Write all that the server keeps into the new FILE, encrypted; servers may run.

    In it are rows, scans, labels, results, accounts, the record, secrets, and models that were trained or fetched here.
    Not in it are the settings folder (token, certificates) and the key: keep a copy of both elsewhere.
    """
    from mahtai.progress import StageBar
    from mahtai.settings import Settings
    from mahtai.upkeep.backup.making import make_backup

    os.umask(0o077)  # as the server
    settings = Settings.from_environment()
    master = _master(settings, key_file)
    with StageBar() as bar:
        contents = make_backup(settings, file.expanduser().absolute(), master, bar.show)
    size = file.expanduser().stat().st_size
    click.echo(f"Wrote {file} ({size / 1e6:,.0f} MB) and read it again: {contents}.")
    click.echo(f"It is encrypted under the key {master.fingerprint} ({master.source}); without it, it is lost.")
    _tell_damaged(contents.damaged)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_KEY_FILE
@click.option("--check", is_flag=True, help="Only read the backup and see whether it is whole.")
def restore(file: Path, key_file: Path | None, check: bool) -> None:
    """Restore the backup FILE into an empty data folder and an empty database (SQLite or PostgreSQL).

    Broken off at any moment, it is run again and begins anew. Everybody signs in again; jobs that were not finished
    are run again.
    """
    from mahtai.progress import StageBar
    from mahtai.settings import Settings
    from mahtai.upkeep.backup.checking import check_backup
    from mahtai.upkeep.backup.restoring import restore_backup

    os.umask(0o077)  # as the server
    settings = Settings.from_environment()
    master = _master(settings, key_file)
    with StageBar() as bar:
        if check:
            contents = check_backup(file.expanduser(), master, bar.show)
        else:
            made_at, contents = restore_backup(settings, file.expanduser(), master, bar.show)
    if check:
        click.echo(f"{file} is whole: {contents}.")
    else:
        click.echo(f"Restored what was there at {made_at} into {settings.data_dir}: {contents}.")
        click.echo(
            "What was done since is not in it. If accounts were disabled or tokens taken back since, do it again."
        )
    _tell_damaged(contents.damaged)


def _master(settings: Settings, key_file: Path | None) -> MasterKey:
    from mahtai.errors import MahtaiError
    from mahtai.security.at_rest.master_key import key_from_file, read_master_key

    master = read_master_key(settings) if key_file is None else key_from_file(key_file.expanduser().absolute())
    if master is None:
        raise MahtaiError("A backup is encrypted, and no key was named.", "mahtai keys new FILE; then --key-file FILE")
    return master


def _tell_damaged(damaged: Sequence[str]) -> None:
    """What could not be read when the backup was made; the exit status is 1 then."""
    for name in damaged[:_SHOWN]:
        click.secho(f"Damaged in the data folder, so not in the backup: {name}", fg="red", err=True)
    if damaged:
        click.echo(f"{len(damaged):,} in all; `mahtai doctor` says more. Everything else is in it.", err=True)
        sys.exit(1)
