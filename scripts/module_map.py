#!/usr/bin/env python3
"""Writes the module lists of ARCHITECTURE.md from the first sentence of each module's own documentation.

    scripts/module_map.py            write them
    scripts/module_map.py --check    fail if they are not what would be written

1. A list stands between `<!-- modules of CRATE -->` and `<!-- end of modules -->`; each crate of the workspace that is
   published or runs as a program has one.
2. Files with tests only (`tests.rs`, `tests/`, `*_tests/`) are left out.
3. A module without a `//!` sentence is an error.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
SECTION = re.compile(r"(<!-- modules of (\S+) -->\n).*?(<!-- end of modules -->)", re.DOTALL)
TESTS = re.compile(r"(^|/)(tests|\w+_tests)(/|\.rs$)")
# The documentation of these roots is their README, or the crate's description.
ROOTS = {"lib.rs", "main.rs"}


def crates() -> list[str]:
    """Directories of the crates whose modules are listed."""
    listed = subprocess.run(["git", "ls-files", "*/Cargo.toml"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path.parent.name for path in map(Path, listed.split()) if len(path.parts) == 2 and path.parent.name not in ("benches", "fuzz")]


def first_sentence(file: Path) -> str:
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//!"):
            break
        text = line.removeprefix("//!").strip()
        if not text:
            break
        lines.append(text)
    match = re.match(r".*?[.:;](?=\s|$)", " ".join(lines))
    return (match[0] if match else " ".join(lines)).rstrip(".:;")


def modules(crate: str) -> str:
    source = ROOT / crate / "src"
    rows, undocumented = [], []
    tracked = subprocess.run(["git", "ls-files", f"{crate}/src/*.rs"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for name in sorted(tracked, key=lambda name: (name.removesuffix("/mod.rs").removesuffix(".rs").replace("/", "\x01"))):
        file = ROOT / name
        inside = file.relative_to(source).as_posix()
        if TESTS.search(inside) or inside in ROOTS or not file.exists():
            continue
        sentence = first_sentence(file)
        if not sentence:
            undocumented.append(name)
        rows.append(f"- `{inside}`: {sentence}")
    if undocumented:
        sys.exit("\n".join(f"{name}: begins with no `//!` sentence" for name in undocumented))
    return "\n".join(rows) + "\n"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = set(crates()) - {match[2] for match in SECTION.finditer(page)}
    if missing:
        sys.exit(f"ARCHITECTURE.md: no module list of {', '.join(sorted(missing))}")
    written = SECTION.sub(lambda match: f"{match[1]}{modules(match[2])}{match[3]}", page)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(written, encoding="utf-8")
    elif written != page:
        sys.exit("ARCHITECTURE.md: a module list is not what the modules say: run scripts/module_map.py")


if __name__ == "__main__":
    main()
