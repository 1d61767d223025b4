"""Who the visitor is: typed names, which nobody has checked, and accounts of a provider."""

import time

import pytest
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest

from xai_core.app.shared import identity
from xai_core.core import markdown
from xai_core.core.errors import BadRequest
from xai_core.review.people import Person

PROVIDER = {"client_id": "why", "client_secret": "secret", "server_metadata_url": "http://127.0.0.1:1/none"}
AUTH = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "a secret of the server's cookies"}
ADA = {"is_logged_in": True, "iss": "https://accounts.example", "sub": "7", "name": "Ada"}
LATER = time.time() + 3600


@pytest.fixture(autouse=True)
def nothing_remembered():
    identity._remembered.clear()


def script():
    import streamlit as st

    from xai_core.app.shared import identity

    identity.show("Home")
    st.session_state["person"] = identity.person()


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception
    return app


def opened(token: str = "a" * 32) -> AppTest:
    """A new session of the browser with this cookie."""
    app = AppTest.from_function(script, default_timeout=30)
    app.session_state["visitor token"] = token
    return app


def signed_in(auth: dict, claims: dict) -> AppTest:
    app = opened()
    app.secrets["auth"], app.user = auth, claims
    return ran(app)


def person(app: AppTest) -> Person | None:
    return app.session_state["person"]


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return ran(app)


def use(app: AppTest, name: str) -> AppTest:
    app.text_input[0].set_value(name)
    return press(app, "Use this name")


def words(app: AppTest) -> str:
    return " ".join(element.value for kind in ("markdown", "caption", "error") for element in app.get(kind))


def test_a_typed_name_is_asked_for_once_and_is_not_verified():
    app = ran(opened())
    assert person(app) is None and app.text_input[0].label == "Your name"
    use(app, "  Ada \t Lovelace ")
    assert person(app).name == "Ada Lovelace" and not person(app).verified and not app.text_input
    assert "You are **Ada Lovelace (not verified)**." in words(app)


def test_a_reload_in_the_same_browser_keeps_the_name_and_another_browser_is_another_person():
    ada = person(use(ran(opened()), "Ada"))
    assert person(ran(opened())) == ada
    other = ran(opened("b" * 32))
    assert person(other) is None
    use(other, "Ada")
    assert person(other).name == "Ada" and person(other).key != ada.key


def test_a_name_can_be_changed_and_is_then_forgotten():
    app = use(ran(opened()), "Ada")
    press(app, "Change name")
    assert person(app) is None and app.text_input[0].value == "Ada" and person(ran(opened())) is None
    assert person(use(app, "Grace")).name == "Grace" == person(ran(opened())).name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "A name needs at least one letter or digit. Type your name."),
        (" \t ", "A name needs at least one letter or digit. Type your name."),
        ("--- ***", "A name needs at least one letter or digit. Type your name."),
        ("a" * 10_000, "A name has at most 80 characters, and this one has 10,000. Type a shorter one."),
        ("Ada\x00", "This name contains control characters or other invisible ones. Type it again without them."),
        ("Ada\u202egnoL", "This name contains control characters or other invisible ones. Type it again without them."),
        ("A\u200bda", "This name contains control characters or other invisible ones. Type it again without them."),
    ],
)
def test_a_name_that_is_none_is_refused_with_a_sentence_and_stays_in_the_form(text, sentence):
    app = use(ran(opened()), text)
    assert person(app) is None and [error.value for error in app.error] == [sentence] and app.text_input[0].value == text
    assert not ran(app).error, "it is said once"


@pytest.mark.parametrize("name", ["**Ada** <script>alert(1)</script>", "[Ada](http://a.example) :material/home: $x$ # |"])
def test_markdown_and_html_in_a_name_are_shown_as_they_were_typed(name):
    app = use(ran(opened()), name)
    shown = identity.label(person(app))
    assert person(app).name == name and f"You are **{shown}**." in words(app)
    (inline,) = MarkdownIt().parseInline(shown)
    assert {token.type for token in inline.children} <= {"text", "text_special"}
    assert "".join(token.content for token in inline.children).replace(markdown.JOINER, "") == f"{name} (not verified)"
    assert ":material/" not in shown.replace("\\", ""), "Streamlit would show an icon"


@pytest.mark.parametrize("name", ["Zoë", "Zoe\u0308", "علی\u200cرضا", "李明", "O'Neill-Ó", "X Æ A-12"])
def test_names_of_many_languages_are_names(name):
    assert identity.checked_name(name)
    assert identity.checked_name("Zoe\u0308") == "Zoë"


