"""Programs of the tests in other languages, built or found."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from conftest import REPOSITORY

BUILT = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve() / "tmp" / "clients"


@cache
def go_program(name: str) -> str:
    """The program of `tests/go/<name>`."""
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT / name
    command = ["go", "build", "-o", program, "."]
    built = subprocess.run(command, cwd=REPOSITORY / "tests/go" / name, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return str(program)


def node_program(script: str, module: str) -> list[str]:
    """The command of a script in `tests/node`, which needs a module."""
    directory = REPOSITORY / "tests/node"
    assert (directory / "node_modules" / module).exists(), "not installed: npm ci in tests/node"
    return ["node", str(directory / script)]
