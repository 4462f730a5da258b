#!/usr/bin/env python3
"""Fails if files of a crate, or top-level modules of the broker, import each other in a circle, and prints each circle.

    scripts/import_cycles.py [CRATE …]      the workspace's crates unless others are named

1. An import is a path that begins with `crate::`, `self::` or `super::`. A re-export (`pub use`) is none. Tests (`tests.rs`,
   `tests/`, `mod tests { … }`) and comments are left out.
2. A path leads to the file of its innermost module: a name that `mod.rs` re-exports, to `mod.rs`. Imports between a module
   and its children, in either direction, make no circle.
3. In the broker, top-level modules make no circle either.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = re.compile(r"(^|/)tests(/|\.rs$)")
USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))? )?use ([^;]+);", re.MULTILINE)
INLINE = re.compile(r"(?<![\w:$])((?:crate|self|super)(?:::\w+)+)")

Path_ = tuple[str, ...]


def entries(tree: str) -> list[Path_]:
    """The paths of a `use` tree."""
    before, brace, _ = tree.partition("{")
    prefix = tuple(re.findall(r"\w+", before.partition(" as ")[0]))
    if not brace:
        return [prefix[:-1] if prefix[-1:] == ("self",) and len(prefix) > 1 else prefix]
    inner = [path for entry in split(tree[len(before) + 1 : tree.rindex("}")]) for path in entries(entry)]
    return [prefix if path == ("self",) else prefix + path for path in inner]


def split(text: str) -> list[str]:
    """The entries of a list, split at its own commas."""
    depth, entry, found = 0, "", []
    for char in text:
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            found.append(entry)
            entry = ""
        else:
            entry += char
    return [entry for entry in [*found, entry] if entry.strip()]


class Crate:
    """Files of a crate with their imports."""

    def __init__(self, source: Path) -> None:
        self.files: dict[Path_, str] = {}
        self.texts: dict[Path_, str] = {}
        for file in sorted(source.rglob("*.rs")):
            inside = file.relative_to(source).as_posix()
            if TESTS.search(inside) or inside.startswith("bin/"):
                continue
            text = re.sub(r"^\s*//.*$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            parts = tuple(inside.removesuffix(".rs").split("/"))
            if parts[-1] == "mod" or parts in {("lib",), ("main",)}:
                parts = parts[:-1]
            self.files.setdefault(parts, inside)
            self.texts[parts] = self.texts.get(parts, "") + re.split(r"#\[cfg\(test\)\]\s*mod tests \{", text)[0]
        self.uses = {module: [self.absolute(module, path) for public, tree in USE.findall(text) if not public for path in entries(tree)]
                     for module, text in self.texts.items()}

    def absolute(self, module: Path_, path: Path_) -> Path_ | None:
        """A path from the crate's root; `None` for one into another crate."""
        if path[0] == "crate":
            return path[1:]
        if path[0] == "self":
            return module + path[1:]
        if path[0] == "super":
            return self.absolute(module[:-1], ("self", *path[1:]))
        return module + path if (*module, path[0]) in self.files else None

    def module(self, path: Path_) -> tuple[Path_, str]:
        """The module of a path, and the name in it."""
        length = max(length for length in range(len(path) + 1) if path[:length] in self.files)
        return path[:length], "::".join(path[length : length + 1])

    def imports(self) -> dict[Path_, dict[Path_, set[str]]]:
        """For each file the files that it imports, and the names."""
        found: dict[Path_, dict[Path_, set[str]]] = {module: {} for module in self.files}
        for module, text in self.texts.items():
            inline = [self.absolute(module, tuple(path.split("::"))) for path in INLINE.findall(USE.sub("", text))]
            for target in filter(None, inline + self.uses[module]):
                other, name = self.module(target)
                shorter = min(len(module), len(other))
                if other[:shorter] != module[:shorter]:
                    found[module].setdefault(other, set()).add(name or "self")
        return found


def circles(graph: dict[Path_, dict[Path_, set[str]]]) -> list[list[Path_]]:
    """The largest sets of nodes that reach each other."""
    reach = {node: reachable(graph, node) for node in graph}
    return sorted({tuple(sorted(other for other in reach[node] if node in reach[other])) for node in graph if node in reach[node]})


def reachable(graph: dict[Path_, dict[Path_, set[str]]], start: Path_) -> set[Path_]:
    seen, waiting = set(), [start]
    while waiting:
        new = set(graph[waiting.pop()]) - seen
        seen |= new
        waiting.extend(new)
    return seen


def rooms(graph: dict[Path_, dict[Path_, set[str]]]) -> dict[Path_, dict[Path_, set[str]]]:
    """The graph between top-level modules, with the files that make each import."""
    found: dict[Path_, dict[Path_, set[str]]] = {module[:1]: {} for module in graph}
    for module, imported in graph.items():
        for other in imported:
            if other[:1] != module[:1]:
                found[module[:1]].setdefault(other[:1], set()).add("::".join(module))
    return found


def report(crate: str, kind: str, graph: dict[Path_, dict[Path_, set[str]]]) -> int:
    found = circles(graph)
    for circle in found:
        print(f"{crate}: these {kind} import each other in a circle: {', '.join(map('::'.join, circle))}")
        for node in circle:
            for other in sorted(set(circle) & graph[node].keys()):
                print(f"  {'::'.join(node)} -> {'::'.join(other)}: {', '.join(sorted(graph[node][other]))}")
    if not found:
        print(f"{crate}: {len(graph)} {kind}, no import circle")
    return len(found)


def main() -> int:
    crates = sys.argv[1:] or sorted(path.parent.name for path in ROOT.glob("*/src") if (path.parent / "Cargo.toml").exists())
    failed = 0
    for crate in crates:
        graph = Crate(ROOT / crate / "src").imports()
        failed += report(crate, "files", graph)
        if crate == "agentwrit-broker":
            failed += report(crate, "modules", rooms(graph))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
