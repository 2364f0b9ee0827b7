"""What a .ui file asks of Slicer's widgets; needs no Qt."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Connection:
    """A line of ``<connections>``: object names and signatures."""

    sender: str
    signal: str
    receiver: str
    slot: str


@dataclass(frozen=True)
class UiFile:
    """The widgets (name → class), their properties and the connections between them."""

    xml: str
    classes: dict[str, str]
    properties: list[tuple[str, str]]
    connections: list[Connection]

    def touches(self) -> list[tuple[str, str]]:
        """(class, member) of each property, signal and slot that the file names."""
        ends = [(c.sender, c.signal) for c in self.connections] + [(c.receiver, c.slot) for c in self.connections]
        return self.properties + [(self.classes[name], member) for name, member in ends]


def read_ui(path: Path | str) -> UiFile:
    """Read a file.

    Raises:
        ValueError: a connection names an object that the file lacks.
    """
    root = ElementTree.parse(path).getroot()
    classes, properties = {}, []
    for widget in root.iter("widget"):
        classes[widget.get("name", "")] = widget.get("class", "")
        # stdset="0" marks a property of the author's own, such as SlicerParameterName
        names = [p.get("name", "") for p in widget.findall("property") if p.get("stdset") != "0"]
        properties += [(widget.get("class", ""), name) for name in names]
    connections = [
        Connection(*(line.findtext(end, "") for end in ("sender", "signal", "receiver", "slot")))
        for line in root.iter("connection")
    ]
    for connection in connections:
        for name in (connection.sender, connection.receiver):
            if name not in classes:
                raise ValueError(f"{path}: a connection names {name}, and no widget is called so")
    for element in root.findall("connections"):
        root.remove(element)
    return UiFile(ElementTree.tostring(root, encoding="unicode"), classes, properties, connections)
