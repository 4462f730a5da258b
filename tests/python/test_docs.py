"""The code in docs/: shell blocks run against the real binaries and print what the page shows; Python runs, JSON parses.

1. A `sh` block runs line by line, in the shell of the blocks before it. A line that fails, fails the test; one that is to
   fail says so itself: `… || echo "exit code $?"`.
2. A `text` block after it is what it prints, standard error too. Ids, tokens, times and the like may differ, see `VOLATILE`;
   `…` stands for any text, alone on a line for any lines.
3. `sh,notest` is not run (it compiles, or needs root, or belongs to another machine), but must be shell.

After a change of the program's words: `AGENTWRIT_DOCS_UPDATE=1 pytest tests/python/test_docs.py` writes what it prints now
into the pages. Read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from http import HTTPStatus
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from brokers import PostgresServer
from conftest import REPOSITORY, broker_binary

DOCS = REPOSITORY / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
UPDATE = bool(os.environ.get("AGENTWRIT_DOCS_UPDATE"))
PORT, HOME = "8080", "/home/you"
BINARIES = ("agentwrit-broker", "awrit", "records-service")
# What a reader of these pages has done before: the first half of getting-started.md.
BROKER = """\
awrit init >/dev/null
agentwrit-broker >broker.log 2>&1 &
export AACTL_ADMIN_SECRET=$(sed -n 's/^ADMIN_SECRET=//p' ~/.broker/config)
until awrit health >/dev/null 2>&1; do sleep 0.05; done
"""
# A broker's files, as the page about several brokers finds them where it moves in.
STOPPED_BROKER = f"""\
{BROKER}
awrit agent register --orch-id old --task-id t-0 --scopes read:data:1 >/dev/null
kill %1
wait %1
"""
# Pages whose shell blocks belong together, and what runs before them. In any other page every section has a broker of its own.
WHOLE = {
    "getting-started.md": "",
    "operators/confirmed-revocation.md": BROKER,
    "operators/several-brokers.md": STOPPED_BROKER,
}
# What the page about emergencies takes for granted: an enrolled service, an app and an agent.
SERVICE = """\
awrit verifier keygen --private-key verifier.pem >verifier.pub
awrit verifier add records-api --public-key verifier.pub --max-bound 30 >/dev/null
records-service --verifier records-api --key verifier.pem --broker http://127.0.0.1:8080 --listen 127.0.0.1:9000 >service.log 2>&1 &
until curl -so service.json http://127.0.0.1:9000/; do sleep 0.05; done
APP=$(awrit app register --name clinic --scopes 'read:records:*' --json | jq -r .app_id)
awrit agent register --orch-id clinic --task-id t-2 --scopes read:records:8 >/dev/null
awrit agent register --orch-id clinic --task-id t-1 --scopes read:records:7 --json >agent.json
AGENT=$(jq -r .agent_id agent.json) TOKEN=$(jq -r .access_token agent.json)
"""
# Two brokers on a database behind HAProxy, at the address of the one broker.
BROKERS = """\
awrit init >/dev/null
export AACTL_ADMIN_SECRET=$(sed -n 's/^ADMIN_SECRET=//p' ~/.broker/config)
(umask 077; openssl rand 32 >key-encryption.key)
export AA_DATABASE_URL="postgres://postgres@db1/agentwrit" AA_KEY_ENCRYPTION_KEY_PATH=$PWD/key-encryption.key AA_TRUSTED_PROXIES=127.0.0.1/32
psql -h db1 -U postgres -qc 'CREATE DATABASE agentwrit'
AA_PORT=8081 AA_STATE_PATH=$PWD/1.state agentwrit-broker >broker.log 2>&1 &
until AA_STATE_PATH=$PWD/1.state agentwrit-broker health 2>/dev/null; do sleep 0.05; done
AA_PORT=8082 AA_STATE_PATH=$PWD/2.state agentwrit-broker >broker-2.log 2>&1 &
export AGENTWRIT_BIND=127.0.0.1:8080 AGENTWRIT_BROKER_1=127.0.0.1:8081 AGENTWRIT_BROKER_2=127.0.0.1:8082
haproxy -db -f deploy/haproxy/haproxy.cfg >haproxy.log 2>&1 &
until AA_STATE_PATH=$PWD/2.state agentwrit-broker health 2>/dev/null && awrit health >/dev/null 2>&1; do sleep 0.05; done
"""
# Pages whose sections begin with more than a broker, and pages whose sections run with several brokers, too.
BEFORE_SECTION = {"operators/emergencies.md": SERVICE}
ON_BOTH_STORES = {"operators/confirmed-revocation.md", "operators/emergencies.md"}
# Pages that use a PostgreSQL server, and what stands for its address and for TLS there. The server of the tests has neither.
WITH_POSTGRES = {"operators/several-brokers.md"}
TLS_OF_DATABASE = "sslmode=verify-full&sslrootcert=/etc/agentwrit/db-ca.crt"
# Pages whose shell blocks another test runs.
ELSEWHERE = {
    "operators/tls-and-mtls.md": "test_tls_page.py",
    **{f"attestation/{name}.md": "test_attestation_pages.py" for name in ("github-actions", "gitlab-ci", "kubernetes", "spire")},
}
VOLATILE = [
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "<token>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"(?<!\w)[0-9a-f]{6,64}(?!\w)", "<hex>"),
    (r"(?<![\w/+])[\w/+]{43}=", "<key>"),
    (r"(?<![\w/-])[\w-]{43}(?![\w-])", "<key>"),
    (r"\b\d+ ms\b|\b\d+\.\d s\b", "<elapsed>"),
    (r"\((now|in .*?|.*? ago)\)", "(<relative>)"),
    (r"\bnow\b", "<relative>"),
    (r"\b(in )?\d+ (d|h|min|s)( \d+ (h|min|s))?( ago)?(?!\w)", "<relative>"),
    (r'("?(?:expires_in|uptime|ms|since|iat|nbf|exp)"?[:=] ?)\d+', r"\1<number>"),
    (r" {2,}", "  "),
    (r"-{3,}", "---"),
]


@dataclass
class Block:
    page: Path
    section: str
    info: str
    code: str
    start: int  # of the code within the page
    output: Block | None = None
    excerpt: bool = False  # of a program, written by scripts/docs_code.py
    indent: str = ""  # of a block in a list

    @property
    def language(self) -> str:
        return re.split(r"[ ,]", self.info)[0]

    @property
    def tested(self) -> bool:
        return self.info == "sh"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    found, section, last = [], "", None
    for match in re.finditer(
        r"^(?:(?P<indent> *)(?P<fence>```+)(?P<info>.*)\n(?P<code>(?:.*\n)*?) *(?P=fence)$|## (?P<heading>.*)$)", text, re.M
    ):
        if match["heading"]:
            section = match["heading"]
            continue
        excerpt = re.search(r"^<!-- code: \S+ -->\n\Z", text[: match.start()], re.M) is not None
        code = textwrap.dedent(match["code"])
        block = Block(page, section, match["info"].strip(), code, match.start("code"), excerpt=excerpt, indent=match["indent"])
        if block.info == "text" and last and last.tested:
            last.output = block
        found.append(block)
        last = block
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


def sessions() -> list:
    """What runs in one shell: a page as a whole, or a section of it."""
    found: dict[str, list[Block]] = {}
    for page in PAGES:
        name = name_of(page)
        if name in ELSEWHERE:
            continue
        for block in blocks_of(page):
            if block.tested:
                found.setdefault(name if name in WHOLE else f"{name}: {block.section}", []).append(block)
    listed = []
    for id, blocks in found.items():
        name = name_of(blocks[0].page)
        before = BEFORE_SECTION.get(name, "")
        own_file = any("sqlite3" in block.code for block in blocks)
        listed.append(pytest.param(blocks, WHOLE.get(name, BROKER + before), name in WITH_POSTGRES, id=id))
        if name in ON_BOTH_STORES and not own_file:
            listed.append(pytest.param(blocks, BROKERS + before, True, id=f"{id} (PostgreSQL)"))
    return listed


def binaries() -> Path:
    directory = Path(os.environ.get("AGENTWRIT_BIN_DIR") or Path(broker_binary()).parent).resolve()
    for name in BINARIES:
        if not (directory / name).is_file():
            packages = " ".join(f"-p {name}" for name in BINARIES)
            pytest.fail(f"no {name} in {directory}: build it with `cargo build {packages}` or set AGENTWRIT_BIN_DIR")
    return directory


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What a page calls the ports and servers of its reader, and what they are called here."""
    names = {port: free_port() for port in (PORT, "8081", "8082", "9000")}
    if not request.node.callspec.params["with_postgres"]:
        yield names
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    server.execute("CREATE ROLE postgres SUPERUSER LOGIN")
    host, port = server.address.split(":")
    yield {
        "-h db1": f"-h {host} -p {port}",
        "@db1,db2/": f"@{host}:{port}/",
        "@db1/": f"@{host}:{port}/",
        TLS_OF_DATABASE: "sslmode=disable",
        **names,
    }
    for database in ("agentwrit", "moved"):
        server.drop_database(database)
    for role in ("postgres", "agentwrit_owner", "agentwrit_broker"):
        server.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.mark.parametrize(("blocks", "prelude", "with_postgres"), sessions())
