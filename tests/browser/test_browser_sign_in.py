"""Signing in at a real provider of OpenID Connect, which runs on this machine; and names that a browser keeps."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browsing import PATIENCE, ROOT, USUAL, check_log, free_port, serving, settled
from playwright.sync_api import BrowserContext, Page, expect

from xai_core.app.shared.page_links import FILES, HOME, SINGLE

pytestmark = pytest.mark.browser

# An app of which two pages show something: Streamlit opens the first one after signing in, and people are asked who they are
# on the other.
START = """
from xai_core.app.shared import page_links, page_setup

page_setup.page(page_links.HOME)
"""
ASKING = """
import streamlit as st

from xai_core.app.shared import identity, page_links, page_setup

page_setup.page(page_links.SINGLE)
somebody = identity.show(page_links.SINGLE)
st.text("Nobody is here." if somebody is None else f"Key {somebody.key}")
st.text(f"The provider said when this ends: {'exp' in st.user}")
"""
ACCOUNTS = {"ada-1": "Ada Lovelace", "ada-2": "Ada Lovelace"}


@contextmanager
def provider(folder: Path) -> Iterator[str]:
    """The address of a provider with these accounts. It is another site than the app, as providers are."""
    port, log = free_port(), folder / "provider.log"
    command = [sys.executable, "-m", "oidc_provider_mock", f"--port={port}"]
    for subject, name in ACCOUNTS.items():
        command += ["--user-claims", json.dumps({"sub": subject, "name": name, "email": f"{subject}@a.example"})]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"{address}/.well-known/openid-configuration", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def app(folder: Path, provider: str | None = None) -> Iterator[str]:
    """The address of the app of two pages; with `[auth]` in its secrets where there is a provider."""
    port, log, first = free_port(), folder / "log", folder / "app" / "Home.py"
    (folder / "app" / "pages").mkdir(parents=True)
    first.write_text((ROOT / "Home.py").read_text())
    for file in FILES.values():
        (first.parent / file).write_text({FILES[HOME]: START, FILES[SINGLE]: ASKING}.get(file, ""))
    secrets = folder / "secrets.toml"
    if provider is not None:
        secrets.write_text(
            f'[auth]\nredirect_uri = "http://localhost:{port}/oauth2callback"\ncookie_secret = "{"0123456789abcdef" * 4}"\n'
            f'client_id = "why"\nclient_secret = "secret"\n'
            f'server_metadata_url = "{provider}/.well-known/openid-configuration"\n'
        )
    with serving(port, log, folder, script=first, options=[f"--secrets.files={secrets}"]):
        yield f"http://localhost:{port}"
    check_log(log)


@pytest.fixture
def person(browser):
    """person() -> a new browser, as another person has one; nothing outside this machine is reached."""
    contexts = []

    def new() -> BrowserContext:
        context = browser.new_context(**USUAL)
        context.set_default_timeout(PATIENCE)
        context.route(re.compile("^https://"), lambda route: route.abort())  # the style of the provider's form
        contexts.append(context)
        return context

    yield new
    for context in contexts:
        context.close()


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    return settled(page)


def sign_in(page: Page, subject: str) -> Page:
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=subject, exact=True).click()  # the provider's form
    expect(page.get_by_text("Signed in as")).to_have_text("Signed in as Ada Lovelace (verified).")
    return settled(page)


def key(page: Page) -> str:
    return page.get_by_text(re.compile("^Key oidc:")).inner_text()


def test_people_sign_in_are_who_the_provider_says_and_sign_out(person, tmp_path):
    with provider(tmp_path) as accounts, app(tmp_path, accounts) as address:
        browser = person()
        page = opened(browser, f"{address}/Single_image?setting=7")
        expect(page.get_by_text("Nobody is here.")).to_be_visible()
        expect(page.get_by_role("textbox", name="Your name")).to_have_count(0)

        sign_in(page, "ada-1")
        expect(page).to_have_url(re.compile(r"/Single_image\?.*setting=7"))  # signing in leads back to where it began
        expect(page.get_by_text("The provider said when this ends: True")).to_be_visible()
        first = key(page)
        second = opened(browser, f"{address}/Single_image")
        assert key(second) == first, "another tab of this browser"

        other = sign_in(opened(person(), f"{address}/Single_image"), "ada-2")
        assert key(other) != first, "another account with the same name is another person"

        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="End session").click()  # the provider's form
        page.wait_for_url(f"{address}/")
        settled(page)
        assert not [cookie for cookie in browser.cookies(address) if cookie["name"].startswith("_streamlit_user")]
        second.reload()
        expect(second.get_by_text("Nobody is here.")).to_be_visible()
        expect(second.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_typed_name_stays_in_its_browser_after_a_reload_and_is_in_no_address(person, tmp_path):
    with app(tmp_path) as address:
        page = opened(person(), f"{address}/Single_image")
        page.get_by_role("textbox", name="Your name").fill("Grace Hopper")
        page.keyboard.press("Enter")
        expect(page.get_by_text("You are")).to_have_text("You are Grace Hopper (not verified).")
        assert "Grace" not in settled(page).url
        page.reload()
        expect(page.get_by_text("You are")).to_have_text("You are Grace Hopper (not verified).")
        expect(page.get_by_role("textbox", name="Your name")).to_have_count(0)
        other = opened(person(), f"{address}/Single_image")
        expect(other.get_by_role("textbox", name="Your name")).to_be_visible()
        expect(other.get_by_text("Nobody is here.")).to_be_visible()
