"""``mahtai keys``: make a master key, see what is encrypted with what, change keys while servers work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mahtai.security.at_rest.changing import KeyRoom
    from mahtai.security.at_rest.master_key import MasterKey
    from mahtai.security.at_rest.rotation import Encrypted


@click.group()
def keys() -> None:
    """Keys of the data on the disk: make, show, change them."""


@keys.command("new")
@click.argument("file", type=click.Path(path_type=Path))
def new_key(file: Path) -> None:
    """Make a master key, in a new file that only you can read."""
    from mahtai.security.at_rest.master_key import new_key_file

    made = new_key_file(file)
    click.echo(f"Wrote {file}, fingerprint {made.fingerprint}. Keep a copy in a safe place, away from the data:")
    click.echo("whoever has lost it has lost the data. The server gets it with MAHTAI_KEY_FILE.")


@keys.command("status")
def status() -> None:
    """What is encrypted under which key, and what is not."""
    with _room() as room:
        for line in room.status():
            click.echo(line)


@keys.command("rotate")
@click.option("--new-key-file", type=click.Path(path_type=Path), help="The new master key, from a file.")
@click.option("--new-key-command", help="The new master key, from the output of a command.")
@click.option("--re-encrypt", is_flag=True, help="Encrypt what is stored under the new data key, too.")
def rotate(new_key_file: Path | None, new_key_command: str | None, re_encrypt: bool) -> None:
    """Change keys while servers work.

    Without a new master key: everything new is encrypted under a new data key, with --re-encrypt also what is stored.
    With a new master key: the data keys are from now on encrypted under that one. Killed at any moment, nothing is
    lost; run it again, or `mahtai keys encrypt`.
    """
    if new_key_file is not None and new_key_command is not None:
        raise click.UsageError("Give one of --new-key-file and --new-key-command.")
    master = _new_master(new_key_file, new_key_command)
    with _room("rotate", master) as room:
        if master is None or (re_encrypt and not room.has_moved):
            click.echo(f"Everything new is encrypted under the data key {room.add_data_key()}.")
        damaged = _encrypted(room) if re_encrypt else []
        if master is not None:
            room.move_to(master)
            click.echo(f"The keyring is under the new master key {master.fingerprint}; the old one opens it no more.")
            click.echo("Give every server the new key now: servers that run go on, and read it at their next start.")
    sys.exit(1 if damaged else 0)


@keys.command("encrypt")
def encrypt() -> None:
    """Encrypt what lies plain or under an older data key; goes on where an interrupted run stopped."""
    with _room("encrypt") as room:
        damaged = _encrypted(room)
    sys.exit(1 if damaged else 0)


def _encrypted(room: KeyRoom) -> list[str]:
    """Encrypt with a progress bar, say what was done; what could not be read."""
    from mahtai.progress import StageBar

    with StageBar() as bar:
        done: Encrypted = room.encrypt(bar.show)
    click.echo(f"Encrypted {done.blobs:,} blobs and {done.values:,} values of columns.")
    for name in done.damaged:
        click.secho(f"Damaged, and left as it was: {name}", fg="red", err=True)
    return done.damaged


def _new_master(file: Path | None, command: str | None) -> MasterKey | None:
    from mahtai.security.at_rest.master_key import key_from_command, key_from_file

    if file is not None:
        return key_from_file(file.expanduser().absolute(), "--new-key-file")
    return None if command is None else key_from_command(command)


@contextmanager
def _room(change: str | None = None, new_master: MasterKey | None = None) -> Iterator[KeyRoom]:
    """What the commands work on; a change is on record."""
    from mahtai.security.at_rest.changing import open_key_room
    from mahtai.settings import Settings

    os.umask(0o077)  # as the server
    with open_key_room(Settings.from_environment(), change, new_master) as room:
        yield room