def test_shell(blocks: list[Block], prelude: str, with_postgres: bool, machine: dict[str, str], tmp_path: Path) -> None:
    directory, port = binaries(), machine[PORT]
    home, runs = tmp_path / "you", tmp_path / "runs"

    def here(code: str) -> str:
        for shown, name in machine.items():
            code = code.replace(shown, name)
        return code

    for path in (home, runs, tmp_path / "bin"):
        path.mkdir()
    for name in BINARIES:
        (tmp_path / "bin" / name).symlink_to(directory / name)
    # What a page takes from the repository is at hand, as for a reader who stands at its root.
    for name in ("scripts", "examples", "deploy"):
        (home / name).symlink_to(REPOSITORY / name)
    driver = [
        "set -u",
        "trap 'trap - ERR; kill $(jobs -p) 2>/dev/null; wait; exit 0' EXIT",
        f"trap 'printf \"block %s: %s (exit code %s)\\n\" \"${{BLOCK:-}}\" \"$BASH_COMMAND\" $? >>{runs}/failed' ERR",
        here(prelude),
    ]
    for index, block in enumerate(blocks):
        (runs / f"{index}.sh").write_text(here(block.code))
        # No section logs in more than ten times: more would meet the limit of five a second.
        driver.append(f"BLOCK={index}; . {runs}/{index}.sh >{runs}/{index}.out 2>&1")
    environment = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "HOME": str(home),
        "AA_PORT": port,
        "AACTL_BROKER_URL": f"http://127.0.0.1:{port}",
        "LC_ALL": "C.UTF-8",
    }
    ran = subprocess.run(
        ["bash", "-c", "\n".join(driver)],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )

    def readable(text: str) -> str:
        return text.replace(str(home), HOME).replace(f":{port}", f":{PORT}").rstrip("\n") + "\n"

    printed = [readable((runs / f"{index}.out").read_text()) if (runs / f"{index}.out").exists() else "" for index in range(len(blocks))]
    whole = "\n".join(f"{block.code}--- printed\n{text}" for block, text in zip(blocks, printed))
    log = (home / "broker.log").read_text() if (home / "broker.log").exists() else ""
    failed = (runs / "failed").read_text() if (runs / "failed").exists() else ""
    assert not failed, f"failed: {failed}\n{whole}\n{ran.stderr}\n{log[-2000:]}"
    assert ran.returncode == 0, f"{whole}\n{ran.stderr}\n{log[-2000:]}"
    if UPDATE:
        write_outputs(blocks, printed)
        return
    for block, text in zip(blocks, printed):
        if block.output:
            compare(block, text)


