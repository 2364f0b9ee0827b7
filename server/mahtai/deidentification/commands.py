"""The commands ``mahtai deidentify`` and ``mahtai deface``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

OPTIONS = ("dates", "device", "patient", "institution", "descriptors")


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option("--key-file", type=click.Path(path_type=Path), help="Maps UIDs and people; made on first use.")
@click.option(
    "--option",
    "names",
    multiple=True,
    type=click.Choice(OPTIONS),
    help="dates: moved by the same days for all of a patient; device, patient, institution: kept; "
    "descriptors: known words of descriptions kept. May be repeated.",
)
@click.option("--deface", "faces", is_flag=True, help="Take the face out of MR scans of the head.")
@click.option("--heads", is_flag=True, help="With --deface: all MR scans are of heads, also those that do not say so.")
@click.option("--mapping", type=click.Path(path_type=Path), help="Write who became whom into this CSV (secret!).")
@click.option("--check", is_flag=True, help="Only look whether identifiers of INPUT are left in OUTPUT.")
def deidentify(
    source: Path,
    target: Path,
    key_file: Path | None,
    names: tuple[str, ...],
    faces: bool,
    heads: bool,
    mapping: Path | None,
    check: bool,
) -> None:
    """De-identify the DICOM files of the folder INPUT into the folder OUTPUT (DICOM PS3.15 Annex E)."""
    import warnings

    from mahtai.deidentification.folder import deidentify_folder
    from mahtai.deidentification.keyed import key_from
    from mahtai.deidentification.mapping import check_place, write_mapping
    from mahtai.deidentification.profile import Option
    from mahtai.security.at_rest.keyring import open_keyring
    from mahtai.settings import Settings

    warnings.simplefilter("ignore")  # pydicom's name the odd values of the originals, which may end in a log
    if check:
        sys.exit(_check(source, target))
    if mapping is not None:
        check_place(mapping, target)
    settings = Settings.from_environment()
    key = (
        key_from(settings.secrets_dir / "deidentification.key", open_keyring(settings))
        if key_file is None
        else key_from(key_file, None)
    )
    options = frozenset(option for option in Option if option.label in names)
    with click.progressbar(length=1, label="De-identifying", file=sys.stderr) as bar:

        def tell(number: int, total: int, path: Path, why: str) -> None:
            if number:
                bar.length = total
                bar.update(1)
            if why:
                click.echo(f"\nLeft out: {path}: {why}", err=True)

        report = deidentify_folder(source, target, key, options, faces, tell, heads)
    if mapping is not None:
        write_mapping(source, mapping, key)
    click.echo(f"{report.made} of {report.files} files written to {target}, {report.there} were there already.")
    click.echo(f"{len(report.refused)} cannot be made safe and were left out; {report.not_dicom} are no DICOM files.")
    if report.may_show_faces:
        click.secho(
            f"{report.may_show_faces} are scans of heads with the face left in: --deface takes it out.", fg="yellow"
        )
    if report.interrupted:
        click.echo("Interrupted: what is there is whole. Run it again to go on.")
        sys.exit(130)
    if not report.made and not report.there:
        click.secho("So nothing was written.", fg="red", err=True)
        sys.exit(1)


def _check(source: Path, target: Path) -> int:
    from mahtai.deidentification.folder import files_below
    from mahtai.deidentification.leaks import Scan, identifiers_in

    scan = Scan(identifiers_in(files_below(source)))
    files = sorted(path for path in target.rglob("*") if path.is_file())
    leaks = [leak for path in files for leak in scan.of_file(path, str(path.relative_to(target)))]
    for leak in leaks:
        click.echo(f"{leak.file}: {leak.place}: {leak.identifier}")
    click.echo(f"{len(scan.identifiers)} identifiers looked for in {len(files)} files: {len(leaks)} found.")
    if not files or not scan.identifiers:
        click.secho("So nothing was checked: are these the right folders?", fg="red", err=True)
        return 1
    return 1 if leaks else 0


@click.command("deface")
@click.argument("source", metavar="IN.nii.gz", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", metavar="OUT.nii.gz", type=click.Path(path_type=Path))
def deface_nifti(source: Path, target: Path) -> None:
    """Take the face out of an MR scan of a head; the brain and a margin round it stay as they are."""
    from mahtai.deidentification.nifti_faces import deface_file

    share = deface_file(source, target)
    click.echo(f"Wrote {target}; {100 * share:.1f} % of the voxels were in front of the plane and are 0 now.")
