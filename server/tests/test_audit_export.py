"""Exports have the form of the standards: FHIR R4 AuditEvent, DICOM PS3.15 A.5; and rows that prove themselves."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit_kit import CASE, KINDS, Record, event, recomputed
from mahtai.db import tables
from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.security.audit import chain
from mahtai.security.audit.export import export
from mahtai.security.audit.reading import Wanted
from mahtai.security.audit.retention import prune, read_times
from mahtai.security.permissions import CALLS

DCM = "http://dicom.nema.org/resources/ontology/DCM"
HL7 = "http://terminology.hl7.org/CodeSystem"

EVENTS = {*(str(code) for code in range(110100, 110115))}
EVENT_TYPES = {*(str(code) for code in range(110120, 110143))}
LIFECYCLE = {
    *("access", "hold", "amend", "archive", "attest", "decrypt", "deidentify", "deprecate", "destroy", "disclose"),
    *("encrypt", "extract", "link", "merge", "originate", "pseudonymize", "reactivate", "receive", "reidentify"),
    *("unhold", "report", "restore", "transform", "transmit", "unlink", "unmerge", "verify"),
}
"""FHIR R4's value sets audit-event-type and audit-event-sub-type, and ISO 21089."""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """Entries of all kinds, some of them erased."""
    root = tmp_path_factory.mktemp("export")
    database = Database(f"sqlite:///{root / 'tables.sqlite'}")
    upgrade(database)
    made = Record(database, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "moment", lambda _: tables.now() - timedelta(days=1000))
        made.write(len(KINDS))
    made.write(4 * len(KINDS), first=16)
    with made.trail() as trail:
        for what in ("start", "stop", "audit export"):
            trail.record_now(event(0, "server", detail={"what": what, "odd": "<&\"'>\N{SNOWMAN}", "empty": ""}))
        trail.record_now(event(0, "a kind of tomorrow", who='Ünal <x> & "y"', address="not an address"))
        prune(trail, read_times(), "operator@server")
    yield made
    database.close()


WHOLE = 4 * 16 + 16 - 3 + 5


def exported(record: Record, form: str, name: str, wanted: Wanted | None = None) -> str:
    path = record.root / name
    path.unlink(missing_ok=True)
    written = export(record.database, wanted or Wanted(), form, path)
    assert written.entries == (WHOLE + 3 if form == "json" else WHOLE) or wanted is not None
    assert written.erased == (0 if form == "json" else 3) or wanted is not None
    return path.read_text("utf-8")


def test_every_kind_that_calls_are_recorded_as_is_known() -> None:
    codes = json.loads((Path(chain.__file__).with_name("codes.json")).read_text("utf-8"))
    assert {call.record for call in CALLS.values() if call.record} <= set(KINDS) == set(codes["kinds"])
    for row in (*codes["kinds"].values(), *codes["what"].values()):
        assert row["id"] in EVENTS and row.get("type", "110120") in EVENT_TYPES
        assert row["id"] in codes["names"] and row.get("type", row["id"]) in codes["names"]
        assert row.get("lifecycle", "access") in set(codes["lifecycles"]) <= LIFECYCLE


def test_fhir_lines_are_audit_events_of_r4(record: Record) -> None:
    resources = [json.loads(line) for line in exported(record, "fhir", "record.ndjson").splitlines()]
    assert len(resources) == WHOLE
    for resource in resources:
        check_audit_event(resource)
    known = {resource["id"]: resource for resource in resources}
    first = known["99MAHTAI-17"]
    assert (first["type"]["code"], first["subtype"][0]["code"], first["action"]) == ("110114", "110122", "R")
    assert first["agent"][0]["who"]["identifier"]["value"] == "reader 2"
    assert first["agent"][0]["network"] == {"address": "10.0.0.7", "type": "2"}
    assert first["entity"][0]["what"]["identifier"]["value"] == CASE


def test_a_fhir_bundle_holds_the_same(record: Record) -> None:
    bundle = json.loads(exported(record, "fhir", "record.json"))
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    lines = [json.loads(line) for line in exported(record, "fhir", "record.ndjson").splitlines()]
    assert [entry["resource"] for entry in bundle["entry"]] == lines
    addresses = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(addresses)) == len(addresses)
    empty = json.loads(exported(record, "fhir", "empty.json", Wanted(kind="none")))
    assert empty == {"resourceType": "Bundle", "type": "collection"}


def check_audit_event(resource: dict[str, Any]) -> None:
    """Required elements, required bindings, and no element that is empty or unknown."""
    assert resource["resourceType"] == "AuditEvent"
    assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", resource["id"])
    assert set(resource) <= {
        *("resourceType", "id", "type", "subtype", "action", "recorded", "outcome", "outcomeDesc"),
        *("agent", "source", "entity"),
    }
    assert resource["type"]["system"] == DCM and resource["type"]["code"] in EVENTS
    for coding in resource["subtype"]:
        allowed = {DCM: EVENT_TYPES, f"{HL7}/iso-21089-lifecycle": LIFECYCLE, "urn:mahtai:audit:kind": {coding["code"]}}
        assert coding["code"] in allowed[coding["system"]]
    assert resource["action"] in set("CRUDE") and resource["outcome"] in {"0", "4", "8", "12"}
    assert datetime.fromisoformat(resource["recorded"].replace("Z", "+00:00")).utcoffset() == timedelta()
    for agent in resource["agent"]:
        assert isinstance(agent["requestor"], bool) and agent["who"]
        assert agent.get("network", {"type": "2"})["type"] in {"1", "2", "3", "4", "5"}
    assert resource["source"]["observer"]["display"]
    assert resource["source"]["type"][0] == {
        "system": f"{HL7}/security-source-type",
        "code": "4",
        "display": "Application Server",
    }
    for entity in resource.get("entity", []):
        assert entity.get("type", {"code": "2"})["code"] in {"1", "2", "3", "4"}
        assert entity.get("role", {"code": "1"})["code"] in {str(code) for code in range(1, 25)}
        assert all(detail["type"] and detail["valueString"] for detail in entity.get("detail", []))
    check_nothing_empty(resource)


