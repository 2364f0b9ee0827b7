"""``mahtai models``: what there is, is it sound, get more, and which version of each serves."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mahtai.models.versions import ModelVersion, ModelVersions


@click.group()
def models() -> None:
    """List, check and fetch models."""


@models.command("list")
def list_models() -> None:
    """The models that this server offers."""
    from mahtai.models.catalogue import Catalogue
    from mahtai.settings import Settings

    settings = Settings.from_environment()
    catalogue = Catalogue(settings.models_path, settings.versions_dir)
    for bundle in catalogue.list():
        channels = ", ".join(channel.id for channel in bundle.channels)
        click.echo(f"{bundle.id:26}{bundle.version:10}{bundle.state:20}{channels}")
    for folder, error in catalogue.problems():
        click.secho(f"{folder}: {error}", fg="red", err=True)


@models.command("check")
@click.argument("model", required=False)
@click.option("--device", default="auto", show_default=True)
def check_models(model: str | None, device: str) -> None:
    """Read, build and run a model (or all of them) on a small volume; find out how it runs fastest here."""
    from mahtai.models.catalogue import Catalogue
    from mahtai.models.check import Finding, check
    from mahtai.settings import Settings

    settings = Settings.from_environment()
    catalogue = Catalogue(settings.models_path, settings.versions_dir)
    failed = bool(catalogue.problems()) and model is None
    for folder, error in catalogue.problems() if model is None else []:
        click.secho(f"{folder}: {error}", fg="red", err=True)
    for bundle in [catalogue.get(model)] if model else catalogue.list():
        click.secho(bundle.id, bold=True)
        findings = check(bundle, device)
        if findings[-1].subject == "forward pass":
            from mahtai.inference.warm import speed

            fastest = speed(bundle, device, settings.runtimes_dir)
            findings += [] if fastest is None else [Finding("ok", "fastest", str(fastest))]
        for finding in findings:
            click.secho(f"  {finding}", fg=None if finding.ok else "red")
            failed = failed or not finding.ok
    sys.exit(1 if failed else 0)


@models.command("pull")
@click.argument("model")
@click.option("--file", "archive", type=click.Path(exists=True, path_type=Path), help="A zip brought by other means.")
@click.option("--again", is_flag=True, help="Replace the model that is there.")
def pull_model(model: str, archive: Path | None, again: bool) -> None:
    """Fetch a model from the internet into the user's models folder; its checksum is pinned."""
    from tqdm import tqdm

    from mahtai.models.pull import pull
    from mahtai.settings import Settings

    with tqdm(unit="B", unit_scale=True, desc=model) as bar:

        def on_progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        folder = pull(model, Settings.from_environment().models_path[0], on_progress, archive=archive, again=again)
    click.echo(f"{model} is in {folder}.")


@models.command("versions")
@click.argument("model")
def model_versions(model: str) -> None:
    """The versions of MODEL: which one serves, where each comes from, how it was scored."""
    for line in versions_table(model):
        click.echo(line)


@models.command("score")
@click.argument("version")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Published cases as well.")
@click.option("--device", default="auto", show_default=True)
def score_model(version: str, data: Path | None, device: str) -> None:
    """Compare VERSION (such as brats_segresnet@2) with the one that serves, on the approved test cases."""
    from mahtai.training.command import score

    for line in score(version, data, device):
        click.echo(line)


@models.command("promote")
@click.argument("version")
@click.option("--anyway", is_flag=True, help="Although the rule does not find it better.")
@click.option("--reason", default="", help="Why; wanted with --anyway.")
def promote_model(version: str, anyway: bool, reason: str) -> None:
    """Let VERSION (such as brats_segresnet@2) serve."""
    own_versions().promote(version, who(), anyway, reason)
    click.echo(f"{version} serves from now on.")


@models.command("rollback")
@click.argument("model")
def roll_back_model(model: str) -> None:
    """Let the version of MODEL serve that served before."""
    serving = own_versions().rollback(model, who())
    click.echo(f"{model}@{serving.active} serves from now on.")


@models.command("trial")
@click.argument("version")
@click.option("--shadow", is_flag=True, help="Run it unattended on what readers ran; nobody sees the results.")
@click.option("--share", type=float, default=0.0, help="Of the studies that it serves, 0 to 0.5.")
@click.option("--off", is_flag=True, help="End the trial.")
def try_model(version: str, shadow: bool, share: float, off: bool) -> None:
    """Try VERSION out beside the one that serves."""
    from mahtai.models.serving import split_name

    own_versions().try_out(split_name(version)[0], None if off else version, shadow, share, who())
    click.echo("The trial has ended." if off else f"{version} is on trial.")


def own_versions() -> ModelVersions:
    """Those of the data folder that the environment names."""
    from mahtai.models.catalogue import Catalogue
    from mahtai.models.versions import ModelVersions
    from mahtai.settings import Settings

    settings = Settings.from_environment()
    return ModelVersions(Catalogue(settings.models_path, settings.versions_dir), settings.versions_dir)


def who() -> str:
    """The person at the command line."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "command line"


def versions_table(model: str) -> Iterator[str]:
    """One line a version, and what the rule said.

    Raises:
        UnknownModel, BundleError: there is none.
    """
    for version in own_versions().list(model):
        yield f"{version.name:28}{version.bundle.version:20}{_state(version)}"
        if version.lineage is not None:
            cases = len(version.lineage.get("cases", ()))
            yield f"    from {version.lineage['parent']['version']}, {cases} approved cases"
        for comparison in version.comparisons[-1:]:
            yield f"    beside {comparison['against']['name']}: {comparison['decision']['reason']}"


def _state(version: ModelVersion) -> str:
    if version.is_active:
        return "serves"
    if version.trial is None:
        return "candidate" if version.bundle.number else "as it came"
    return f"on trial (shadow {'on' if version.trial.shadow else 'off'}, share {version.trial.share:.0%})"
