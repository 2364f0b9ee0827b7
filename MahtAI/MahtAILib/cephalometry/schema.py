"""Checks a document against a JSON schema and says what is wrong with it in plain words.

Knows the part of JSON Schema that ``analysis.schema.json`` uses: type, enum, pattern, exclusiveMinimum, properties,
required, additionalProperties, items, minItems and maxItems.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}
_NAMES = {
    "object": "an object in braces",
    "array": "a list in square brackets",
    "string": "a text in quotation marks",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}


def complaints(document: Any, schema: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """What is wrong with a document, one sentence each; nothing where all is right.

    Args:
        document: as ``json.loads`` gives it.
        schema: likewise.
        where: what the document is within the whole, such as ``measurements[2]``.
    """
    wanted = schema.get("type")
    if wanted and not _is_type(document, wanted):
        yield f"{where or 'The file'} must be {_NAMES[wanted]}."
        return
    yield from _value_complaints(document, schema, where)
    if isinstance(document, dict):
        yield from _object_complaints(document, schema, where)
    elif isinstance(document, list):
        yield from _list_complaints(document, schema, where)


def _is_type(document: Any, name: str) -> bool:
    if isinstance(document, bool) and name != "boolean":
        return False
    if isinstance(document, float) and not math.isfinite(document):
        return False
    return isinstance(document, _TYPES[name])


def _value_complaints(document: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if "enum" in schema and document not in schema["enum"]:
        yield f"{where} must be one of {', '.join(map(str, schema['enum']))}; it is “{document}”."
    if isinstance(document, str):
        if not document.strip():
            yield f"{where} is empty."
        elif "pattern" in schema and not re.fullmatch(schema["pattern"], document):
            yield f"{where} is “{document}”; small letters, digits, _ and - are allowed."
    if "exclusiveMinimum" in schema and document <= schema["exclusiveMinimum"]:
        yield f"{where} must be more than {schema['exclusiveMinimum']}; it is {document}."


def _object_complaints(document: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    known = schema.get("properties", {})
    of = f" of {where}" if where else ""
    for name in schema.get("required", ()):
        if name not in document:
            yield f"“{name}”{of} is missing."
    for name, value in document.items():
        if name in known:
            yield from complaints(value, known[name], f"{where}.{name}" if where else name)
        elif schema.get("additionalProperties") is False:
            yield f"“{name}”{of} is not known; known are {', '.join(one for one in known if one[0] != '$')}."


def _list_complaints(document: list[Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if len(document) < schema.get("minItems", 0):
        yield f"{where} must have at least {schema['minItems']} entries; it has {len(document)}."
    if len(document) > schema.get("maxItems", math.inf):
        yield f"{where} must have at most {schema['maxItems']} entries; it has {len(document)}."
    for number, one in enumerate(document):
        yield from complaints(one, schema.get("items", {}), f"{where}[{number}]")
