#!/usr/bin/env python3
"""Fails if top-level modules of a crate import each other in a circle, and prints each circle with the files that make it.

    scripts/import_cycles.py [CRATE …]      agentwrit-broker unless others are named

1. An import is any path that begins with `crate::`; tests (`tests.rs`, `tests/`, `*_tests/`, `mod tests { … }`) and
   comments are left out.
2. The crate's root (`lib.rs`, `main.rs`) may import every module.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = re.compile(r"(^|/)(tests|\w+_tests)(/|\.rs$)")
LIST = re.compile(r"\bcrate::\{")
SINGLE = re.compile(r"\bcrate::(\w+)")


def braced(text: str, start: int) -> list[str]:
    """First names of the entries of the list that opens before `start`."""
    depth, entry, names = 1, "", []
    for char in text[start:]:
        depth += (char == "{") - (char == "}")
        if depth == 0 or (depth == 1 and char == ","):
            names.append(entry.strip().split("::")[0])
            entry = ""
            if depth == 0:
                break
        else:
            entry += char
    return names


def imports(source: Path) -> dict[str, dict[str, set[str]]]:
    """For each top-level module the modules that it imports, and in which files."""
    rooms = {path.stem for path in source.iterdir() if path.is_dir() or path.suffix == ".rs"} - {"lib", "main", "bin"}
    found: dict[str, dict[str, set[str]]] = {room: {} for room in rooms}
    for file in sorted(source.rglob("*.rs")):
        inside = file.relative_to(source).as_posix()
        room = inside.split("/")[0].removesuffix(".rs")
        if room not in rooms or TESTS.search(inside):
            continue
        text = re.sub(r"^\s*//.*$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        text = text.split("#[cfg(test)]\nmod tests {")[0]
        names = SINGLE.findall(text) + [name for match in LIST.finditer(text) for name in braced(text, match.end())]
        for name in rooms.intersection(names) - {room}:
            found[room].setdefault(name, set()).add(inside)
    return found


def reachable(graph: dict[str, dict[str, set[str]]], start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        new = set(graph[waiting.pop()]) - seen
        seen |= new
        waiting.extend(new)
    return seen


def main() -> int:
    failed = False
    for crate in sys.argv[1:] or ["agentwrit-broker"]:
        graph = imports(ROOT / crate / "src")
        reach = {room: reachable(graph, room) for room in graph}
        circles = {frozenset(other for other in graph if other in reach[room] and room in reach[other]) for room in graph if room in reach[room]}
        for circle in sorted(circles, key=sorted):
            failed = True
            print(f"{crate}: these modules import each other in a circle: {', '.join(sorted(circle))}")
            for room in sorted(circle):
                for name in sorted(circle & graph[room].keys()):
                    print(f"  {room} -> {name}: {', '.join(sorted(graph[room][name]))}")
        if not circles:
            print(f"{crate}: {len(graph)} modules, no import circle")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
