"""Buttons for what not every account may do: off where it may not, with the reason in the tool tip."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MahtAILib.panel.server_state import ServerState


class Permitted:
    """A button and the permission that it needs.

    Args:
        permission: as the server calls it, such as ``labels.write``.
    """

    def __init__(self, server: ServerState, button: Any, permission: str) -> None:
        self._server, self._button, self._permission = server, button, permission
        self._tip = str(button.toolTip)

    def enable(self, wanted: bool, tip: str = "") -> None:
        """Switch the button on where it is wanted and allowed.

        Args:
            tip: instead of the button's own.
        """
        account = self._server.account
        may = self._server.may(self._permission)
        self._button.enabled = wanted and may
        if may or account is None:
            self._button.setToolTip(tip or self._tip)
        else:
            self._button.setToolTip(
                _("Your account ({name}, {role}) may not do this. Ask the person who manages the accounts.").format(
                    name=account.name, role=account.role
                )
            )
