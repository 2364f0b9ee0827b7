"""What ``mahtai cases`` says on a terminal: the progress and the report of an import, and the list of cases."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from tqdm import tqdm

from mahtai.cases_import.connecting import Where, open_server
from mahtai.cases_import.find import Wanted
from mahtai.cases_import.report import Report
from mahtai.cases_import.run import import_folder, report_for
from mahtai.cases_import.sending import Terms
from mahtai.errors import MahtaiError
from MahtAILib.client.cases import list_cases
from MahtAILib.client.errors import ClientError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

_HINT = "What was imported is safe on the server. Run the same command again: it goes on where it stopped."


class NoReport(MahtaiError):
    """The report cannot be written where it was asked for."""

    kind = "no-report"
    title = "The report cannot be written"
    status = 422


class Bar:
    """A counter of files, then a bar of studies; silent where nobody looks at a terminal."""

    def __init__(self) -> None:
        self._files = tqdm(desc="looking", unit=" files", disable=None, leave=False)
        self._studies: tqdm | None = None

    def looked_at(self) -> None:
        """One more file."""
        self._files.update()

    @contextmanager
    def studies(self, count: int) -> Iterator[None]:
        """So many studies were found."""
        self._files.close()
        with tqdm(desc="importing", total=count, unit=" studies", disable=None, leave=False) as self._studies:
            yield

    def sent(self, place: str) -> None:
        """One more study."""
        if self._studies is not None:
            self._studies.update()

    def close(self) -> None:
        """Leave the terminal clean."""
        self._files.close()


def import_command(
    where: Where,
    folder: Path,
    wanted: Wanted,
    terms: Terms,
    report_file: Path | None,
    is_dry: bool,
) -> int:
    """Import a folder and tell about it; the exit status.

    Raises:
        MahtaiError, ClientError: there is no server, or the report cannot be written; nothing was imported.
    """
    if report_file is not None:
        _check_writable(report_file)
    report = report_for(folder)
    connection = None if is_dry else open_server(where)
    bar = Bar()
    failure: ClientError | None = None
    try:
        import_folder(connection, folder, wanted, terms, report, bar)
    except ClientError as error:
        failure = error
    finally:
        bar.close()
        if connection is not None:
            connection.close()
    _tell(report, report_file)
    if failure is not None:
        click.secho(failure.reason, fg="red", err=True)
        click.echo(f"What to do: {_HINT} {failure.hint}".rstrip(), err=True)
        return 1
    if report.stopped:
        click.secho(f"{report.stopped} {_HINT}", fg="yellow", err=True)
        return INTERRUPTED
    return 0 if report.entries else 1


def list_command(where: Where) -> Iterator[str]:
    """A line a case, the newest first.

    Raises:
        MahtaiError, ClientError: there is no server.
    """
    with open_server(where) as connection:
        yield f"{'no.':>5} {'name':24} {'task':14} {'state':10} {'split':11} {'patient':8} {'for':16} volumes"
        for case in list_cases(connection):
            said = case.document
            cells = {key: str(said.get(key) or "") for key in ("state", "split", "patient", "assignee")}
            yield (
                f"{said.get('number', ''):>5} {case.name:24.24} {case.task:14} {cells['state']:10} {cells['split']:11} "
                f"{cells['patient']:8} {cells['assignee']:16.16} {' '.join(sorted(case.volumes))}"
            )


def _tell(report: Report, report_file: Path | None) -> None:
    for line in report.lines():
        click.echo(line)
    click.secho(report.summary, bold=True)
    if report_file is not None:
        partial = report_file.with_name(f"{report_file.name}.partial")
        partial.write_text(json.dumps(report.as_json(), indent=1) + "\n", "utf-8")
        os.replace(partial, report_file)
        click.echo(f"Wrote {report_file}.")


def _check_writable(report_file: Path) -> None:
    """Before work is spent on what could not be told afterwards."""
    try:
        if report_file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=report_file.parent):
            pass
    except OSError as error:
        raise NoReport(
            f"The report cannot be written to {report_file}: {error.strerror}. Nothing was imported.",
            "Choose another file with --report.",
        ) from error
