"""Who works, as far as clients of MONAI Label say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mahtai.cases.person import NOBODY_NAMED, Person
from mahtai.security.naming import LONGEST_NAME

UNNAMED = "MONAI Label client"


def person_of(params: Mapping[str, Any], acting: Person) -> Person:
    """The person whom the request's headers name, else the ``client_id`` of its parameters."""
    if acting.account is not None or acting != NOBODY_NAMED:
        return acting
    named = params.get("client_id")
    fits = isinstance(named, str) and named.isprintable() and 0 < len(named.strip()) <= LONGEST_NAME
    return Person(str(named).strip() if fits else UNNAMED, "annotator")
