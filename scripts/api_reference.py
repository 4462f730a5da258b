#!/usr/bin/env python3
"""Writes docs/reference/api.md, the reference of the HTTP API, from docs/openapi.json.

    scripts/api_reference.py            write it
    scripts/api_reference.py --check    fail if it is not what would be written
"""

import json
import sys
from http import HTTPStatus
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "reference/api.md"
DOCUMENT = json.loads((DOCS / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
# Shapes that are linked to, and so must be described.
mentioned: set[str] = set()


def resolve(node: dict) -> dict:
    """What a `$ref` stands for; what stands beside it counts more."""
    if "$ref" not in node:
        return node
    found: object = DOCUMENT
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return {**resolve(found), **{key: value for key, value in node.items() if key != "$ref"}}


def ref_name(schema: dict) -> str | None:
    return schema["$ref"].rsplit("/", 1)[1] if "$ref" in schema else None


def is_object(schema: dict) -> bool:
    whole = resolve(schema)
    return "properties" in whole and bool(whole["properties"])


def anchor(name: str) -> str:
    return f"#{name.lower()}"


def kind(schema: dict) -> str:
    """A word or two, with a link where more is to be said."""
    name, whole = ref_name(schema), resolve(schema)
    if name:
        mentioned.add(name)
        return f"[{name}]({anchor(name)})"
    if "const" in whole:
        return code(whole["const"])
    if "enum" in whole:
        return ", ".join(code(value) for value in whole["enum"])
    if whole.get("type") == "array":
        return f"list of {kind(whole['items'])}" if isinstance(whole.get("items"), dict) and whole["items"].get("type") != "array" else "list"
    kinds = whole.get("type", "string")
    names = {"integer": "number", "boolean": "true or false"}
    return " or ".join(names.get(kind, kind) for kind in (kinds if isinstance(kinds, list) else [kinds]))


def code(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def limits(schema: dict) -> str:
    whole, said = resolve(schema), []
    least, most = whole.get("minimum"), whole.get("maximum")
    if least is not None and most is not None:
        said.append(f"{least} to {most}")
    elif least is not None and least > 0:
        said.append(f"at least {least}")
    if "maxLength" in whole and not ref_name(schema):
        said.append(f"at most {whole['maxLength']} bytes")
    if "default" in whole:
        said.append(f"default {code(whole['default'])}")
    return "; ".join(said)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def sentence(*parts: str) -> str:
    return " ".join(part if part.endswith((".", ":")) else f"{part}." for part in parts if part)


def members(schema: dict) -> list[str]:
    whole = resolve(schema)
    required = set(whole.get("required", []))
    lines = ["| member | | meaning |", "|---|---|---|"]
    for name, member in whole["properties"].items():
        name = f"`{name}`" if name in required else f"`{name}` (optional)"
        meaning = sentence(resolve(member).get("description", "") if "description" in member or not ref_name(member) else "", limits(member).capitalize())
        lines.append(f"| {name} | {cell(kind(member))} | {cell(meaning)} |")
    return lines


def example(schema: dict) -> list[str]:
    found = resolve(schema).get("examples")
    return ["", "```json", json.dumps(shortened(found[0]), indent=2, ensure_ascii=False), "```"] if found else []


def shortened(value: object) -> object:
    """Long texts that mean nothing are cut, so that the example can be read."""
    if isinstance(value, dict):
        return {name: shortened(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    if isinstance(value, str) and len(value) > 80 and " " not in value and not value.startswith("spiffe:"):
        return f"{value[:24]}…"
    return value


def body(schema: dict) -> list[str]:
    """The members here if it is an object, else a link; lists and unions are described with the shapes."""
    lines: list[str] = []
    if is_object(schema):
        lines += ["", *members(schema)]
    else:
        lines += ["", f"Body: {kind(schema)}."]
    return lines + example(schema)


def operation(method: str, path: str, shared: list[dict], what: dict) -> list[str]:
    lines = ["", f"### `{method.upper()} {path}`", "", sentence(what["summary"], what.get("description", ""))]
    scopes = [scope for way in what.get("security", []) for scope in way.get("bearer", [])]
    if scopes:
        lines += ["", f"**Bearer token** with {' '.join(code(scope) for scope in scopes)}."]
    elif what.get("security"):
        lines += ["", "**Bearer token**: any valid one."]
    parameters = [resolve(parameter) for parameter in what.get("parameters", [])]
    parameters += [one for one in map(resolve, shared) if one["name"] != "X-Request-ID"]
    if parameters:
        lines += ["", "| parameter | | meaning |", "|---|---|---|"]
        for one in parameters:
            where = {"query": "query", "path": "in the path", "header": "header"}[one["in"]]
            meaning = sentence(one.get("description", ""), limits(one["schema"]).capitalize())
            lines.append(f"| `{one['name']}` | {where}, {cell(kind(one['schema']))} | {cell(meaning)} |")
    if "requestBody" in what:
        lines += ["", "**Request**"]
        for media, content in what["requestBody"]["content"].items():
            if media == "application/json":
                lines += body(content["schema"])
            else:
                lines += ["", f"Body: `{media}`, {kind(content['schema'])}."]
    refusals = []
    for status, answer in what["responses"].items():
        answer = resolve(answer)
        if int(status) >= 400:
            refusals.append(f"| {status} | {cell(answer['description'])} |")
            continue
        lines += ["", f"**{status} {HTTPStatus(int(status)).phrase}**: {sentence(answer['description'])}"]
        for media, content in answer.get("content", {}).items():
            if media == "application/json":
                lines += body(content["schema"])
            else:
                lines += ["", f"Body: `{media}`, {kind(content['schema'])}."]
    lines += ["", "| refused | because |", "|---|---|", *refusals]
    return lines


def shapes() -> list[str]:
    lines = ["", "## Shapes", "", "What the members above are made of."]
    written: dict[str, list[str]] = {}
    # Describing one may mention another.
    while wanted := mentioned - written.keys():
        written |= {name: shape(name, SCHEMAS[name]) for name in wanted}
    for name in SCHEMAS:
        lines += written.get(name, [])
    return lines


def shape(name: str, schema: dict) -> list[str]:
    lines = ["", f"### {name}", ""]
    said = [sentence(schema["description"])] if "description" in schema else []
    if "oneOf" in schema:
        lines += said + (["", "One of two:"] if said else ["One of two:"])
        for one in schema["oneOf"]:
            lines += ["", *members(one)]
        lines += example(schema)
    elif is_object(schema):
        lines += said + ([""] if said else []) + members(schema)
    else:
        facts = [kind(schema)]
        pattern = schema.get("pattern")
        facts += [limits(schema)] if limits(schema) else []
        lines.append(sentence(*said, "; ".join(facts)[:1].upper() + "; ".join(facts)[1:]))
        if pattern:
            lines += ["", f"Pattern: `{pattern}`"]
        inner = schema.get("contentSchema", {}).get("prefixItems")
        if inner:
            lines += ["", f"Its payload is {kind(inner[1])}."]
        if schema.get("examples") and not pattern:
            lines += ["", f"Example: {code(schema['examples'][0])}"]
    return lines


def page() -> str:
    info = DOCUMENT["info"]
    lines = [
        "<!-- Made by scripts/api_reference.py from docs/openapi.json: change that. -->",
        "",
        "# HTTP API",
        "",
        "After this page you know every endpoint of the broker: who may call it, what goes in and what comes out. The same as a",
        "document for programs (OpenAPI 3.1) is [openapi.json](../openapi.json), which a broker also serves at",
        "`GET /v1/openapi.json`.",
        "",
        info["description"],
        "",
        "Every answer carries `X-Request-ID`: yours, if you sent a well-formed one, else one that the broker made. What each",
        "`error_code` means and what to do about it stands in [Error codes](errors.md).",
        "",
        "| endpoint | does | for |",
        "|---|---|---|",
    ]
    for path, item in DOCUMENT["paths"].items():
        for method, what in item.items():
            if method != "parameters":
                title = f"{method.upper()} {path}"
                lines.append(f"| [`{title}`](#{slug(title)}) | {cell(what['summary'])} | {what['tags'][0]} |")
    for tag in DOCUMENT["tags"]:
        lines += ["", f"## {tag['name']}", "", tag["description"]]
        for path, item in DOCUMENT["paths"].items():
            for method, what in item.items():
                if method != "parameters" and what["tags"][0] == tag["name"]:
                    lines += operation(method, path, item.get("parameters", []), what)
    return "\n".join(lines + shapes()) + "\n"


def slug(title: str) -> str:
    """As mdBook and GitHub make the anchor of a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " _-")
    return kept.replace(" ", "-")


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text() != page():
            sys.exit("docs/reference/api.md is stale: run scripts/api_reference.py")
        return
    if sys.argv[1:]:
        sys.exit("scripts/api_reference.py [--check]")
    PAGE.write_text(page())


main()
