"""The command ``mahtai``. Heavy libraries are imported by the command that needs them, not before."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import click
from click import Context

from mahtai import __version__
from mahtai.errors import MahtaiError
from MahtAILib.client.errors import ClientError


class ReadableErrors(click.Group):
    """Shows errors that are meant for people as a sentence and a hint instead of a traceback."""

    def invoke(self, context: Context) -> Any:
        """Run the command; exit with status 1 on such an error."""
        try:
            return super().invoke(context)
        except (MahtaiError, ClientError) as error:
            click.secho(error.reason, fg="red", err=True)
            if error.hint:
                click.echo(f"What to do: {error.hint}", err=True)
            sys.exit(1)


@click.group(cls=ReadableErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mahtai")
def main() -> None:
    """MahtAI: AI segmentation for 3D Slicer, on this computer or in the hospital."""


@main.command()
@click.option("--host", help="Address to listen on (default 127.0.0.1: this computer only).")
@click.option("--port", type=int, help="Port to listen on (default 8391).")
def serve(host: str | None, port: int | None) -> None:
    """Run the inference server until Ctrl-C."""
    from mahtai.app import serve as run_server
    from mahtai.settings import Settings

    run_server(Settings.from_environment(host=host, port=port))


@main.command()
def worker() -> None:
    """Do the jobs that wait for busy servers, until Ctrl-C (with MAHTAI_DATABASE_URL on PostgreSQL)."""
    from mahtai.settings import Settings
    from mahtai.worker import work

    work(Settings.from_environment())


@main.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("mahtai-demo"), show_default=True)
@click.option("--task", type=click.Choice(["brain", "ceph"]), default="brain", show_default=True)
@click.option("--synthetic", is_flag=True, help="Use a made-up case with known truth instead of a real sample.")
def demo(output: Path, task: str, synthetic: bool) -> None:
    """Do the main job once on a sample: server, result, saved label version, picture."""
    if task == "ceph":
        from mahtai.demo.run_ceph import run_ceph_demo

        run_ceph_demo(output, synthetic=synthetic)
    else:
        from mahtai.demo.run import run_demo

        run_demo(output, synthetic=synthetic)


@main.command()
@click.option("--t1", type=click.Path(exists=True, path_type=Path))
@click.option("--t1c", type=click.Path(exists=True, path_type=Path))
@click.option("--t2", type=click.Path(exists=True, path_type=Path))
@click.option("--flair", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .seg.nrrd file to write.")
@click.option("--model", default="brats_segresnet", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="For example register=off.")
def segment(output: Path, model: str, device: str, options: tuple[str, ...], **sequences: Path | None) -> None:
    """Segment one study without a server."""
    from mahtai.segment_files import segment_files

    summary = segment_files(
        {name: path for name, path in sequences.items() if path}, output, model, device, _named_values(options)
    )
    for region, values in summary["regions"].items():
        doubt = "  INDETERMINATE" if values["indeterminate"] else ""
        click.echo(f"{region.upper():3} {values['volume_ml']:9.2f} ml  confidence {values['confidence']:.2f}{doubt}")
    for warning in summary["warnings"]:
        click.secho(warning, fg="yellow")
    click.echo(f"Wrote {output} in {summary['timings_s']['total']:.1f} s.")


@main.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .mrk.json file to write.")
@click.option("--tracing", type=click.Path(path_type=Path), help="Draw the tracing over the image into this PNG.")
@click.option("--measurements", type=click.Path(path_type=Path), help="Write all angles and distances into this JSON.")
@click.option(
    "--spacing",
    default="auto",
    show_default=True,
    metavar="MM|auto|unknown",
    help="Size of a pixel in mm; auto takes what a DICOM, NRRD or NIfTI file says, if it can be believed.",
)
@click.option("--model", default="ceph_mahtnet", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps")
@click.option("--again", is_flag=True, help="Write over points that a reader moved, confirmed or placed.")
def landmarks(
    image: Path,
    output: Path,
    tracing: Path | None,
    measurements: Path | None,
    spacing: str,
    model: str,
    device: str,
    again: bool,
) -> None:
    """Place the landmarks of a lateral cephalogram (PNG, JPEG, TIFF, BMP, DICOM, NRRD) without a server."""
    from mahtai.landmark_files import landmark_files, table

    made = landmark_files(image, output, model, device, spacing, tracing, measurements, again)
    for line in table(made):
        click.echo(line)
    scale = made.summary["spacing"]
    known = f"{scale['mm_per_unit']:.4g} mm a unit" if scale["mm_per_unit"] else "none: angles and ratios only"
    click.echo(f"Calibration: {known} ({scale['source']}).")
    for warning in made.summary["warnings"]:
        click.secho(warning, fg="yellow")
    if made.summary["indeterminate"]:
        click.secho("INDETERMINATE: not to be used.", fg="red", bold=True)
        for reason in made.summary["reasons"]:
            click.secho(f"  {reason}", fg="red")
    written = ", ".join(str(path) for path in (output, tracing, measurements) if path is not None)
    click.echo(f"Wrote {written} in {made.summary['timings_s']['total']:.1f} s.")


def _named_values(options: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for option in options:
        name, separator, value = option.partition("=")
        if not separator:
            raise click.BadParameter(f"{option!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


@main.group()
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
    from mahtai.models.version_commands import versions_table

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
    from mahtai.models.version_commands import own_versions, who

    own_versions().promote(version, who(), anyway, reason)
    click.echo(f"{version} serves from now on.")


@models.command("rollback")
@click.argument("model")
def roll_back_model(model: str) -> None:
    """Let the version of MODEL serve that served before."""
    from mahtai.models.version_commands import own_versions, who

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
    from mahtai.models.version_commands import own_versions, who

    own_versions().try_out(split_name(version)[0], None if off else version, shadow, share, who())
    click.echo("The trial has ended." if off else f"{version} is on trial.")


@main.command()
@click.argument("bundle")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of cases.")
@click.option("--from-cases", is_flag=True, help="Learn on from the approved cases of this server's data folder.")
@click.option("--minutes", default=60.0, show_default=True, help="Time that the run may take.")
@click.option("--cases", help="Comma-separated case names (default: the train list of the split).")
@click.option("--output", type=click.Path(path_type=Path), help="Default: the bundle's models folder.")
@click.option("--steps", type=int, help="Stop after so many steps, for a trial.")
@click.option("--threads", type=int, help="CPU threads for the network.")
@click.option("--device", default="auto", show_default=True)
@click.option("--start-from", type=click.Path(exists=True, path_type=Path), help="Weights (safetensors) to go on from.")
@click.option("--member", type=int, help="Train this member of an ensemble only (from 0), to train them side by side.")
@click.option("--resume", metavar="ID", help="With --from-cases: go on with a training that was interrupted.")
@click.option("--attended", is_flag=True, hidden=True)  # started by a server, and ends with it
def train(
    bundle: str,
    data: Path | None,
    from_cases: bool,
    minutes: float,
    cases: str | None,
    output: Path | None,
    steps: int | None,
    threads: int | None,
    device: str,
    start_from: Path | None,
    member: int | None,
    resume: str | None,
    attended: bool,
) -> None:
    """Train BUNDLE (a folder) on cases in --data by its configs/train.json; or, with --from-cases, let BUNDLE (the id
    of a model) learn on from the corrections that were approved on this server, beside those of --data if it is given.
    Held-out cases are refused.
    """
    if from_cases:
        if cases or output or start_from or member is not None:
            raise click.UsageError("--from-cases takes none of --cases, --output, --start-from, --member.")
        from mahtai.training.command import learn

        for line in learn(bundle, data, minutes, steps, threads, device, resume, attended):
            click.echo(line)
        return
    if data is None:
        raise click.UsageError("--data is wanted: the folder of cases; or --from-cases.")
    if not Path(bundle).is_dir():
        raise click.BadParameter(f"There is no folder {bundle}.", param_hint="BUNDLE")
    from mahtai.training.run import train_bundle

    train_bundle(Path(bundle), data, minutes, _names(cases), output, steps, threads, device, start_from, member)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


@main.command()
@click.argument("model")
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--cases", default="test", show_default=True, help="test, validation, train, all, or comma-separated names."
)
@click.option("--drop", multiple=True, help="Leave this sequence out (t1c, t1, t2, flair); may be repeated.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE")
@click.option("--device", default="auto", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the JSON here too.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the errors by landmark (landmark models).")
def evaluate(
    model: str,
    data: Path,
    cases: str,
    drop: tuple[str, ...],
    options: tuple[str, ...],
    device: str,
    output: Path | None,
    picture: Path | None,
) -> None:
    """Score a model against its reference, with intervals: Dice, HD95, volume error; or radial errors in mm."""
    from mahtai.in_process import OutputError, check_different, check_output, written_whole
    from mahtai.training.run import evaluate_bundle

    outputs = {name: path for name, path in (("-o", output), ("--picture", picture)) if path is not None}
    check_different(outputs)
    if picture is not None and picture.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise OutputError(f"{picture.name} does not end in .png, .pdf or .svg.", "The ending says what is drawn.")
    for path in outputs.values():
        check_output(path)
    result, table = evaluate_bundle(model, data, cases, drop, _named_values(options), device, picture)
    click.echo(table)
    if output:
        with written_whole(output) as part:
            part.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        click.echo(f"Wrote {output}.")


@main.group()
def cases() -> None:
    """Bring cases to a running server, and list them."""


@cases.command("import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--server", help="Address of the server (default: this computer's).")
@click.option("--token-file", type=click.Path(path_type=Path), help="Of another computer's server.")
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
    task: Literal["auto", "brain-tumour", "cephalometry"],
    report: Path | None,
    assignee: str | None,
    priority: int,
    names: str,
    labels: bool,
    dry_run: bool,
) -> None:
    """Make a case of every study below a folder: NIfTI, NRRD, DICOM; cephalograms as DICOM, PNG, JPEG, TIFF, BMP."""
    from mahtai.cases_import.command import import_command
    from mahtai.cases_import.sending import Terms
    from mahtai.settings import Settings

    terms = Terms(by_folder=names == "folder", priority=priority, assignee=assignee, labels=labels)
    settings = Settings.from_environment()
    sys.exit(import_command(settings, folder, server, token_file, task, terms, report, dry_run))


@cases.command("list")
@click.option("--server", help="Address of the server (default: this computer's).")
@click.option("--token-file", type=click.Path(path_type=Path), help="Of another computer's server.")
def list_all_cases(server: str | None, token_file: Path | None) -> None:
    """The cases of a running server, the newest first."""
    from mahtai.cases_import.command import list_command
    from mahtai.settings import Settings

    for line in list_command(Settings.from_environment(), server, token_file):
        click.echo(line)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure the way from the click to the result, beside MONAI and MONAI Label (bench --help tells how)."""
    import subprocess

    script = Path(__file__).resolve().parents[1] / "benchmarks" / "bench.py"
    if not script.is_file():
        raise MahtaiError(
            "The benchmark is not here: it comes with the source code, not with the installed server.",
            "Get MahtAI's source code and run: python3 server/start.py bench",
        )
    sys.exit(subprocess.run([sys.executable, str(script), *arguments], check=False).returncode)


if __name__ == "__main__":
    main()
