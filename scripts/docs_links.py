#!/usr/bin/env python3
"""A preprocessor of mdBook: links that leave docs/ become links into the repository on the web.

In the repository `../SECURITY.md` works as it stands; in the book there is no such page. A link to a file that does not exist
stops the build.
"""

import json
import re
import sys
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
WEB = "https://github.com/agentwrit/agentwrit-rs"
FENCE = re.compile(r"^(```+|~~~+)")
CODE_OR_LINK = re.compile(r"(`+).*?\1|(?P<before>\]\(|^\[(?!\^)[^\]]+\]: )(?P<path>[^)\s#]*)(?P<anchor>#[^)\s]*)?")

missing: list[str] = []


def rewrite(content: str, page: Path) -> str:
    """Line by line, so that code stays as it is."""
    lines, fence = [], None
    for line in content.split("\n"):
        found = FENCE.match(line)
        if found and (fence is None or line.startswith(fence)):
            fence = None if fence else found[1]
        elif fence is None:
            line = CODE_OR_LINK.sub(lambda found: target(found, page) if found["before"] else found[0], line)
        lines.append(line)
    return "\n".join(lines)


def target(link: re.Match, page: Path) -> str:
    prefix, path, anchor = link["before"], link["path"], link["anchor"] or ""
    if not path or re.match(r"[a-z]+:", path):
        return link[0]
    file = (page.parent / path).resolve()
    if not file.exists():
        missing.append(f"{page.relative_to(REPOSITORY)}: {path}")
        return link[0]
    if file.suffix == ".md" and anchor and not file.is_relative_to(DOCS) and anchor[1:] not in anchors(file):
        missing.append(f"{page.relative_to(REPOSITORY)}: {path}{anchor}")
    if file.is_relative_to(DOCS):
        # mdBook calls that page index.html.
        return f"{prefix}{path.removesuffix('README.md')}index.md{anchor}" if path.endswith("README.md") else link[0]
    inside = PurePosixPath(file.relative_to(REPOSITORY))
    return f"{prefix}{WEB}/{'tree' if file.is_dir() else 'blob'}/main/{inside}{anchor}"


def anchors(file: Path) -> set[str]:
    """Those that GitHub gives to the headings of a page. Inside the book scripts/docs_check.py looks at the built pages."""
    headings = re.findall(r"^#+ +(.*?) *$", file.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def walk(items: list) -> None:
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            if chapter.get("path"):
                page = DOCS / (chapter.get("source_path") or chapter["path"])
                chapter["content"] = rewrite(chapter["content"], page)
            walk(chapter["sub_items"])


def main() -> None:
    if sys.argv[1:2] == ["supports"]:
        sys.exit(0)
    _, book = json.load(sys.stdin)
    walk(book.get("items") or book.get("sections"))
    if missing:
        sys.exit("links to files that do not exist:\n  " + "\n  ".join(missing))
    json.dump(book, sys.stdout)


main()
