"""``mahtai tls …``: a certificate for a server in a hospital that has no authority of its own."""

from __future__ import annotations

import click

DAYS = click.option(
    "--days", type=click.IntRange(1, 825), default=365, show_default=True, help="How long the certificate is valid."
)
PASSPHRASE = click.option("--passphrase", is_flag=True, help="Ask for the passphrase of the authority's key.")


@click.group()
def tls() -> None:
    """The certificate with which this server shows who it is."""


@tls.command("init")
@click.option("--name", "names", multiple=True, metavar="HOST", help="Further name or address; may be repeated.")
@DAYS
@PASSPHRASE
@click.option("--forget-ca-key", is_flag=True, help="Keep no key of the authority: nothing can be renewed later.")
def init(names: tuple[str, ...], days: int, passphrase: bool, forget_ca_key: bool) -> None:
    """Make a local authority and a certificate for this computer."""
    from mahtai.security.local_ca import LocalCa, own_names
    from mahtai.settings import Settings

    settings = Settings.from_environment()
    ca = LocalCa(settings.config_dir / "tls")
    secret = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if passphrase else None
    ca.make([*own_names(), *names], days, secret, keep_key=not forget_ca_key)
    _show(ca)


@tls.command("show")
def show() -> None:
    """Print the authority's fingerprint, to compare with what the panel shows."""
    from mahtai.security.local_ca import LocalCa
    from mahtai.settings import Settings

    _show(LocalCa(Settings.from_environment().config_dir / "tls"))


@tls.command("renew")
@DAYS
@PASSPHRASE
def renew(days: int, passphrase: bool) -> None:
    """Make a new certificate for the same names; a running server takes it up, and clients notice nothing."""
    from mahtai.security.local_ca import LocalCa
    from mahtai.settings import Settings

    ca = LocalCa(Settings.from_environment().config_dir / "tls")
    ca.renew(days, click.prompt("Passphrase", hide_input=True) if passphrase else None)
    _show(ca)


def _show(ca: object) -> None:
    from mahtai.security.local_ca import AUTHORITY_FILE, LocalCa, fingerprint
    from mahtai.security.tls import names_of

    assert isinstance(ca, LocalCa)
    authority, leaf = ca.authority(), ca.certificate()
    click.echo(f"Authority:   {ca.folder / AUTHORITY_FILE}")
    click.echo(f"Fingerprint: {fingerprint(authority)}")
    click.echo(f"Names:       {', '.join(sorted(names_of(leaf)))}")
    click.echo(f"Valid until: {leaf.not_valid_after_utc:%Y-%m-%d}")
