"""The command ``mahtai``. Heavy libraries are imported by the command that needs them, not before."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from click import Context

from mahtai import __version__
from mahtai.cases_import.commands import cases
from mahtai.deidentification.commands import deface_nifti, deidentify
from mahtai.errors import MahtaiError
from mahtai.models.commands import models
from mahtai.security.at_rest.commands import keys
from mahtai.security.audit.commands import audit
from mahtai.security.commands import users
from mahtai.security.tls_commands import tls
from mahtai.upkeep.commands import backup, doctor, restore
from MahtAILib.client.errors import ClientError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class ReadableErrors(click.Group):
    """Shows errors that are meant for people as a sentence and a hint instead of a traceback."""

    def invoke(self, context: Context) -> Any:
        """Run the command; exit with status 1 on such an error, and as shells do after Ctrl-C."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
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


main.add_command(models)
main.add_command(cases)
main.add_command(deidentify)
main.add_command(deface_nifti)
main.add_command(users)
main.add_command(audit)
main.add_command(keys)
main.add_command(tls)
main.add_command(doctor)
main.add_command(backup)
main.add_command(restore)


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
