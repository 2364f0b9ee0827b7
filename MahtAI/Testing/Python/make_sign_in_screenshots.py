#!/usr/bin/env python3
"""Make the picture of signing in: the section Server as a server with accounts makes it look.

    export PYTHONPATH=server:server/tests:MahtAI:MahtAI/Testing/Python
    python MahtAI/Testing/Python/make_sign_in_screenshots.py [FOLDER]

Writes ``sign-in.png`` (the fields with the code at the left, who is signed in at the right) into
MahtAI/Resources/Screenshots, or into FOLDER.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.rendering import need_offscreen

need_offscreen()

from accounts_kit import AtTheDoor, add_user, hospital_server, set_up_codes, signed_in  # noqa: E402
from kit.slicer_window import beside  # noqa: E402
from make_screenshots import RESOURCES, open_slicer, panel_picture, save  # noqa: E402
from make_worklist_screenshots import hide_other_sections  # noqa: E402
from panel_kit import Reader  # noqa: E402
from PIL import Image  # noqa: E402

READER = "Dr. A. Reader"
SHOWN_ADDRESS = "https://mahtai.hospital.example"


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work, open_door(Path(work)) as (door, recovery):
        hide_other_sections(door.reader, "server_section")
        door.type(READER)
        door.ui.passwordLineEdit.text = "x" * 16
        asked = picture(door.reader)
        door.type(READER, code=recovery)
        save(beside(asked, picture(door.reader)), folder / "sign-in.png")


def picture(reader: Reader) -> Image.Image:
    """The section; the address of a hospital says more than that of a port that happened to be free."""
    ui, panel = reader.ui("server"), reader.panel
    url = panel.server.wanted.url if panel.server.wanted is not None else panel.server.connection.url
    ui.addressComboBox.setEditText(SHOWN_ADDRESS)
    words = str(ui.serverStateLabel.text).replace(url, SHOWN_ADDRESS).replace("on this computer", f"at {SHOWN_ADDRESS}")
    ui.serverStateLabel.setText(words)
    return panel_picture(reader)


@contextmanager
def open_door(work: Path) -> Iterator[tuple[AtTheDoor, str]]:
    """A reader in front of a server that wants to know who it is, and a code that lets them in."""
    os.environ["MAHTAI_KEYRING"] = "off"
    server = hospital_server(work / "server", (work / "no-models",))
    add_user(server, READER)
    server.start()
    try:
        connection, _ = signed_in(server, READER)
        _, recovery = set_up_codes(connection)
        with open_slicer(work, server) as reader:
            yield AtTheDoor(reader), recovery[0]
    finally:
        server.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESOURCES / "Screenshots")
