# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a GIR says, as sorted lines of text: one for each thing that a binding sees.

Two sets of such lines can be compared: a line that is gone was removed or changed, a new one was added.
"""
import xml.etree.ElementTree as ElementTree

CORE = "{http://www.gtk.org/introspection/core/1.0}"
C = "{http://www.gtk.org/introspection/c/1.0}"
GLIB = "{http://www.gtk.org/introspection/glib/1.0}"


def type_of(node):
    """The C type of a parameter, property or result, and what its elements are."""
    for kind in ("type", "array"):
        found = node.find(CORE + kind)
        if found is not None:
            inner = [type_of_inner(each) for each in found if each.tag in (CORE + "type", CORE + "array")]
            name = found.get("name") or found.get(C + "type") or kind
            return f"{name}<{', '.join(inner)}>" if inner else name
    return "..."


def type_of_inner(node):
    return node.get("name") or node.get(C + "type") or "?"


def flags_of(node):
    """The annotations that change what a caller has to do."""
    names = {"nullable": "nullable", "scope": "scope", "direction": "direction",
             "transfer-ownership": "transfer"}
    if type_of(node) == "gpointer":
        return ""  # user data: what is said of it differs between releases of the scanner
    return "".join(f" {word}={node.get(key)}" for key, word in names.items()
                   if node.get(key) and not (key == "transfer-ownership" and node.get(key) == "none"))


def signature_of(node):
    parameters = []
    group = node.find(CORE + "parameters")
    for each in group if group is not None else []:
        parameters.append(f"{type_of(each)}{flags_of(each)}")
    result = node.find(CORE + "return-value")
    if node.get("throws") == "1":
        parameters.append("GError**")
    return f"({', '.join(parameters)}) -> {type_of(result)}{flags_of(result)}"


def lines_of(path):
    """The sorted lines; and {C identifier: (version, can be used by bindings)} of functions."""
    namespace = ElementTree.parse(path).getroot().find(CORE + "namespace")
    lines, functions = set(), {}
    for owner in [namespace] + list(namespace):
        title = owner.get(C + "type") or owner.get(C + "identifier") or owner.get("name")
        kind = owner.tag.replace(CORE, "")
        if kind == "class":
            final = " final" if owner.get("final") == "1" else ""
            implements = sorted(each.get("name") for each in owner.findall(CORE + "implements"))
            lines.add(f"class {title}: {owner.get('parent')}{final} {' '.join(implements)}".rstrip())
        elif kind in ("enumeration", "bitfield", "record", "callback", "alias"):
            lines.add(f"{kind} {title}")
        elif kind == "constant":
            # A version's number is what it is for.
            value = "" if title.endswith("_VERSION") else f" = {owner.get('value')}"
            lines.add(f"constant {title}{value}")
        for node in owner:
            identifier = node.get(C + "identifier")
            if node.tag == CORE + "member":
                lines.add(f"value {identifier} = {node.get('value')}")
            elif node.tag in (CORE + "function", CORE + "method", CORE + "constructor"):
                lines.add(f"{node.tag.replace(CORE, '')} {identifier}{signature_of(node)}")
                functions[identifier] = (node.get("version"), node.get("introspectable") != "0")
            elif node.tag == CORE + "property":
                access = ("r" if node.get("readable") != "0" else "") + ("w" if node.get("writable") == "1" else "")
                lines.add(f"property {title}:{node.get('name')} {access} {type_of(node)}")
            elif node.tag == GLIB + "signal":
                lines.add(f"signal {title}::{node.get('name')}{signature_of(node)}")
        if kind == "class":
            functions[owner.get(GLIB + "get-type")] = (owner.get("version"), True)
        elif owner.get(GLIB + "get-type"):
            functions[owner.get(GLIB + "get-type")] = (owner.get("version"), True)
    return sorted(lines), functions
