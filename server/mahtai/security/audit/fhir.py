"""Entries as AuditEvent resources of FHIR R4 (http://hl7.org/fhir/R4/auditevent.html)."""

from __future__ import annotations

from typing import Any

from mahtai.security.audit.codes import (
    OWN,
    codes_of,
    lifecycle_name,
    name_of,
    network_type,
    object_codes,
    role_name,
)
from mahtai.security.audit.reading import Entry

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_OWN = "urn:mahtai:audit"
_TYPES = {"1": "Person", "2": "System Object"}


def audit_event(entry: Entry) -> dict[str, Any]:
    """The resource of an entry that was not erased."""
    codes = codes_of(entry)
    subtypes = [_coding(f"{_OWN}:kind", entry.kind)]
    if codes.type is not None:
        subtypes.insert(0, _coding(_DCM, codes.type, name_of(codes.type)))
    if codes.lifecycle is not None:
        subtypes.insert(0, _coding(f"{_HL7}/iso-21089-lifecycle", codes.lifecycle, lifecycle_name(codes.lifecycle)))
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"{OWN}-{entry.number}",
        "type": _coding(_DCM, codes.id, name_of(codes.id)),
        "subtype": subtypes,
        "action": entry.action,
        "recorded": entry.at,
        "outcome": codes.outcome,
        "agent": [_agent(entry)],
        "source": {
            "observer": {"display": f"MahtAI {entry.server}"},
            "type": [_coding(f"{_HL7}/security-source-type", "4", "Application Server")],
        },
    }
    if entry.outcome != "success":
        resource["outcomeDesc"] = entry.outcome
    entity = _entity(entry)
    if entity:
        resource["entity"] = [entity]
    return resource


def bundle_entry(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource in a Bundle of type ``collection``."""
    return {"fullUrl": f"urn:mahtai:audit:{resource['id']}", "resource": resource}


def _agent(entry: Entry) -> dict[str, Any]:
    agent: dict[str, Any] = {"requestor": True}
    if entry.who is None:
        agent["who"] = {"display": "nobody who signed in"}
    else:
        agent["who"] = {"identifier": {"system": f"{_OWN}:account", "value": entry.who}}
        agent["altId"] = entry.who
    if entry.role:
        agent["role"] = [{"coding": [_coding(f"{_OWN}:role", entry.role)]}]
    if entry.address:
        agent["network"] = {"address": entry.address, "type": network_type(entry.address)}
    return agent


def _entity(entry: Entry) -> dict[str, Any]:
    entity: dict[str, Any] = {}
    if entry.object:
        kind, role = object_codes(entry.object)
        entity["what"] = {"identifier": {"system": f"{_OWN}:object", "value": entry.object}}
        entity["type"] = _coding(f"{_HL7}/audit-entity-type", kind, _TYPES[kind])
        if role is not None:
            entity["role"] = _coding(f"{_HL7}/object-role", role, role_name(role))
    details = [{"type": name, "valueString": text} for name, text in entry.detail.items() if name and text]
    if details:
        entity["detail"] = details
    return entity


def _coding(system: str, code: str, display: str | None = None) -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}
