"""The web demos as processes, a language model's server that holds its replies, and checks of pages in Debian's chromium."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from brokers import REPOSITORY

AXE = REPOSITORY / "tests/node/node_modules/axe-core/axe.min.js"
START_TIMEOUT = 30.0


def binary(name: str) -> Path:
    built = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug"
    path = Path(os.environ.get("AGENTWRIT_BIN_DIR", built)).resolve() / name
    if not path.is_file():
        pytest.fail(f"no program at {path}: build it with `cargo build -p {name}`")
    return path


class Demo:
    """A demo's program with its files in a directory. Its environment is `settings` alone."""

    def __init__(self, directory: Path, name: str, printed: str, *arguments: str, **settings: str) -> None:
        self._log_path = directory / f"{name}-{time.monotonic_ns()}.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [binary(name), *arguments],
                cwd=directory, env={"HOME": str(directory), **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.url = self.printed(printed)

    def printed(self, pattern: str) -> str:
        """Waits for a line of the program's output and returns the pattern's group."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if found := re.search(pattern, self._log_path.read_text()):
                return found.group(1)
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self._process.kill()
        pytest.fail(f"the program did not start:\n{self._log_path.read_text()}")

    def stop(self) -> None:
        """Ends the program as an operator does; it must succeed."""
        self._process.terminate()
        assert self._process.wait(timeout=START_TIMEOUT) == 0, self._log_path.read_text()


def medassist(directory: Path, *arguments: str, listen: str = "127.0.0.1:0", **settings: str) -> Demo:
    options = ("--listen", listen, "--pace", "0")
    return Demo(directory, "medassist", r"open (http://\S+)", *options, *arguments, **settings)


def support_desk(directory: Path, *arguments: str, **settings: str) -> Demo:
    return Demo(directory, "support-tickets", r"Support desk at (http://\S+)", "--pace", "0", *arguments, **settings)


class HeldModel:
    """OpenAI-compatible server that sends a reply of its script for each `release`."""

    def __init__(self, *replies: str | dict[str, Any]) -> None:
        script, released = iter(replies), threading.Semaphore(0)
        self._released = released

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                released.acquire()
                reply = next(script)
                message = {"role": "assistant", "content": reply} if isinstance(reply, str) else reply
                body = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        port = self._server.server_address[1]
        self.settings = {"LLM_BASE_URL": f"http://127.0.0.1:{port}/v1", "LLM_API_KEY": "key-1", "LLM_MODEL": "scripted"}

    def release(self) -> None:
        self._released.release()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def tool_call(name: str, **arguments: object) -> dict[str, Any]:
    """The message of a model that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "call-1", "type": "function", "function": function}]}


def send(page: Page, ticket: str, end: str) -> None:
    """Sends a prepared ticket to the support desk and waits for its end."""
    page.get_by_role("button", name=ticket, exact=True).click()
    expect(page.locator("#live")).to_contain_text(end, timeout=20_000)


@contextmanager
def opened(chromium: Chromium, url: str) -> Iterator[Page]:
    """A page. An error of the page, or one in its console, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(url)
    yield page
    context.close()
    assert not errors


@contextmanager
def measured(chromium: Chromium, url: str, size: tuple[int, int], scheme: str) -> Iterator[Page]:
    """A page of a size and a colour scheme, which `check` can look at."""
    across, down = size
    context = chromium.new_context(
        viewport={"width": across, "height": down}, color_scheme=scheme, reduced_motion="reduce"
    )
    # The policy of the pages forbids scripts of others, which axe-core is.
    context.add_init_script(AXE.read_text())
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()


def check(page: Page, shot: Path) -> None:
    """Asserts that the page is no wider than the window, and that axe-core finds nothing."""
    # A header that stays in view hides nothing of the picture at the top of the page.
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=shot, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{page.url} is too wide"
    found = page.evaluate("axe.run().then(({violations}) => violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    assert found == [], page.url
