"""The test vectors of docs/audit-chain.md before the verification that pages of `medassist` run in a browser."""

import re
import subprocess

from brokers import REPOSITORY


def test_browser_verification_accepts_vectors_and_finds_every_alteration() -> None:
    run = subprocess.run(["node", REPOSITORY / "tests/node/audit_chain.mjs"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(re.search(r"(\d+) alterations", run.stdout).group(1)) > 100
