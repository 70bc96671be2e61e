"""What a client finds: the vision system of OPC 40100-1 with its types, and where each node is.

Knows the node set and which of its optional parts a station has. Does not know values (telling.py, nodes.py) or what
methods do (methods.py). Imported only when used: needs asyncua.

The types are the OPC Foundation's own, from nodeset/Opc.Ua.MachineVision.NodeSet2.xml (OPC 40100-1, version 1.0.0; MIT
licence, in the file), so that a client that knows the specification finds it, not something like it.
"""

# asyncua's hints: names that are not exported, and Int32 or String where a plain int or str is what it takes.
# mypy: disable-error-code="attr-defined, arg-type"

import re
from dataclasses import dataclass, field
from importlib import resources
from typing import Final

from asyncua import Node, Server, ua
from asyncua.common.instantiate_util import instantiate

VISION_URI: Final = "http://opcfoundation.org/UA/MachineVision"
LINE_URI: Final = "urn:diffad-edge:line"
SYSTEM: Final = "VisionSystem"
_FILE: Final = "Opc.Ua.MachineVision.NodeSet2.xml"

# Numbers of types in the node set.
_SYSTEM_TYPE, _MACHINE_TYPE, _AUTOMATIC_TYPE = 1003, 1017, 1021
_RECIPES_TYPE, _RESULTS_TYPE = 1004, 1007
EVENT_TYPES: Final = {
    "StateChangedEventType": 1018,
    "ErrorEventType": 1019,
    "ErrorResolvedEventType": 1020,
    "RecipePreparedEventType": 1022,
    "ReadyEventType": 1023,
    "ResultReadyEventType": 1024,
    "JobStartedEventType": 1013,
}


@dataclass(slots=True)
class Space:
    """Where things are.

    Attributes:
        server: whose address space it is.
        vision, line: indices of both namespaces.
        states: node ids of states and transitions of both machines' types, by browse name.
        events: node ids of event types, by browse name.
    """

    server: Server
    vision: int
    line: int
    states: dict[str, ua.NodeId] = field(default_factory=dict)
    events: dict[str, ua.NodeId] = field(default_factory=dict)

    def own(self, path: str) -> ua.NodeId:
        """Of a node that is the station's, as in "VisionSystem.RecipeManagement.PrepareRecipe" or "Line.Ready"."""
        return ua.NodeId(path, self.line)

    def node(self, path: str) -> Node:
        """The same as a node."""
        return self.server.get_node(self.own(path))

    def type(self, number: int) -> Node:
        """A type of the node set."""
        return self.server.get_node(ua.NodeId(number, self.vision))

    async def write(self, path: str, value: ua.DataValue) -> None:
        """Set a variable; whoever monitors it is told."""
        await self.server.write_attribute_value(self.own(path), value)


async def build(server: Server, name: str) -> Space:
    """Read the node set and put a vision system under Objects.

    Args:
        server: initialised, not started.
        name: what people see, as in "left".
    """
    await server.import_xml(xmlstring=_node_set())
    vision = await server.get_namespace_index(VISION_URI)
    space = Space(server, vision, await server.register_namespace(LINE_URI))
    for number in (_MACHINE_TYPE, _AUTOMATIC_TYPE):
        for child in await space.type(number).get_children_descriptions():
            space.states[child.BrowseName.Name] = child.NodeId
    space.events = {kind: ua.NodeId(number, vision) for kind, number in EVENT_TYPES.items()}
    objects = server.get_objects_node()
    await _put(space, objects, _SYSTEM_TYPE, SYSTEM, ua.QualifiedName(SYSTEM, space.line), name)
    system = space.node(SYSTEM)
    for number, part in ((_RECIPES_TYPE, "RecipeManagement"), (_RESULTS_TYPE, "ResultManagement")):
        await _put(space, system, number, f"{SYSTEM}.{part}", ua.QualifiedName(part, vision), part)
    machine, part = space.node(f"{SYSTEM}.VisionStateMachine"), "AutomaticModeStateMachine"
    await _put(
        space, machine, _AUTOMATIC_TYPE, f"{SYSTEM}.VisionStateMachine.{part}", ua.QualifiedName(part, vision), part
    )
    for notifier in (system, server.get_node(ua.ObjectIds.Server)):
        await notifier.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
    return space


def _node_set() -> str:
    """The node set, with the fields of identifiers said where they are inherited.

    Ids of recipes and configurations are subtypes that add no field. asyncua takes such a type for another name of its
    supertype: a client could not encode one as the specification has it.
    """
    xml = resources.files(__package__).joinpath("nodeset", _FILE).read_text(encoding="utf-8")
    inherited = re.search(r'<Definition Name="1:BinaryIdBaseDataType">(.*?)</Definition>', xml, re.DOTALL)
    fields = inherited.group(1) if inherited else ""
    return re.sub(
        r'<Definition Name="(1:\w+)" />', lambda one: f'<Definition Name="{one[1]}">{fields}</Definition>', xml
    )


async def _put(space: Space, parent: Node, kind: int, path: str, browse: ua.QualifiedName, shown: str) -> None:
    """Make an instance with what is mandatory; children get the path of their parent, a dot and their name."""
    await instantiate(
        parent,
        space.type(kind),
        nodeid=space.own(path),
        bname=browse,
        dname=ua.LocalizedText(shown),
        instantiate_optional=False,
    )