def compare(block: Block, printed: str) -> None:
    shown, printed = normal(block.output.code), normal(printed)
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*?") + r"\n" for line in shown.splitlines()
    )
    assert re.fullmatch(pattern, printed), f"{block.code}--- the page shows\n{shown}--- it prints\n{printed}"


def normal(text: str) -> str:
    for volatile, placeholder in VOLATILE:
        text = re.sub(volatile, placeholder, text)
    return re.sub(r" +$", "", text, flags=re.M)


def write_outputs(blocks: list[Block], printed: list[str]) -> None:
    """Only where the page says something else, and not where it leaves something out."""
    page = blocks[0].page
    for block, text in zip(blocks, printed):
        if block.output and normal(block.output.code) != normal(text) and "\n…\n" not in f"\n{block.output.code}":
            old, indent = page.read_text(), block.indent
            anchor = textwrap.indent(f"```{block.info}\n{block.code}```", indent)
            start = old.index("```text\n", old.index(anchor) + len(anchor)) + len("```text\n")
            end = old.index(f"{indent}```", start)
            page.write_text(old[:start] + textwrap.indent(text, indent) + old[end:])


def test_there_is_something_to_run() -> None:
    assert len(sessions()) >= 10
    outputs = [block for page in PAGES for block in blocks_of(page) if block.output]
    assert len(outputs) >= 20


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in PAGES])
def test_blocks_are_of_a_language_that_is_tested(page: Path) -> None:
    """A new kind of block needs a test, or a reason to be here: `rust` blocks are doctests, `text` is looked at above."""
    for block in blocks_of(page):
        assert block.language in {"sh", "text", "rust", "python", "json", "go", "ts", "toml", "ini", "yaml", "http", "sql"}, block.info
        assert "{{#" not in block.code, "a reader of the repository sees this literally: scripts/docs_code.py writes excerpts"
        if block.language in {"go", "ts"}:
            assert block.excerpt, "a program of another language is an excerpt, not copied by hand"
        elif block.language == "rust":
            assert not re.search(r"^#( |$)", block.code, re.M), f"a reader of the repository sees hidden lines:\n{block.code}"
        elif block.language == "sh":
            checked = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True)
            assert checked.returncode == 0, f"{block.code}\n{checked.stderr}"
        elif block.language == "json":
            json.loads(block.code)


