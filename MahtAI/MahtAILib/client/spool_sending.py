"""How one item of the spool goes to the server; what it was made from is there by then."""

from __future__ import annotations

from dataclasses import replace

from MahtAILib.client.background import Task
from MahtAILib.client.cases import add_label, create_case
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import RequestRefusedError
from MahtAILib.client.reviews import decide
from MahtAILib.client.sign_in import own_account
from MahtAILib.client.spool_item import AnyItem, SpooledDecision, SpooledLabel
from MahtAILib.client.spool_receipt import Receipt
from MahtAILib.client.volumes import upload


def is_of_another(connection: Connection, item: AnyItem) -> bool:
    """Whether somebody else saved it than who is signed in: it would be kept under the wrong name.

    Raises:
        ClientError: the server does not tell whose login it is.
    """
    if not connection.require_mahtai().has_accounts:
        return False
    account = connection.account or own_account(connection)
    return account is not None and not (account.is_called(item.author) or account.may("labels.of-others"))


def send_item(connection: Connection, item: AnyItem, parent: str, task: Task) -> Receipt:
    """Send an item; sent twice it is there once.

    Args:
        parent: id of the version that it was made from or is about, where the item does not say.

    Raises:
        RequestRefusedError: the server will not take it.
        DamagedItemError: its files are not as they were put down.
        ClientError: it cannot be sent now.
    """
    if isinstance(item, SpooledDecision):
        return _send_decision(connection, item, parent, task)
    return _send_label(connection, item, parent, task)


def _send_label(connection: Connection, item: SpooledLabel, parent: str, task: Task) -> Receipt:
    label = replace(item.label, parent=parent) if parent else item.label
    upload(connection, [item.read(sha256) for sha256 in item.files], task=task)
    case_id = item.case if isinstance(item.case, str) else create_case(connection, item.case, task).id
    version = add_label(connection, case_id, item.read(item.content).data, label, item.client_key, task)
    if version.sha256 != item.content:
        raise RequestRefusedError(
            "Another file was saved under the same key before; this one was not.",
            "Save it once more from the editor.",
            problem="key-used",
        )
    held_by = str(version.document.get("held_by") or "")
    return Receipt(item.client_key, case_id, version.id, item.content, version.sibling_of or "", held_by)


def _send_decision(connection: Connection, item: SpooledDecision, parent: str, task: Task) -> Receipt:
    assert isinstance(item.case, str)  # only cases of the work list are decided about
    decision = replace(item.decision, version=parent) if parent else item.decision
    decide(connection, item.case, decision, item.client_key, task)
    return Receipt(item.client_key, item.case, decision.version, "")
