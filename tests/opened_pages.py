"""Pages opened in Streamlit's own test harness, and the words on them."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[1]


def opened(page: str | None = None, **query: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=120)
    app.run()
    if page:
        app.switch_page(page)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
    assert not app.exception, app.exception
    return app


def text(app: AppTest) -> str:
    return " ".join(element.value for kind in ("markdown", "caption", "title") for element in app.get(kind))
