#!/usr/bin/env python3
"""Checks the links of the built book: every page and every #anchor that a page of ours links to is there.

    docs_check.py target/book
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.twice: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                if value in self.ids:
                    self.twice.append(value)
                self.ids.add(value)
            elif value and (name == "href" and tag in ("a", "link") or name == "src" and tag in ("img", "script")):
                self.links.append(value)


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    # One page of all the others, and the list that every page loads into its side.
    pages = {path: Page(path) for path in sorted(root.rglob("*.html")) if path.name not in ("print.html", "404.html")}
    wrong, checked = [], 0
    for path, page in pages.items():
        wrong += [f"{path.relative_to(root)}: the id `{id}` is there twice" for id in page.twice]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if file.is_dir():
                file /= "index.html"
            if not file.is_file():
                wrong.append(f"{path.relative_to(root)}: {link}: there is no such file")
            elif not file.is_relative_to(root):
                wrong.append(f"{path.relative_to(root)}: {link}: leaves the book")
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].ids:
                wrong.append(f"{path.relative_to(root)}: {link}: there is no such anchor")
    if wrong:
        sys.exit("\n".join(sorted(set(wrong))))
    print(f"{len(pages)} pages, {checked} links within them, all there")


main()