def test_excerpts_are_current() -> None:
    ran = subprocess.run([sys.executable, REPOSITORY / "scripts/docs_code.py", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[0]) >= 30


@pytest.mark.parametrize("readme", [*REPOSITORY.glob("agentwrit-*/README.md"), REPOSITORY / "README.md"], ids=lambda path: path.parent.name)
def test_readme_has_no_hidden_lines(readme: Path) -> None:
    for block in blocks_of(readme):
        assert block.language != "rust" or not re.search(r"^#( |$)", block.code, re.M), block.code


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=name_of(page)) for page in PAGES if any(b.info == "python" for b in blocks_of(page))]
)
def test_python(page: Path) -> None:
    """The blocks of a page are one program, started at the root of the repository."""
    code = "\n".join(block.code for block in blocks_of(page) if block.info == "python" and not block.excerpt)
    if code:
        ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr


def test_the_tools_that_pages_use_are_there() -> None:
    for tool in ("bash", "curl", "jq", "openssl", "sqlite3"):
        assert shutil.which(tool), f"{tool} not found"


# --- the reference against the source ---------------------------------------------------------------------------------

PROTOCOL_SOURCE = REPOSITORY / "agentwrit-protocol/src"
BROKER_SOURCE, VERIFY_SOURCE, TOWER_SOURCE = (
    REPOSITORY / name / "src" for name in ("agentwrit-broker", "agentwrit-verify", "agentwrit-tower")
)
LITERAL = r'"((?:[^"\\]|\\.)*)"'
# Not sent to clients, or about a header.
# "a value" is what the reader of members expects, and no value is unexpected.
NOT_FOR_CLIENTS = {
    "a handler panicked", "a value", "request failed", ", error=", ", scope=", "the broker is stopping",
    # Of responses that a client can't decode.
    "an object with the member `{}`", "expected {N} bytes in {}", "token type is neither Bearer nor DPoP",
    "claims must be an object", "claims are larger than those of any token", "a key id is 1 to 128 printable ASCII characters",
}  # fmt: skip
# The titles of problems (RFC 9457 §4.2.1).
STATUS_PHRASES = {status.phrase for status in HTTPStatus} | {"Payload Too Large"}


