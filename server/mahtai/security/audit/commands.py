"""``mahtai audit …``: the record, checked, cut to its time, and handed to others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mahtai.db.engine import Database
    from mahtai.security.at_rest.keyring import Keyring
    from mahtai.settings import Settings

SHOWN = 50

_KINDS = tuple(json.loads(Path(__file__).with_name("codes.json").read_text("utf-8"))["kinds"])

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


@click.group()
def audit() -> None:
    """The record of who did what."""


@audit.command("verify")
@click.option(
    "--anchor",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A copy of audit-anchor.json that was kept elsewhere (default: the one in the settings folder).",
)
def verify_record(anchor: Path | None) -> None:
    """Check every entry; the exit code is 1 if any was changed, moved, added or taken out."""
    from mahtai.security.audit.verify import verify

    with _opened(to_read=True) as (settings, database, keys):
        report = verify(database, settings.config_dir, settings.secrets_dir, keys, anchor)
    speed = report.entries / report.seconds if report.seconds else 0.0
    click.echo(
        f"{report.entries:,} entries ({report.erased:,} of them erased by retention) and {report.checkpoints:,} "
        f"checkpoints in {report.seconds:.1f} s, {speed:,.0f} entries a second."
    )
    for remark in report.remarks[:SHOWN]:
        click.secho(f"  remark: {_place(remark.number)}{remark.what}", fg="yellow")
    for finding in report.findings[:SHOWN]:
        click.secho(f"  {_place(finding.number)}{finding.what}", fg="red")
    if report.found > SHOWN:
        click.secho(f"  and {report.found - SHOWN:,} more", fg="red")
    if report.found:
        click.secho("The record is NOT as it was written.", fg="red", bold=True, err=True)
        sys.exit(1)
    click.echo("All is as it was written.")


@audit.command("prune")
@click.option("--dry-run", is_flag=True, help="Only tell what would be erased.")
def prune_record(dry_run: bool) -> None:
    """Erase what entries say when their time is over (security/audit/retention.json, MAHTAI_AUDIT_RETENTION)."""
    from mahtai.security.audit.operator import system_user
    from mahtai.security.audit.retention import expired, prune, read_times
    from mahtai.security.audit.trail import AuditTrail

    with _opened(to_read=dry_run) as (settings, database, keys):
        times = read_times(settings.audit_retention)
        if dry_run:
            found = expired(database, times)
        else:
            trail = AuditTrail(database, settings.config_dir, settings.secrets_dir, settings.server_name, keys)
            trail.start()
            try:
                found = prune(trail, times, system_user())
            finally:
                trail.stop()
    for kind, (until, count) in sorted(found.items()):
        click.echo(f"{kind:16} {count:9,} entries before {until[:10]} {'would be' if dry_run else 'were'} erased")
    if not found:
        click.echo("Nothing is over.")


@audit.command("export")
@click.option("--format", "form", type=click.Choice(["fhir", "dicom", "json"]), required=True)
@click.option("--since", type=_DAY, help="First day or time (UTC).")
@click.option("--until", type=_DAY, help="Day or time that is not in it any more (UTC).")
@click.option("--kind", type=click.Choice(_KINDS), help="Only entries of this kind.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def export_record(form: str, since: datetime | None, until: datetime | None, kind: str | None, output: Path) -> None:
    """Write entries into a new file: as FHIR AuditEvent resources (a Bundle; one a line if the file ends in .ndjson),
    as DICOM audit messages (XML, one a line), or as rows of the table with their hashes (JSON, one a line).
    """
    from mahtai.security.audit.export import export, require_new
    from mahtai.security.audit.operator import record_command
    from mahtai.security.audit.reading import Wanted

    wanted = Wanted(since=_instant(since), until=_instant(until), kind=kind)
    require_new(output)
    with _opened() as (settings, database, keys):
        record_command(settings, database, keys, "server", "R", "success", "", {"what": "audit export", "format": form})
        written = export(database, wanted, form, output)
    click.echo(f"Wrote {written.entries:,} entries to {output}.")
    if written.erased:
        click.echo(f"{written.erased:,} were left out: their content was erased when its time was over.")


def _place(number: object) -> str:
    return f"entry {number}: " if number else ""


def _instant(time: datetime | None) -> str | None:
    from mahtai.security.audit.chain import instant

    if time is None:
        return None
    return instant(time.astimezone(timezone.utc) if time.tzinfo else time)


@contextmanager
def _opened(to_read: bool = False) -> Iterator[tuple[Settings, Database, Keyring | None]]:
    """The tables of a server that has been here, and the key of its data, if any."""
    from mahtai.foundation import open_tables, open_to_read, require_data
    from mahtai.security.at_rest.keyring import open_keyring
    from mahtai.settings import Settings

    settings = Settings.from_environment()
    if to_read:
        keyring, database = open_to_read(settings)
    else:
        require_data(settings)
        keyring = open_keyring(settings)
        database = open_tables(settings, keyring)
    try:
        yield settings, database, keyring
    finally:
        database.close()