def check_nothing_empty(value: Any) -> None:
    assert value not in ("", [], {}, None)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_nothing_empty(part)


CODED = {"csd-code": True, "codeSystemName": True, "displayName": False, "originalText": True}

ATTRIBUTES: dict[str, dict[str, bool]] = {
    "AuditMessage": {},
    "EventIdentification": {"EventActionCode": False, "EventDateTime": True, "EventOutcomeIndicator": True},
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": {},
    "ActiveParticipant": {
        "UserID": True,
        "AlternativeUserID": False,
        "UserName": False,
        "UserIsRequestor": True,
        "NetworkAccessPointID": False,
        "NetworkAccessPointTypeCode": False,
    },
    "RoleIDCode": CODED,
    "AuditSourceIdentification": {"AuditEnterpriseSiteID": False, "AuditSourceID": True},
    "AuditSourceTypeCode": {"csd-code": True, "codeSystemName": False, "displayName": False, "originalText": False},
    "ParticipantObjectIdentification": {
        "ParticipantObjectID": True,
        "ParticipantObjectTypeCode": False,
        "ParticipantObjectTypeCodeRole": False,
        "ParticipantObjectDataLifeCycle": False,
        "ParticipantObjectSensitivity": False,
    },
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": {},
    "ParticipantObjectDetail": {"type": True, "value": True},
}
"""Element of PS3.15 A.5.1 → its attributes, and whether they are required."""

CHILDREN = {
    "AuditMessage": "EventIdentification (ActiveParticipant )+AuditSourceIdentification "
    "(ParticipantObjectIdentification )*",
    "EventIdentification": "EventID (EventTypeCode )*(EventOutcomeDescription )?",
    "ActiveParticipant": "(RoleIDCode )*",
    "AuditSourceIdentification": "(AuditSourceTypeCode )*",
    "ParticipantObjectIdentification": "ParticipantObjectIDTypeCode ParticipantObjectName (ParticipantObjectDetail )*",
}
"""Element → the order of those in it, as an expression."""

VALUES = {
    "EventActionCode": r"[CRUDE]",
    "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "EventOutcomeIndicator": r"0|4|8|12",
    "UserIsRequestor": r"true|false",
    "NetworkAccessPointTypeCode": r"[1-5]",
    "ParticipantObjectTypeCode": r"[1-4]",
    "ParticipantObjectTypeCodeRole": r"[1-9]|1\d|2[0-6]",
}


def check_element(element: xml.Element) -> None:
    """Its attributes, their values and the order of its parts are those of the schema."""
    allowed = ATTRIBUTES[element.tag]
    assert set(element.attrib) <= set(allowed)
    assert {name for name, required in allowed.items() if required} <= set(element.attrib)
    for name, value in element.attrib.items():
        assert re.fullmatch(VALUES.get(name, r"[\s\S]*"), value), (name, value)
    order = "".join(f"{child.tag} " for child in element)
    assert re.fullmatch(CHILDREN.get(element.tag, ""), order), (element.tag, order)
    for child in element:
        check_element(child)


def test_dicom_messages_fit_the_schema_of_ps3_15(record: Record) -> None:
    messages = [xml.fromstring(line) for line in exported(record, "dicom", "record.xml").splitlines()]
    assert len(messages) == WHOLE
    for message in messages:
        assert message.tag == "AuditMessage"
        check_element(message)
        assert [who.get("UserIsRequestor") for who in message.iter("ActiveParticipant")] == ["true", "false"]
    start = next(each for each in messages if _type_code(each) == "110120")
    assert start.find("EventIdentification/EventID").attrib["csd-code"] == "110100"  # type: ignore[union-attr]
    details = {part.get("type"): part.get("value") for part in start.iter("ParticipantObjectDetail")}
    assert base64.b64decode(details["odd"] or "").decode() == "<&\"'>\N{SNOWMAN}"
    assert any(who.get("UserID") == 'Ünal <x> & "y"' for each in messages for who in each.iter("ActiveParticipant"))


def _type_code(message: xml.Element) -> str | None:
    code = message.find("EventIdentification/EventTypeCode")
    return None if code is None else code.get("csd-code")


def test_rows_prove_themselves_without_the_program(record: Record) -> None:
    rows = [json.loads(line) for line in exported(record, "json", "rows.ndjson").splitlines()]
    assert recomputed(rows) == rows == record.rows()


def test_exports_are_narrowed_by_time_and_kind(record: Record) -> None:
    today = chain.instant(tables.now() - timedelta(days=1))
    rows = exported(record, "json", "new.ndjson", Wanted(since=today, kind="approval")).splitlines()
    assert len(rows) == 4
    assert exported(record, "json", "old.ndjson", Wanted(until=today, kind="approval")).count("\n") == 1
