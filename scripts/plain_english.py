#!/usr/bin/env python3
"""Measures how far comments, names, messages and pages are from plain technical English, and fails above the limits.

Two figures, each with the places that make it up (`--list` prints all of them):

1. comment lines that open with What, Who, Whoever, Where or Whether, as a share of all lines that open a comment
   sentence (Rust comments): at most 1 %;
2. the words whoever, nobody, somebody, anybody and stranger(s) per 1,000 words of comments, identifiers, string
   literals (Rust, Python, shell) and pages (Markdown): at most 0.1.

The limits are what the code bases show that this project learns from (rustls, tower-http, axum, Cedar).

    scripts/plain_english.py [--list]
"""

import pathlib
import re
import subprocess
import sys

OPENINGS = re.compile(r"(?:What|Who|Whoever|Where|Whether)\b(?!-)")
ODD = re.compile(r"(?i)^(?:whoever|nobody|somebody|anybody|strangers?)$")
COMMENT = re.compile(r"^\s*//[/!]?\s?(.*)$")
WORD = re.compile(r"[A-Za-z][a-z]*|[A-Z]+(?![a-z])")

MAX_OPENINGS = 0.01
MAX_ODD_PER_1000 = 0.1

CODE = {".rs", ".py", ".sh", ".go", ".ts", ".mjs", ".md", ".toml", ".yaml", ".yml"}
# This file names the words that it counts.
EXCLUDED = {"scripts/plain_english.py", "LICENSE-APACHE", "LICENSE-MIT"}


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in listed if pathlib.Path(name).suffix in CODE and name not in EXCLUDED]


def main() -> int:
    every = "--list" in sys.argv[1:]
    openings, comments, odd, words = [], 0, [], 0
    for name in tracked_files():
        path = pathlib.Path(name)
        if not path.exists():
            continue
        in_comment = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for word in WORD.findall(line):
                words += 1
                if ODD.match(word):
                    odd.append(f"{name}:{number}: {line.strip()}")
            comment = COMMENT.match(line) if path.suffix == ".rs" else None
            if comment and comment[1] and not in_comment:
                comments += 1
                if OPENINGS.match(comment[1]):
                    openings.append(f"{name}:{number}: {comment[1]}")
            in_comment = bool(comment and comment[1])
    share, rate = len(openings) / max(comments, 1), 1000 * len(odd) / max(words, 1)
    shown = None if every else 20
    for title, places in (("comments that open with a question word", openings), ("odd words", odd)):
        for place in places[:shown]:
            print(f"{title}: {place}")
    print(f"comments that open with What/Who/Whoever/Where/Whether: {len(openings)} of {comments} ({share:.2%}, limit {MAX_OPENINGS:.0%})")
    print(f"whoever/nobody/somebody/anybody/stranger: {len(odd)} in {words} words ({rate:.3f} per 1,000, limit {MAX_ODD_PER_1000})")
    return int(share > MAX_OPENINGS or rate > MAX_ODD_PER_1000)


if __name__ == "__main__":
    sys.exit(main())
