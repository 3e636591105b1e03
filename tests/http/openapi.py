# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold of an OpenAPI document of ours, and of two of them in a row. Both functions return a list
of sentences, empty when all is well.
"""
import re

import jsonschema

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
REQUEST, ANSWER = "request", "answer"


def resolve(document, node):
    """@node, or what its $ref says with the members beside it laid over."""
    while isinstance(node, dict) and "$ref" in node:
        target = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item, item[method]


def walk(node, where="#"):
    """(place, node) of everything below @node."""
    yield where, node
    if isinstance(node, dict):
        for key, child in node.items():
            yield from walk(child, f"{where}/{key}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from walk(child, f"{where}/{index}")


# ---- one document ----------------------------------------------------------------------------------

def lint_references(document):
    used = set()
    for where, node in walk(document):
        if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
            continue
        used.add(node["$ref"])
        try:
            resolve(document, node)
        except (KeyError, TypeError):
            yield f"{where}: {node['$ref']} leads nowhere"
    roots = {f"#/components/schemas/{name}" for name in ("WsClientFrame", "WsServerFrame", "Event")}
    for kind, entries in document.get("components", {}).items():
        for name in entries:
            if f"#/components/{kind}/{name}" not in used | roots:
                yield f"#/components/{kind}/{name} is used by nothing"


def lint_operation(document, path, method, item, operation):
    where = f"{method.upper()} {path}"
    for member in ("operationId", "summary", "tags", "responses"):
        if not operation.get(member):
            yield f"{where} has no {member}"
    if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", operation.get("operationId", "a")):
        yield f"{where}: the operationId {operation['operationId']} is not in camelCase"
    if operation.get("summary", "").endswith("."):
        yield f"{where}: the summary is no sentence and ends without a full stop"
    for tag in operation.get("tags", []):
        if tag not in {entry["name"] for entry in document.get("tags", [])}:
            yield f"{where}: the tag {tag} is not declared"
    parameters = [resolve(document, p) for p in item.get("parameters", []) + operation.get("parameters", [])]
    declared = {p["name"] for p in parameters if p["in"] == "path"}
    if declared != set(re.findall(r"\{(\w+)\}", path)):
        yield f"{where}: the path and its parameters {sorted(declared)} differ"
    seen = set()
    for parameter in parameters:
        if (parameter["in"], parameter["name"]) in seen:
            yield f"{where}: the parameter {parameter['name']} comes twice"
        seen.add((parameter["in"], parameter["name"]))
        if "schema" not in parameter:
            yield f"{where}: the parameter {parameter['name']} has no schema"
        if parameter["in"] == "query" and not parameter.get("description"):
            yield f"{where}: the parameter {parameter['name']} has no description"
        if parameter["in"] == "path" and parameter.get("required") is not True:
            yield f"{where}: the path parameter {parameter['name']} is not required"
    responses = operation.get("responses", {})
    if not any(re.fullmatch(r"2\d\d|101", str(status)) for status in responses):
        yield f"{where} has no answer that says that it worked"
    if responses.get("default") != {"$ref": "#/components/responses/Problem"}:
        yield f"{where}: the default answer is not the Problem"
    for status, response in responses.items():
        if not resolve(document, response).get("description"):
            yield f"{where}: the answer {status} has no description"


def lint_schema(document, where, node):
    properties = node.get("properties")
    if not isinstance(properties, dict) or where.endswith("/properties"):
        return
    for name in properties:
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
            yield f"{where}: the member {name} is not in snake_case"
    for name in node.get("required", []):
        if name not in properties:
            yield f"{where}: the required member {name} is not described"
    for name, child in properties.items():
        if isinstance(child, dict) and "default" in child:
            schema = {**resolve(document, child), "components": document["components"]}
            if not jsonschema.Draft202012Validator(schema).is_valid(child["default"]):
                yield f"{where}: the default of {name} does not fit its schema"


def lint(document, codes=None):
    """@codes: what the daemon may say in `code`; None when that is not to be looked at."""
    problems = list(lint_references(document))
    if problems and any("nowhere" in problem for problem in problems):
        return problems
    if not str(document.get("openapi", "")).startswith("3.1."):
        problems.append("that is not OpenAPI 3.1")
    ids = [operation.get("operationId") for _, _, _, operation in operations(document)]
    problems += [f"the operationId {name} comes twice" for name in sorted({i for i in ids if i and ids.count(i) > 1})]
    used = set()
    for path, method, item, operation in operations(document):
        problems += lint_operation(document, path, method, item, operation)
        used.update(operation.get("tags", []))
    problems += [f"the tag {entry['name']} is used by nothing" for entry in document.get("tags", [])
                 if entry["name"] not in used]
    for where, node in walk(document.get("components", {}).get("schemas", {}), "#/components/schemas"):
        if isinstance(node, dict):
            problems += lint_schema(document, where, node)
    if codes is not None:
        listed = document["components"]["schemas"]["Code"]["examples"]
        problems += [f"the code {code} is not listed" for code in sorted(set(codes) - set(listed))]
        problems += [f"the code {code} is listed and nobody's" for code in sorted(set(listed) - set(codes))]
        problems += [f"the code {code} is listed twice" for code in sorted({c for c in listed if listed.count(c) > 1})]
    return problems


# ---- two documents ---------------------------------------------------------------------------------

class Comparison:
    """Whether everything that a client of @old does and expects holds with @new."""

    def __init__(self, old, new):
        self.old, self.new, self.problems, self.path = old, new, [], []

    def say(self, where, text):
        problem = f"{where}: {text}"
        if problem not in self.problems:
            self.problems.append(problem)

    def count(self, compare, *arguments):
        """How many problems @compare finds, which are forgotten."""
        kept, self.problems = self.problems, []
        compare(*arguments)
        found, self.problems = self.problems, kept
        return found

    @staticmethod
    def variants(node):
        for word in ("oneOf", "anyOf"):
            if word in node:
                return node[word]
        return None

    @staticmethod
    def types(node):
        kind = node.get("type")
        if kind is None and "const" in node:
            kind = {str: "string", bool: "boolean", int: "integer", float: "number"}.get(type(node["const"]))
        return None if kind is None else set([kind] if isinstance(kind, str) else kind)

    def schema(self, where, old, new, direction):
        # Two that refer to each other under one name are looked at once on the way down.
        names = (str(old.get("$ref")), str(new.get("$ref")), direction)
        if names[0] != "None" and names in self.path:
            return
        self.path.append(names)
        self.bare_schema(where, resolve(self.old, old), resolve(self.new, new), direction)
        self.path.pop()

    def bare_schema(self, where, old, new, direction):
        before, after = self.variants(old), self.variants(new)
        if before is not None or after is not None:
            self.alternatives(where, before or [old], after or [new], direction)
            return
        self.type_of(where, old, new, direction)
        self.values(where, old, new, direction)
        self.members(where, old, new, direction)
        if "items" in old and "items" in new:
            self.schema(f"{where}[]", old["items"], new["items"], direction)
        elif direction == REQUEST and "items" in new:
            self.say(where, "items are restricted now")

    def alternatives(self, where, before, after, direction):
        for mine in before:
            found = [self.count(self.schema, where, mine, theirs, direction) for theirs in after]
            if all(found):
                name = mine.get("$ref", mine.get("type", "one")).split("/")[-1]
                self.say(where, f"the alternative {name} is gone or has changed: {min(found, key=len)[0]}")
        if direction == ANSWER and len(before) == 1 and self.variants(before[0]) is None:
            for theirs in after:
                if self.count(self.schema, where, before[0], theirs, direction):
                    self.say(where, "there is an alternative now that a client does not expect")

    def type_of(self, where, old, new, direction):
        before, after = self.types(old), self.types(new)
        if before == after:
            return
        if direction == REQUEST and after is not None and (before is None or not before <= after):
            self.say(where, f"takes {sorted(after)}, took {sorted(before or {'anything'})}")
        if direction == ANSWER and before is not None and (after is None or not after <= before):
            self.say(where, f"is {sorted(after or {'anything'})}, was {sorted(before)}")

    def values(self, where, old, new, direction):
        if "const" in old and old["const"] != new.get("const", old["const"]):
            self.say(where, f"is {new['const']!r}, was {old['const']!r}")
        for value in old.get("enum", []):
            if "enum" in new and value not in new["enum"]:
                self.say(where, f"the value {value!r} is gone")
        if direction == ANSWER:
            return
        for word in ("enum", "const", "pattern", "format"):
            if word in new and word not in old:
                self.say(where, f"{word} restricts it now")
        if "pattern" in old and new.get("pattern", old["pattern"]) != old["pattern"]:
            self.say(where, "the pattern is another one")
        for word, grows in (("minimum", False), ("minLength", False), ("minItems", False), ("minProperties", False),
                            ("maximum", True), ("maxLength", True), ("maxItems", True), ("maxProperties", True)):
            if word in new and (word not in old or
                                (new[word] < old[word] if grows else new[word] > old[word])):
                self.say(where, f"{word} is {new[word]}, was {old.get(word, 'nothing')}")

    def members(self, where, old, new, direction):
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                self.say(where, f"the member {name} is gone")
            else:
                self.schema(f"{where}.{name}", schema, after[name], direction)
        if direction == REQUEST:
            for name in set(new.get("required", [])) - set(old.get("required", [])):
                self.say(where, f"the member {name} is required now")
            if new.get("additionalProperties", True) is False and old.get("additionalProperties", True) is not False:
                self.say(where, "other members are refused now")
        else:
            for name in set(old.get("required", [])) - set(new.get("required", [])):
                self.say(where, f"the member {name} may be missing now")
        if isinstance(old.get("additionalProperties"), dict) and isinstance(new.get("additionalProperties"), dict):
            self.schema(f"{where}.*", old["additionalProperties"], new["additionalProperties"], direction)

    def content(self, where, old, new, direction):
        for kind, entry in old.get("content", {}).items():
            if kind not in new.get("content", {}):
                self.say(where, f"the content type {kind} is gone")
            else:
                self.schema(where, entry["schema"], new["content"][kind]["schema"], direction)

    def parameters(self, where, old, new):
        before, after = ({(p["in"], p["name"]): p for p in (resolve(document, p) for p in parameters)}
                         for document, parameters in ((self.old, old), (self.new, new)))
        for key, parameter in before.items():
            if key not in after:
                self.say(where, f"the parameter {key[1]} is gone")
                continue
            self.schema(f"{where} ?{key[1]}", parameter["schema"], after[key]["schema"], REQUEST)
        for key, parameter in after.items():
            if parameter.get("required") and not before.get(key, {}).get("required"):
                self.say(where, f"the parameter {key[1]} is required now")

    def operation(self, where, old, new):
        if old.get("operationId") != new.get("operationId"):
            self.say(where, f"the operationId is {new.get('operationId')}, was {old.get('operationId')}")
        if "requestBody" in old and "requestBody" not in new:
            self.say(where, "takes no body any more")
        elif "requestBody" in new:
            before = resolve(self.old, old.get("requestBody", {}))
            after = resolve(self.new, new["requestBody"])
            if after.get("required") and not before.get("required"):
                self.say(where, "needs a body now")
            self.content(f"{where} body", before, after, REQUEST)
        for status, response in old["responses"].items():
            if status not in new["responses"]:
                self.say(where, f"the answer {status} is gone")
                continue
            before, after = resolve(self.old, response), resolve(self.new, new["responses"][status])
            for name in before.get("headers", {}):
                if name not in after.get("headers", {}):
                    self.say(where, f"the header {name} of the answer {status} is gone")
            self.content(f"{where} {status}", before, after, ANSWER)

    def run(self):
        for path, item in self.old["paths"].items():
            if path not in self.new["paths"]:
                self.say(path, "the path is gone")
                continue
            other = self.new["paths"][path]
            for method in METHODS:
                if method in item and method not in other:
                    self.say(f"{method.upper()} {path}", "is gone")
                elif method in item:
                    where = f"{method.upper()} {path}"
                    self.parameters(where, item.get("parameters", []) + item[method].get("parameters", []),
                                    other.get("parameters", []) + other[method].get("parameters", []))
                    self.operation(where, item[method], other[method])
        for kind, entries in self.old.get("components", {}).items():
            for name in entries:
                if name not in self.new.get("components", {}).get(kind, {}):
                    self.say(f"components/{kind}/{name}", "is gone")
        for name, direction in (("WsClientFrame", REQUEST), ("WsServerFrame", ANSWER), ("Event", ANSWER)):
            if all(name in document.get("components", {}).get("schemas", {}) for document in (self.old, self.new)):
                schemas = (document["components"]["schemas"][name] for document in (self.old, self.new))
                self.schema(name, *schemas, direction)
        return self.problems


def compare(old, new):
    """What clients of @old would lose with @new."""
    return Comparison(old, new).run()
