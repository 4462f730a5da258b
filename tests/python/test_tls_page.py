"""docs/operators/tls-and-mtls.md, line by line, against the real broker.

Every `sh` block runs, one after the other in one shell. What a comment below it says must hold: `prints:` text is in its
output; `fails:` its last line fails and the error matches the expression.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from brokers import free_port
from conftest import REPOSITORY, broker_binary

PAGE = REPOSITORY / "docs/operators/tls-and-mtls.md"
BLOCK = re.compile(r"^```sh\n(?P<code>.*?)^```\n(?P<comments>(?:\n?<!-- (?:prints|fails): .*? -->\n)*)", re.M | re.S)


@dataclass
class Block:
    code: str
    prints: list[str]
    fails: str | None


def blocks() -> list[Block]:
    def read(found: re.Match) -> Block:
        said = re.findall(r"<!-- (prints|fails): (.*?) -->", found["comments"])
        fails = [text for kind, text in said if kind == "fails"]
        return Block(found["code"], [text for kind, text in said if kind == "prints"], fails[0] if fails else None)

    return [read(found) for found in BLOCK.finditer(PAGE.read_text())]


def test_every_comment_of_the_page_belongs_to_a_block() -> None:
    assert sum(len(block.prints) + bool(block.fails) for block in blocks()) == PAGE.read_text().count("<!-- ")


def test_every_line_of_the_page_works(tmp_path: Path) -> None:
    (tmp_path / "scripts").symlink_to(REPOSITORY / "scripts")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/agentwrit-broker").symlink_to(broker_binary())
    port = str(free_port())
    driver = ["set -uo pipefail", "trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for index, block in enumerate(blocks()):
        (tmp_path / f"{index}.sh").write_text(block.code.replace("8443", port))
        run = f". ./{index}.sh >{index}.out 2>{index}.err"
        # A subshell for what must fail: it ends there. Elsewhere variables are handed on, and the first error ends all.
        driver.append(f"( set -e; {run} ); echo $? >{index}.rc" if block.fails else f"set -e; {run}; set +e; echo 0 >{index}.rc")
    subprocess.run(
        ["bash", "-c", "\n".join(driver)],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    for index, block in enumerate(blocks()):
        read = lambda what: (tmp_path / f"{index}.{what}").read_text() if (tmp_path / f"{index}.{what}").exists() else ""
        shown = f"{block.code}\n{read('out')}\n{read('err')}\n{(tmp_path / 'broker.log').read_text()}"
        status = read("rc").strip()
        if block.fails:
            assert status not in ("0", ""), shown
            assert re.search(block.fails, read("err"), re.I), shown
        else:
            assert status == "0", shown
        for text in block.prints:
            assert text in read("out"), f"`{text}` is missing from:\n{shown}"
