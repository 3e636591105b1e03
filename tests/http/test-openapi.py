#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The schema by itself: what must hold of it, and that it only grows beyond baseline/tenbox-v1.yaml. The
rules are tried on schemas with one thing broken each.

    test-openapi.py
"""
import copy
import os
import re
import sys

import yaml

from harness import SOURCE_ROOT, Tap, equal
from openapi import compare, lint

TAP = Tap()


def load(path):
    with open(os.path.join(SOURCE_ROOT, path), encoding="utf-8") as file:
        return yaml.safe_load(file)


PRESENT, BASELINE = load("data/openapi/tenbox-v1.yaml"), load("tests/http/baseline/tenbox-v1.yaml")


def codes():
    """The codes of the one table of errors."""
    with open(os.path.join(SOURCE_ROOT, "libtenbox/wire/wire-error.c"), encoding="utf-8") as file:
        table = file.read().partition("static const TbxErrorKind kinds[] = {")[2].partition("\n};")[0]
    found = re.findall(r'^ *\{"([a-z-]+)", *TENBOX_ERROR_', table, re.M)
    equal(len(found), table.count("TENBOX_ERROR_"), "rows understood")
    return found


def mutate(document, change):
    """A copy of @document, changed by @change, which gets its paths and its schemas."""
    changed = copy.deepcopy(document)
    change(changed["paths"], changed["components"]["schemas"], changed)
    return changed


def put(place, **members):
    place.update(members)


@TAP.test
def structure():
    """the schema: references, ids, summaries, tags, parameters, problems, names, defaults, codes"""
    equal(lint(PRESENT, codes()), [])


@TAP.test
def only_grows():
    """nothing of the last schema is gone or narrower (tests/http/refresh-baseline.sh makes it the next)"""
    equal(compare(BASELINE, PRESENT), [])


LINT = [
    ("a reference that leads nowhere", "leads nowhere",
     lambda p, s, d: put(s["VmList"]["properties"]["items"], items={"$ref": "#/components/schemas/Nope"})),
    ("a component nobody uses", "is used by nothing", lambda p, s, d: put(s, Orphan={"type": "string"})),
    ("an id twice", "comes twice", lambda p, s, d: put(p["/v1/vms"]["get"], operationId="createVm")),
    ("no id", "has no operationId", lambda p, s, d: p["/v1/vms"]["get"].pop("operationId")),
    ("an id with an underscore", "camelCase", lambda p, s, d: put(p["/v1/vms"]["get"], operationId="list_vms")),
    ("no summary", "has no summary", lambda p, s, d: p["/v1/vms"]["get"].pop("summary")),
    ("a summary that is a sentence", "full stop", lambda p, s, d: put(p["/v1/vms"]["get"], summary="Lists.")),
    ("an unknown tag", "is not declared", lambda p, s, d: put(p["/v1/vms"]["get"], tags=["other"])),
    ("a tag nobody has", "is used by nothing", lambda p, s, d: d["tags"].append({"name": "other"})),
    ("a path parameter too few", "differ", lambda p, s, d: put(p, **{"/v1/{x}": p["/v1/vms"]})),
    ("a parameter without a description", "no description",
     lambda p, s, d: put(p["/v1/vms"]["get"], parameters=[{"name": "x", "in": "query", "schema": {}}])),
    ("a parameter twice", "comes twice", lambda p, s, d: p["/v1/vms/{vm}"]["parameters"].append(
        {"$ref": "#/components/parameters/vm"})),
    ("no success", "says that it worked", lambda p, s, d: p["/v1/vms"]["get"]["responses"].pop("200")),
    ("no problem", "not the Problem", lambda p, s, d: p["/v1/vms"]["get"]["responses"].pop("default")),
    ("a member in camelCase", "snake_case", lambda p, s, d: put(s["Vm"]["properties"], createdAt={})),
    ("a required member nobody describes", "is not described", lambda p, s, d: s["Vm"]["required"].append("x")),
    ("a default that does not fit", "does not fit its schema",
     lambda p, s, d: put(s["VmStop"]["properties"]["timeout"], default=-1)),
    ("a code nobody listed", "is not listed", lambda p, s, d: s["Code"]["examples"].remove("vm-busy")),
    ("a code nobody has", "nobody's", lambda p, s, d: s["Code"]["examples"].append("no-such-code")),
    ("another OpenAPI", "not OpenAPI 3.1", lambda p, s, d: put(d, openapi="3.0.3")),
]


@TAP.test
def structure_is_seen():
    """each rule of structure finds what breaks it"""
    for name, wanted, change in LINT:
        problems = lint(mutate(PRESENT, change), codes())
        assert any(wanted in problem for problem in problems), (name, problems)


BREAKING = [
    ("a path is gone", lambda p, s, d: p.pop("/v1/vms/{vm}/logs")),
    ("a method is gone", lambda p, s, d: p["/v1/vms/{vm}"].pop("patch")),
    ("another id", lambda p, s, d: put(p["/v1/vms"]["get"], operationId="listAllVms")),
    ("a parameter is gone", lambda p, s, d: p["/v1/vms/{vm}/logs"]["get"].pop("parameters")),
    ("a parameter is required now", lambda p, s, d: put(p["/v1/vms"]["get"], parameters=[
        {"name": "x", "in": "query", "required": True, "schema": {"type": "string"}}])),
    ("a parameter that was optional is required", lambda p, s, d: put(
        p["/v1/vms/{vm}/logs"]["get"]["parameters"][1], required=True)),
    ("a parameter takes less", lambda p, s, d: put(
        p["/v1/vms/{vm}/logs"]["get"]["parameters"][1]["schema"], maximum=10)),
    ("a parameter's value is gone", lambda p, s, d: p["/v1/vms/{vm}/logs"]["get"]["parameters"][0]["schema"][
        "enum"].remove("runtime")),
    ("an answer is gone", lambda p, s, d: p["/v1/vms/{vm}:start"]["post"]["responses"].pop("202")),
    ("an answer's header is gone", lambda p, s, d: p["/v1/vms"]["post"]["responses"]["201"].pop("headers")),
    ("an answer's content type is another", lambda p, s, d: put(
        p["/v1/vms"]["get"]["responses"]["200"], content={"text/plain": {"schema": {"type": "string"}}})),
    ("no body any more", lambda p, s, d: p["/v1/vms/{vm}:stop"]["post"].pop("requestBody")),
    ("a body is needed", lambda p, s, d: put(p["/v1/vms/{vm}:stop"]["post"]["requestBody"], required=True)),
    ("a body's content type is gone", lambda p, s, d: p["/v1/vms/{vm}"]["patch"]["requestBody"]["content"].pop(
        "application/merge-patch+json")),
    ("a component is gone", lambda p, s, d: (s.pop("VmError"), put(
        s["Vm"]["properties"], **{name: {"oneOf": [{"type": "object"}, {"type": "null"}]}
                                  for name in ("last_error", "broken")}))),
    ("an answer's member is gone", lambda p, s, d: s["Vm"]["properties"].pop("generation")),
    ("an answer's member may be missing", lambda p, s, d: s["Vm"]["required"].remove("generation")),
    ("an answer's member has another type", lambda p, s, d: put(s["Vm"]["properties"]["generation"],
                                                               type="string")),
    ("an answer's member may be null", lambda p, s, d: put(s["Vm"]["properties"]["generation"],
                                                          type=["integer", "null"])),
    ("an answer's member may be something else", lambda p, s, d: put(s["Vm"]["properties"], name={
        "oneOf": [{"$ref": "#/components/schemas/Name"}, {"type": "null"}]})),
    ("an answer's alternative is gone", lambda p, s, d: s["Vm"]["properties"]["last_exit"]["oneOf"].pop()),
    ("a state is gone", lambda p, s, d: s["VmState"]["enum"].remove("paused")),
    ("another constant", lambda p, s, d: put(s["System"]["properties"]["api_version"], const="v2")),
    ("items of another type", lambda p, s, d: put(s["System"]["properties"]["extensions"],
                                                 items={"type": "integer"})),
    ("a request's member is gone", lambda p, s, d: s["VmCreate"]["properties"].pop("description")),
    ("a request's member is required", lambda p, s, d: s["VmCreate"]["required"].append("memory_mb")),
    ("a request's member may not be null any more", lambda p, s, d: put(
        s["VmUpdate"]["properties"], cmdline={"$ref": "#/components/schemas/CommandLine"})),
    ("a request's minimum is higher", lambda p, s, d: put(s["MemoryMb"], minimum=32)),
    ("a request's maximum is new", lambda p, s, d: put(s["MemoryMb"], maximum=1024)),
    ("a request's text is shorter", lambda p, s, d: put(s["Description"], maxLength=100)),
    ("a request's pattern is another", lambda p, s, d: put(s["Name"], pattern="^[a-z]+$")),
    ("a request's pattern is new", lambda p, s, d: put(s["Description"], pattern="^[a-z]+$")),
    ("a request's type is narrower", lambda p, s, d: put(s["VmStop"]["properties"]["timeout"], type="string")),
    ("a client's frame is gone", lambda p, s, d: s["WsClientFrame"]["oneOf"].pop(1)),
    ("a client's frame needs more", lambda p, s, d: s["WsSubscribe"]["required"].append("vm_id")),
    ("a server's frame is gone", lambda p, s, d: s["WsServerFrame"]["oneOf"].pop(3)),
    ("a server's frame has less", lambda p, s, d: s["WsReady"]["properties"].pop("credit")),
    ("an event has less", lambda p, s, d: s["Event"]["properties"].pop("epoch")),
]

GROWING = [
    ("a path", lambda p, s, d: put(p, **{"/v1/more": p["/v1/vms"]})),
    ("a method", lambda p, s, d: put(p["/v1/vms/{vm}"], put=p["/v1/vms/{vm}"]["get"])),
    ("a parameter", lambda p, s, d: p["/v1/vms"]["get"].setdefault("parameters", []).append(
        {"name": "x", "in": "query", "schema": {"type": "string"}})),
    ("a parameter's value", lambda p, s, d: p["/v1/vms/{vm}/logs"]["get"]["parameters"][0]["schema"]["enum"].append("x")),
    ("an answer", lambda p, s, d: put(p["/v1/vms"]["get"]["responses"], **{"304": {"description": "x"}})),
    ("an answer's member", lambda p, s, d: (put(s["Vm"]["properties"], more={"type": "string"}),
                                           s["Vm"]["required"].append("more"))),
    ("a state", lambda p, s, d: s["VmState"]["enum"].append("hibernated")),
    ("a code", lambda p, s, d: s["Code"]["examples"].append("more")),
    ("a request's member", lambda p, s, d: put(s["VmCreate"]["properties"], more={"type": "string"})),
    ("a request that may be null", lambda p, s, d: put(s["VmStop"]["properties"]["timeout"],
                                                      type=["integer", "null"])),
    ("a request's wider range", lambda p, s, d: put(s["CpuCount"], maximum=128)),
    ("a body that is optional", lambda p, s, d: put(p["/v1/operations/{operation}"]["delete"], requestBody={
        "$ref": "#/components/requestBodies/Empty"})),
    ("a frame", lambda p, s, d: (put(s, WsMore={"type": "object", "properties": {"type": {"const": "more"}}}),
                                 s["WsServerFrame"]["oneOf"].append({"$ref": "#/components/schemas/WsMore"}))),
    ("a description", lambda p, s, d: put(s["Vm"], description="x")),
]


@TAP.test
def losses_are_seen():
    """each way to take something away is found, and each way to add something passes"""
    equal(compare(BASELINE, BASELINE), [])
    for name, change in BREAKING:
        assert compare(BASELINE, mutate(BASELINE, change)), f"not seen: {name}"
    for name, change in GROWING:
        equal(compare(BASELINE, mutate(BASELINE, change)), [], name)


sys.exit(TAP.main())
