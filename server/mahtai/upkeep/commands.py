"""``mahtai doctor``."""

from __future__ import annotations

import sys

import click

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
