"""A data folder of which a part is gone is not used as if it were a new one: what is left would be forgotten."""

from __future__ import annotations

from itertools import islice

from sqlalchemy import select

from mahtai.cases.patients import KEY_FILE
from mahtai.db.engine import Database
from mahtai.db.tables import PatientKeyRow
from mahtai.errors import MahtaiError
from mahtai.security.audit.signing import BRING_BACK, PRIVATE_FILE
from mahtai.settings import Settings


class PartGone(MahtaiError):
    """Something that a server has made is not there any more."""

    kind = "data-incomplete"
    title = "A part of the data is gone"
    status = 500


def require_tables(settings: Settings) -> None:
    """To be called where there are no tables: make sure that none were ever.

    Raises:
        PartGone: there is what only a server with tables leaves; nothing was changed.
    """
    left = [path for path in (settings.data_dir / KEY_FILE, settings.secrets_dir / PRIVATE_FILE) if path.exists()]
    left += islice(settings.blobs_dir.glob("??/??/*"), 1)
    if not left:
        return
    where = (
        "mahtai.sqlite is not there" if settings.is_sqlite else "the database that MAHTAI_DATABASE_URL names is empty"
    )
    raise PartGone(
        f"The tables of {settings.data_dir} are gone: {where}, and {left[0].relative_to(settings.data_dir)} is. "
        "A server without them would know no case, no label and no account. Nothing was changed.",
        "See that MAHTAI_DATA_DIR and MAHTAI_DATABASE_URL belong together; put the tables back; or restore a backup "
        "into a new folder (mahtai restore). To begin anew, move what is in the folder away.",
    )


def require_patients_key(settings: Settings, database: Database) -> None:
    """Make sure that no new key of the patients' numbers is made while some are known under the former one.

    Raises:
        PartGone: they could not be told apart from new patients; nothing was changed.
    """
    path = settings.data_dir / KEY_FILE
    if path.exists():
        return
    with database.read() as session:
        if session.execute(select(PatientKeyRow.key).limit(1)).first() is None:
            return
    raise PartGone(
        f"{path} is gone. With another one, patients whose numbers are known would be taken for new ones, and a test "
        "case could be learnt from. Nothing was changed.",
        BRING_BACK,
    )
