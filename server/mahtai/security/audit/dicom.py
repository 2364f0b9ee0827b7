"""Entries as audit messages of DICOM (PS3.15, A.5: XML by the schema of A.5.1)."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as xml

from mahtai.security.audit.codes import APPLICATION, OWN, codes_of, name_of, network_type, object_codes
from mahtai.security.audit.reading import Entry

_DCM = "DCM"


def audit_message(entry: Entry) -> str:
    """The message of an entry that was not erased, on one line, as a syslog message carries it."""
    codes = codes_of(entry)
    message = xml.Element("AuditMessage")
    event = xml.SubElement(
        message,
        "EventIdentification",
        EventActionCode=entry.action,
        EventDateTime=entry.at,
        EventOutcomeIndicator=codes.outcome,
    )
    _coded(event, "EventID", codes.id, _DCM, name_of(codes.id))
    if codes.type is not None:
        _coded(event, "EventTypeCode", codes.type, _DCM, name_of(codes.type))
    _coded(event, "EventTypeCode", entry.kind, OWN, entry.kind)
    if entry.outcome != "success":
        xml.SubElement(event, "EventOutcomeDescription").text = entry.outcome
    _who(message, entry)
    server = f"MahtAI {entry.server}"
    program = xml.SubElement(message, "ActiveParticipant", UserID=server, UserIsRequestor="false")
    _coded(program, "RoleIDCode", APPLICATION, _DCM, name_of(APPLICATION))
    source = xml.SubElement(message, "AuditSourceIdentification", AuditSourceID=server)
    xml.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    if entry.object or entry.detail:
        _object(message, entry)
    return xml.tostring(message, encoding="unicode")


def _who(message: xml.Element, entry: Entry) -> None:
    who = xml.SubElement(message, "ActiveParticipant", UserID=entry.who or "nobody", UserIsRequestor="true")
    if entry.address:
        who.set("NetworkAccessPointID", entry.address)
        who.set("NetworkAccessPointTypeCode", network_type(entry.address))
    if entry.role:
        _coded(who, "RoleIDCode", entry.role, OWN, entry.role)


def _object(message: xml.Element, entry: Entry) -> None:
    """What it was about; the server itself where it was nothing in particular."""
    about = entry.object or f"server/{entry.server}"
    kind, role = object_codes(about)
    part = xml.SubElement(
        message, "ParticipantObjectIdentification", ParticipantObjectID=about, ParticipantObjectTypeCode=kind
    )
    if role is not None:
        part.set("ParticipantObjectTypeCodeRole", role)
    word = about.partition("/")[0]
    _coded(part, "ParticipantObjectIDTypeCode", word, OWN, f"{word} of MahtAI")
    xml.SubElement(part, "ParticipantObjectName").text = about
    for name, text in entry.detail.items():
        value = base64.b64encode(text.encode("utf-8")).decode()
        xml.SubElement(part, "ParticipantObjectDetail", type=name, value=value)


def _coded(parent: xml.Element, name: str, code: str, scheme: str, meaning: str) -> None:
    xml.SubElement(parent, name, {"csd-code": code, "codeSystemName": scheme, "originalText": meaning})
