#!/usr/bin/env python3
"""Lists the public API of the published libraries in docs/reference/public-api/, one file for each crate.

    scripts/public_api.py            write the lists
    scripts/public_api.py --check    fail if a list differs from the code, and print the difference

1. The source is rustdoc's JSON with all features; `RUSTC_BOOTSTRAP=1` enables that output on the stable toolchain. Only
   rustdoc gets the variable: build scripts that watch it would rebuild the dependencies.
2. A line is the path of an item and its declaration as written, without body and documentation. Implementations of
   traits are listed by name; auto traits and blanket implementations are not.
3. A removed or changed line is a breaking change, an added one is a new feature: both are visible in review.
"""

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference" / "public-api"
CRATES = ["agentwrit-json", "agentwrit-verify", "agentwrit-protocol", "agentwrit-tower", "agentwrit-client"]
# Declarations that end at their body or at a semicolon.
BODIES = {"function", "struct", "enum", "trait", "union", "constant", "assoc_const", "type_alias", "assoc_type", "static"}


def rustdoc(crate: str) -> dict:
    command = ["cargo", "rustdoc", "--quiet", "--package", crate, "--lib", "--all-features", "--"]
    command += ["-Z", "unstable-options", "--output-format", "json"]
    with tempfile.TemporaryDirectory() as directory:
        wrapper = Path(directory) / "rustdoc"
        wrapper.write_text('#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "RUSTDOC": str(wrapper)})
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return json.loads((target / "doc" / f"{crate.replace('-', '_')}.json").read_text(encoding="utf-8"))


def declaration(item: dict, kind: str) -> str:
    """The item's source up to its body, on one line."""
    span = item["span"]
    if span is None:
        return kind
    lines = (ROOT / span["filename"]).read_text(encoding="utf-8").splitlines()
    (first, start), (last, end) = span["begin"], span["end"]
    text = lines[first - 1 : last]
    text[-1] = text[-1][: end - 1]
    text[0] = text[0][start - 1 :]
    source = "\n".join(line for line in text if not re.match(r"\s*(//|#\[)", line))
    if kind in BODIES:
        depth = 0
        for index, character in enumerate(source):
            if character in "([<":
                depth += 1
            elif character in ")]" or (character == ">" and source[index - 1] not in "-="):
                depth -= 1
            elif character in "{;" and depth == 0 or (character == "=" and depth == 0 and kind in ("constant", "assoc_const", "static")):
                source = source[:index]
                break
        if kind == "struct" and has_private_fields(item):
            source = source.split("(")[0]
    elif kind == "variant":
        source = re.split(r"[{=]", source)[0]
    return " ".join(source.split()).rstrip(", ")


def has_private_fields(item: dict) -> bool:
    shape = item["inner"]["struct"]["kind"]
    return isinstance(shape, dict) and None in shape.get("tuple", [])


class Api:
    def __init__(self, crate: str):
        self.data = rustdoc(crate)
        self.index = self.data["index"]
        self.lines: set[str] = set()
        self.seen: set[tuple[str, str]] = set()
        root = self.index[str(self.data["root"])]
        self.module(root, root["name"])

    def get(self, identity: int) -> dict | None:
        return self.index.get(str(identity))

    def module(self, item: dict, path: str) -> None:
        for child in item["inner"]["module"]["items"]:
            self.item(self.get(child), path)

    def item(self, item: dict | None, path: str) -> None:
        if item is None or item["visibility"] not in ("public", "default"):
            return
        (kind, inner), = item["inner"].items()
        if kind == "use":
            self.reexport(inner, path)
            return
        name = f"{path}::{item['name']}"
        if kind == "module":
            self.lines.add(f"{name}: module")
            self.module(item, name)
        elif (name, kind) not in self.seen:
            self.seen.add((name, kind))
            self.named(item, kind, inner, name)

    def reexport(self, inner: dict, path: str) -> None:
        target = self.get(inner["id"]) if inner["id"] is not None else None
        if target is None:
            self.lines.add(f"{path}::{inner['name']}: use {inner['source']}")
        elif "module" in target["inner"]:
            name = path if inner["is_glob"] else f"{path}::{inner['name']}"
            self.module(target, name)
        else:
            self.item({**target, "name": inner["name"], "visibility": "public"}, path)

    def named(self, item: dict, kind: str, inner: dict, name: str) -> None:
        marks = "".join(f"#[{mark}] " for mark in ("non_exhaustive", "must_use") if any(mark in str(a) for a in item["attrs"]))
        self.lines.add(f"{name}: {marks}{declaration(item, kind)}")
        if kind == "struct":
            shape = inner["kind"]
            fields = shape["plain"]["fields"] if isinstance(shape, dict) and "plain" in shape else []
            self.members(fields, name)
        elif kind == "enum":
            self.members(inner["variants"], name)
        elif kind == "variant":
            shape = inner["kind"]
            self.members(shape["struct"]["fields"] if isinstance(shape, dict) and "struct" in shape else [], name)
        elif kind == "trait":
            self.members(inner["items"], name)
        for identity in inner.get("impls", []) if isinstance(inner, dict) else []:
            self.implementation(self.get(identity), item["id"], name)

    def members(self, identities: list, name: str) -> None:
        for identity in identities:
            self.item(self.get(identity), name)

    def implementation(self, item: dict | None, of: int, name: str) -> None:
        if item is None:
            return
        inner = item["inner"]["impl"]
        # An implementation for another type with this one as an argument is listed here too.
        if inner["for"].get("resolved_path", {}).get("id", of) != of:
            return
        if inner["is_synthetic"] or inner["blanket_impl"] is not None:
            return
        if inner["trait"] is None:
            for identity in inner["items"]:
                member = self.get(identity)
                if member and member["visibility"] == "public":
                    self.item(member, name)
        else:
            implemented = inner["trait"]
            if implemented["path"] == "StructuralPartialEq":
                return
            arguments = generic_arguments(implemented.get("args"))
            self.lines.add(f"{name}: impl {implemented['path']}{arguments}")


def generic_arguments(arguments: dict | None) -> str:
    listed = (arguments or {}).get("angle_bracketed", {}).get("args", [])
    names = [type_name(argument["type"]) for argument in listed if "type" in argument]
    return f"<{', '.join(names)}>" if names else ""


def type_name(of: dict) -> str:
    (kind, inner), = of.items()
    if kind == "resolved_path":
        return inner["path"] + generic_arguments(inner["args"])
    if kind == "borrowed_ref":
        return "&" + type_name(inner["type"])
    return str(inner) if isinstance(inner, str) else kind


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = False
    for crate in CRATES:
        text = "\n".join(sorted(Api(crate).lines)) + "\n"
        page = PAGES / f"{crate}.txt"
        if not check:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
            continue
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        if before != text:
            stale = True
            name = str(page.relative_to(ROOT))
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), text.splitlines(True), name, "code", n=0))
    if stale:
        print("the public API differs from docs/reference/public-api: run scripts/public_api.py and review the difference", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