def literals(file: Path, pattern: str = LITERAL) -> set[str]:
    """Texts of a source file that are sentences, without comments, tests and the reasons of lints."""
    code = file.read_text().split("#[cfg(test)]")[0]
    code = re.sub(r"^\s*//.*$", "", code, flags=re.M)
    code = re.sub(r"#\[expect\([^]]*\)\]", "", code)
    return {text.replace('\\"', '"') for text in re.findall(pattern, code, re.S) if " " in text}


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\\\n\s*|`", "", text))


def test_every_refusal_is_explained() -> None:
    sentences: set[str] = set()
    for name in ("service/error.rs", "http/errors.rs", "http/body.rs", "http/query.rs", "http/logins.rs", "http/apps.rs"):
        sentences |= literals(BROKER_SOURCE / name)
    for file in PROTOCOL_SOURCE.glob("*.rs"):
        sentences |= literals(file)
    sentences |= literals(BROKER_SOURCE / "service/verifiers/report.rs", rf"#\[error\({LITERAL}")
    sentences |= literals(TOWER_SOURCE / "error_response.rs")
    sentences |= literals(VERIFY_SOURCE / "scope.rs", rf"#\[error\({LITERAL}")
    for file in BROKER_SOURCE.rglob("*.rs"):
        sentences |= literals(file, rf"WrongSubject\({LITERAL}\)")
        sentences |= literals(file, rf'Error::invalid\("\w+", {LITERAL}\)')
        sentences |= literals(file, rf"let problem =\s*format!\({LITERAL}\)")
    sentences |= {text for text in literals(TOWER_SOURCE / "rejection.rs", rf'write!\(f, {LITERAL}')}
    page = plain((DOCS / "reference/errors.md").read_text())
    missing = []
    for sentence in sorted(sentences - NOT_FOR_CLIENTS - STATUS_PHRASES):
        if sentence.startswith("Bearer "):
            continue
        wanted = ".*?".join(re.escape(part) for part in re.split(r"\{[^}]*\}", plain(sentence)) if part.strip(" :"))
        if not re.search(wanted, page):
            missing.append(sentence)
    assert len(sentences) > 60
    assert not missing, "reference/errors.md does not explain:\n" + "\n".join(missing)


def documented(page: str) -> set[str]:
    """What stands in the first column of the tables of a page."""
    return set(re.findall(r"^\| `([^`]+)` ", (DOCS / page).read_text(), re.M))


def test_every_event_type_is_explained() -> None:
    types = set(re.findall(r'= \d+, "(\w+)"', (VERIFY_SOURCE / "audit/event_type.rs").read_text()))
    assert len(types) >= 36
    assert not types - documented("reference/events.md")


def test_every_reason_is_explained() -> None:
    code = (VERIFY_SOURCE / "error.rs").read_text().split("pub fn reason")[1].split("\n    }\n")[0]
    reasons = set(re.findall(r'=> "(\w+)"', code))
    assert len(reasons) > 15
    assert not reasons - documented("reference/events.md")


def test_every_metric_is_explained() -> None:
    sources = [file.read_text() for file in (BROKER_SOURCE / "telemetry").rglob("*.rs")]
    registered = {name for source in sources for name in re.findall(r'register\(\s*"(\w+)"', source)}
    assert len(registered) >= 25
    page = (DOCS / "reference/logs-and-metrics.md").read_text()
    assert not {name for name in registered if f"`agentwrit_{name}" not in page}


def test_alert_explains_only_reasons_that_the_metric_has() -> None:
    row = next(line for line in (DOCS / "reference/logs-and-metrics.md").read_text().splitlines() if "_reports_rejected_total" in line)
    section = (DOCS / "operators/alerts.md").read_text().split("## AgentWritVerifierReportsRejected")[1].split("\n## ")[0]
    reasons = set(re.findall(r"^\| `(\w+)` ", section, re.M))
    assert len(reasons) >= 5 and not {reason for reason in reasons if f"`{reason}`" not in row}


def test_every_log_line_is_explained() -> None:
    page, missing = plain((DOCS / "reference/logs-and-metrics.md").read_text()), []
    for file in BROKER_SOURCE.rglob("*.rs"):
        for level, call in re.findall(r"tracing::(info|warn|error)!\((.*?)\);", file.read_text(), re.S):
            message = re.findall(LITERAL, call, re.S)[-1]
            if plain(message) not in page and "{" not in message:
                missing.append(f"{level}: {message}")
    assert not missing, missing


def test_every_claim_is_explained() -> None:
    properties = json.loads((DOCS / "openapi.json").read_text())["components"]["schemas"]["Claims"]["properties"]
    assert not set(properties) - documented("reference/claims.md")


def test_every_variable_and_flag_is_explained() -> None:
    """Against what `agentwrit-broker --help` says: names, flags and defaults."""
    said = subprocess.run([broker_binary(), "--help"], capture_output=True, text=True, check=True).stdout
    page = (DOCS / "operators/configuration.md").read_text()
    flags = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", said, re.M)
    assert len(flags) > 20
    for flag in flags:
        assert flag in {"--help", "--version"} or f"`{flag}`" in page, flag
    for name, default in re.findall(r"\(`(AA_\w+)`(?:, default ([^)]*))?\)", said):
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` ")), None)
        assert row, name
        if default and name not in {"AA_ISSUER", "AA_CONFIG_PATH"}:
            assert row.split("|")[3].strip() == f"`{default}`", row
    accepted = literals(BROKER_SOURCE / "config/values.rs", rf"accepts:\s*{LITERAL}")
    assert len(accepted) > 10
    assert not {text for text in accepted if plain(text) not in plain(page)}


def test_every_reason_not_to_start_is_explained() -> None:
    page, missing = plain((DOCS / "operators/troubleshooting.md").read_text()), []
    files = ["config/error.rs", "keys/signing.rs", "store/error.rs", "broker.rs", "keys/admin_secret.rs", "keys/weak_secrets.rs", "server/tls/files.rs", "server/tls/mod.rs", "keys/entropy.rs", "config/warning.rs", "maintenance/file_checks.rs"]
    for name in files:
        for text in literals(BROKER_SOURCE / name, rf"(?:#\[error\(\s*|write!\(\s*f,\s*|write_str\(){LITERAL}"):
            parts = [part.strip(" :`") for part in re.split(r"\{[^}]*\}", plain(text))]
            longest = max(parts, key=len)
            if len(longest) > 8 and longest not in page:
                missing.append(f"{name}: {plain(text)}")
    assert not missing, "operators/troubleshooting.md does not explain:\n" + "\n".join(missing)


def test_every_alert_has_its_section() -> None:
    alerts = re.findall(r"- alert: (\w+)", (REPOSITORY / "deploy/prometheus/alerts.yml").read_text())
    page = (DOCS / "operators/alerts.md").read_text()
    assert alerts == re.findall(r"^## (\w+)$", page, re.M), "one section for each alert, in their order"
