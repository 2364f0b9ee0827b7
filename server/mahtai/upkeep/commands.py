"""``mahtai doctor``, ``mahtai backup`` and ``mahtai restore``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mahtai.security.at_rest.master_key import MasterKey
    from mahtai.settings import Settings
    from mahtai.upkeep.finding import Finding

_SHOWN = 50
_COLOURS = {"ok": None, "warning": "yellow", "error": "red"}


_KEY_FILE = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key of the backup (mahtai keys new makes one); by default the server's own, see MAHTAI_KEY_FILE.",
)


@click.command()
@click.option("--quick", is_flag=True, help="Do not read every file and every page of the database.")
@click.option("--repair", is_flag=True, help="Mend what can be mended without any danger to the data.")
@click.option(
    "--from",
    "source",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --repair: a backup from which lost and damaged files are brought back.",
)
@click.option(
    "--new-secrets",
    is_flag=True,
    help="With --repair: make new ones of secrets that are gone and in no backup. Known patients' numbers are not "
    "known again then, and the seals of older entries of the record cannot be checked.",
)
@_KEY_FILE
def doctor(quick: bool, repair: bool, source: Path | None, new_secrets: bool, key_file: Path | None) -> None:
    """Examine data folder, database, blobs, keys, certificate, models and disk; servers may run.

    Without --repair nothing is changed. Secrets and models that are replaced are set aside in the folder "damaged".
    """
    from mahtai.settings import Settings
    from mahtai.upkeep.doctor import examine

    if source is not None and not repair:
        raise click.UsageError("--from goes with --repair.")
    if new_secrets and (not repair or source is not None):
        raise click.UsageError("--new-secrets goes with --repair, and without --from: try that first.")
    os.umask(0o077)  # as the server
    settings = Settings.from_environment()
    if repair:
        _require_owner(settings)
    master = None if source is None else _master(settings, key_file)
    findings = _shown(examine(settings, quick))
    is_other = False
    if repair:
        done, is_other = _mended(settings, findings, source, master, new_secrets)
        if done:
            click.echo("Looked at again:")
            findings = _shown(examine(settings, quick))
    elif any(finding.repair for finding in findings):
        click.echo("Some of this is mended by: mahtai doctor --repair")
    sys.exit(1 if is_other or any(finding.level == "error" for finding in findings) else 0)


def _require_owner(settings: Settings) -> None:
    """Files that somebody else makes in the data folder, such as root, could not be read by the server."""
    from mahtai.errors import MahtaiError

    folder = settings.data_dir
    if os.name == "posix" and folder.is_dir() and folder.stat().st_uid != os.geteuid():
        raise MahtaiError(
            f"{folder} belongs to another user. Nothing was changed.", "Run this as the user that the server runs as."
        )


def _shown(findings: Iterable[Finding]) -> list[Finding]:
    found = []
    for finding in findings:
        click.secho(str(finding), fg=_COLOURS[finding.level])
        found.append(finding)
    return found


def _mended(
    settings: Settings, findings: Sequence[Finding], source: Path | None, master: MasterKey | None, new_secrets: bool
) -> tuple[list[str], bool]:
    """What was mended, and whether a secret that never changes is another one than in the backup; each is told."""
    from mahtai.progress import StageBar
    from mahtai.upkeep.repair import bring_back, is_for_good, mend

    done, failed = mend(findings, new_secrets)
    differing: list[str] = []
    for why in failed:
        click.secho(f"Not mended: {why}", fg="red", err=True)
    lost = {finding.lost for finding in findings if finding.lost}
    if source is not None and master is not None:
        with StageBar() as bar:
            brought, differing = bring_back(settings, source.expanduser(), master, lost, bar.show)
        done += brought
        for name in differing:
            click.secho(
                f"{name} is another one than in the backup. If the server has made it anew by mistake, stop "
                "the server, move the file away, and run this again.",
                fg="yellow",
                err=True,
            )
    for what in done:
        click.echo(f"Mended: {what}")
    if done:
        _record_repair(settings, len(done))
    return done, any(map(is_for_good, differing))


def _record_repair(settings: Settings, count: int) -> None:
    from mahtai.db.engine import Database
    from mahtai.db.migrate import HEAD, current_revision
    from mahtai.errors import MahtaiError
    from mahtai.security.at_rest.keyring import open_existing_keyring
    from mahtai.security.audit.operator import record_command

    try:
        keyring = open_existing_keyring(settings)
        with closing(Database(settings.database_url)) as database:
            if current_revision(database) != HEAD:  # of a server of another version, which may run
                click.secho("This was not put on record: the tables have another form.", fg="yellow", err=True)
                return
            detail = {"call": "mahtai doctor --repair", "mended": str(count)}
            record_command(settings, database, keyring, "server", "E", "success", "", detail)
    except MahtaiError as error:  # the database may be what is damaged
        click.secho(f"This could not be put on record: {error.reason}", fg="yellow", err=True)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_KEY_FILE
def backup(file: Path, key_file: Path | None) -> None:
    """Write all that the server keeps into the new FILE, encrypted; servers may run.

    In it are rows, scans, labels, results, accounts, the record, secrets, and models that were trained or fetched here.
    Not in it are the settings folder (token, certificates) and the key: keep a copy of both elsewhere; nor trainings
    that are under way.
    """
    from mahtai.progress import StageBar
    from mahtai.settings import Settings
    from mahtai.upkeep.backup.making import make_backup

    os.umask(0o077)  # as the server
    settings = Settings.from_environment()
    master = _master(settings, key_file, is_new=True)
    with StageBar() as bar:
        contents = make_backup(settings, file.expanduser().absolute(), master, bar.show)
    size = file.expanduser().stat().st_size
    click.echo(f"Wrote {file} ({size / 1e6:,.0f} MB) and read it again: {contents}.")
    click.echo(f"It is encrypted under the key {master.fingerprint} ({master.source}); without it, it is lost.")
    if file.expanduser().stat().st_dev == settings.data_dir.stat().st_dev:
        click.secho("It lies on the same disk as the data: copy it to another one.", fg="yellow")
    _tell_damaged(contents.damaged)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_KEY_FILE
@click.option("--check", is_flag=True, help="Only read the backup and see whether it is whole.")
@click.option("--plain", is_flag=True, help="What was encrypted where the backup is from may lie plain here.")
def restore(file: Path, key_file: Path | None, check: bool, plain: bool) -> None:
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
            restored = restore_backup(settings, file.expanduser(), master, bar.show, plain)
            contents = restored.contents
    if check:
        click.echo(f"{file} is whole: {contents}.")
    else:
        click.echo(f"Restored what was there at {restored.made_at} into {settings.data_dir}: {contents}.")
        click.echo(
            "What was done since is not in it. If accounts were disabled or tokens taken back since, do it again."
        )
        click.echo("Make a new backup now: files that get lost here come back from one that was made here.")
        if restored.unrecorded:
            click.secho(f"This could not be put on record: {restored.unrecorded}", fg="yellow", err=True)
    _tell_damaged(contents.damaged)


def _master(settings: Settings, key_file: Path | None, is_new: bool = False) -> MasterKey:
    from mahtai.errors import MahtaiError
    from mahtai.security.at_rest.master_key import key_from_file, read_master_key

    master = (
        read_master_key(settings) if key_file is None else key_from_file(key_file.expanduser().absolute(), "--key-file")
    )
    if master is None:
        hint = "mahtai keys new FILE; then --key-file FILE" if is_new else "--key-file FILE: the one it was made with."
        raise MahtaiError("A backup is encrypted, and no key was named.", hint)
    return master


def _tell_damaged(damaged: Sequence[str]) -> None:
    """What could not be read when the backup was made; the exit status is 1 then."""
    for name in damaged[:_SHOWN]:
        click.secho(f"Damaged in the data folder, so not in the backup: {name}", fg="red", err=True)
    if damaged:
        click.echo(f"{len(damaged):,} in all; `mahtai doctor` says more. Everything else is in it.", err=True)
        sys.exit(1)
