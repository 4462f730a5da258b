#!/usr/bin/env python3
"""Compares the module tables of ARCHITECTURE.md with the modules that exist, and fails where they differ.

    scripts/architecture.py

1. Each crate with sources has a section `### CRATE`. Every module of it is named there in backticks: by its name, or by its
   path below `src/`. Test modules are left out.
2. Every name in the first column of a section's table is a module, or a directory of modules, of that crate.
3. Every `file.rs` and `directory/file.rs` that the page names exists.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
TESTS = re.compile(r"(^|/)(tests|\w+_tests)(/|\.rs$)")
CODE = re.compile(r"`([^`]+)`")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.rs", "*/Cargo.toml"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split() if (ROOT / name).exists()]


def modules(crate: str, files: list[str]) -> set[str]:
    """Paths below `src/` of a crate's modules, without `.rs` and `/mod.rs`."""
    inside = [name.removeprefix(f"{crate}/src/") for name in files if name.startswith(f"{crate}/src/")]
    paths = {name.removesuffix(".rs").removesuffix("/mod") for name in inside if not TESTS.search(name)}
    return paths - {"lib", "main"}


def problems() -> list[str]:
    page, files, found = PAGE.read_text(encoding="utf-8"), tracked(), []
    manifests = [Path(name) for name in files if name.endswith("/Cargo.toml")]
    crates = sorted(path.parent.name for path in manifests if len(path.parts) == 2 and path.parent.name not in ("benches", "fuzz"))
    for crate in crates:
        section = re.search(rf"^### {crate}\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE)
        if not section:
            found.append(f"no section `### {crate}`")
            continue
        existing = modules(crate, files)
        directories = {parent.as_posix() for path in existing for parent in Path(path).parents}
        names = existing | directories | {Path(path).name for path in existing | directories}
        named = {word.removesuffix("/").removesuffix(".rs") for word in CODE.findall(section[1])}
        found += [f"{crate}: the module `{path}` is not named" for path in sorted(existing) if not {path, Path(path).name} & named]
        for row in re.findall(r"^\| ([^|]*) \|", section[1], re.MULTILINE):
            for word in CODE.findall(row):
                if word.removesuffix("/").removesuffix(".rs") not in names | {"lib", "main"}:
                    found.append(f"{crate}: there is no module `{word}`")
    for name in sorted({word for word in CODE.findall(page) if re.fullmatch(r"[\w/-]+\.rs", word)}):
        if not any(file == name or file.endswith(f"/{name}") for file in files):
            found.append(f"there is no file `{name}`")
    return found


def main() -> None:
    found = problems()
    if found:
        sys.exit("\n".join(f"ARCHITECTURE.md: {problem}" for problem in found))
    print("ARCHITECTURE.md names every module that exists, and no other")


if __name__ == "__main__":
    main()
