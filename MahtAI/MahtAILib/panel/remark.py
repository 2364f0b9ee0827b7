"""What a reader says of a label when it is saved or decided about."""

from __future__ import annotations

from dataclasses import dataclass

from slicer.i18n import tr as _

from MahtAILib.client.acting import Person
from MahtAILib.errors import ExplainedError


@dataclass(frozen=True)
class Remark:
    """What the reader says of a version when it is saved; ``verdict`` is agree, disagree or empty."""

    author: str
    role: str
    verdict: str = ""
    comment: str = ""

    @property
    def person(self) -> Person:
        """Who says it.

        Raises:
            ExplainedError: nobody is named.
        """
        if not self.author.strip():
            raise ExplainedError(_("The reader's name is missing."), _("Type your name or initials under Reader."))
        return Person(self.author.strip(), self.role)
