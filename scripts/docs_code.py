#!/usr/bin/env python3
"""Writes the code of example programs into the pages that show it, so that a reader of the repository sees it too.

    docs_code.py            write
    docs_code.py --check    fail when a page is not current

A comment before a block of code names the program and the region between `ANCHOR: name` and `ANCHOR_END: name` in it:

    <!-- code: examples/clients/go/agent.go:register -->
"""

import re
import sys
import textwrap
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^(<!-- code: (?P<file>[^\s:]+):(?P<anchor>\w+) -->\n(?P<fence>```+)(?P<info>.+)\n)(?:.*\n)*?(?P=fence)$", re.M)


def excerpt(file: str, anchor: str) -> str:
    """The region at the margin, without the marks of regions within it."""
    text = (REPOSITORY / file).read_text()
    found = re.findall(rf"^.*\bANCHOR: {anchor}\n((?:.*\n)*?).*\bANCHOR_END: {anchor}$", text, re.M)
    if len(found) != 1:
        sys.exit(f"{file}: {len(found)} regions `{anchor}`, not one")
    lines = [line for line in found[0].splitlines() if not re.search(r"\bANCHOR(_END)?: ", line)]
    code = textwrap.dedent("\n".join(lines)).strip("\n")
    if not code.strip():
        sys.exit(f"{file}: the region `{anchor}` is empty")
    return code


def current(page: str) -> str:
    return BLOCK.sub(lambda block: f"{block[1]}{excerpt(block['file'], block['anchor'])}\n{block['fence']}", page)


def main() -> None:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale, blocks = [], 0
    for page in sorted((REPOSITORY / "docs").rglob("*.md")):
        text = page.read_text()
        blocks += len(BLOCK.findall(text))
        if re.search(r"^<!-- code: ", BLOCK.sub("", text), re.M):
            sys.exit(f"{page.relative_to(REPOSITORY)}: a `<!-- code: … -->` without its block of code")
        written = current(text)
        if written != text:
            stale.append(str(page.relative_to(REPOSITORY)))
            if not check:
                page.write_text(written)
    if check and stale:
        sys.exit(f"not current, run scripts/docs_code.py: {', '.join(stale)}")
    print(f"{blocks} excerpts of programs, all current")


if __name__ == "__main__":
    main()