def test_no_more_names_are_remembered_than_the_limit(monkeypatch):
    monkeypatch.setattr(identity, "MOST_REMEMBERED", 2)
    for browser in "abc":
        use(ran(opened(browser * 32)), "Ada")
    assert len(identity._remembered().names) == 2 and person(ran(opened("a" * 32))) is None
    assert person(ran(opened("c" * 32))).name == "Ada"


def test_where_accounts_are_set_up_a_typed_name_is_nobody():
    use(ran(opened()), "Ada")
    app = signed_in(AUTH | PROVIDER, {"is_logged_in": False})
    assert person(app) is None and not app.text_input and [button.label for button in app.button] == ["Sign in"]


def test_an_account_is_its_issuer_and_subject_and_its_name_is_only_shown():
    app = signed_in(AUTH | PROVIDER, ADA | {"exp": LATER})
    assert person(app).name == "Ada" and person(app).verified and "Signed in as **Ada (verified)**." in words(app)
    keys = [
        person(signed_in(AUTH | PROVIDER, ADA | {"exp": LATER} | other)).key
        for other in ({}, {"name": "Countess of Lovelace"}, {"sub": "8"}, {"iss": "https://other.example"})
    ]
    assert keys[0] == keys[1] and len(set(keys)) == 3


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Ada", "preferred_username": "ada", "email": "ada@a.example"}, "Ada"),
        ({"name": " ", "preferred_username": "ada", "email": "ada@a.example"}, "ada"),
        ({"name": None, "email": "ada@a.example"}, "ada@a.example"),
        ({}, "7"),
        ({"name": "a" * 10_000}, "a" * 79 + "…"),
        ({"name": "A\x00d\u202ea\n**"}, "Ada **"),
    ],
)
def test_the_name_of_an_account_is_one_short_line_whatever_the_provider_sends(claims, name):
    app = signed_in(AUTH | PROVIDER, {"is_logged_in": True, "iss": "https://a.example", "sub": "7", "exp": LATER} | claims)
    assert person(app).name == name


@pytest.mark.parametrize("claims", [{"exp": time.time() - 1}, {"exp": "tomorrow"}, {"exp": None}, {"exp": float("nan")}])
def test_an_account_whose_token_has_ended_is_nobody_and_may_sign_in_again(claims):
    app = signed_in(AUTH | PROVIDER, ADA | claims)
    assert person(app) is None and "Your sign-in has ended. Sign in again to go on" in words(app)
    assert [button.label for button in app.button] == ["Sign in"]


@pytest.mark.parametrize("missing", ["iss", "sub"])
def test_who_has_no_issuer_or_no_subject_is_nobody(missing):
    assert person(signed_in(AUTH | PROVIDER, {name: value for name, value in ADA.items() if name != missing})) is None


def test_signing_out_leaves_nobody():
    app = press(signed_in(AUTH | PROVIDER, ADA | {"exp": LATER}), "Sign out")
    assert person(app) is None and [button.label for button in app.button] == ["Sign in"]


def test_each_provider_has_a_button():
    app = signed_in(
        AUTH | {"client_kwargs": {"prompt": "login"}, "okta": PROVIDER, "*lab*": PROVIDER}, {"is_logged_in": False}
    )
    assert [button.label for button in app.button] == ["Sign in with okta", r"Sign in with \*lab\*"]


@pytest.mark.parametrize("auth", [{}, AUTH, "yes"])
def test_accounts_that_are_not_set_up_correctly_let_nobody_in(auth):
    app = signed_in(auth, {})
    assert person(app) is None and not app.text_input and not app.button
    assert "Signing in is not set up correctly on this server" in words(app)


def test_a_provider_that_is_not_set_up_correctly_is_said_and_logged(caplog):
    app = press(signed_in(AUTH | PROVIDER, {"is_logged_in": False}), "Sign in")  # Streamlit itself sees no secrets here
    assert person(app) is None and "Signing in is not set up correctly on this server" in words(app)
    assert "Signing in with the provider 'default' is not set up correctly" in caplog.text


def test_secrets_that_cannot_be_read_let_nobody_in(tmp_path, monkeypatch):
    from streamlit.runtime.secrets import Secrets

    file = tmp_path / "secrets.toml"
    file.write_text("[auth\n")
    monkeypatch.setattr(identity.st, "secrets", Secrets())
    options = {"secrets.files": [str(file)]}
    monkeypatch.setattr("streamlit.config.get_option", options.__getitem__)
    monkeypatch.setattr(identity.st, "get_option", options.__getitem__)
    assert identity._auth() == {}
    file.unlink()
    assert identity._auth() is None


def test_checked_names_raise_what_pages_catch():
    with pytest.raises(BadRequest):
        identity.checked_name("")
