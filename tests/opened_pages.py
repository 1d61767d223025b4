"""Pages opened in Streamlit's own test harness, and the words on them."""

from pathlib import Path
from urllib.parse import parse_qs

from streamlit.testing.v1 import AppTest

from xai_core.app.shared.page_links import FILES

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


def followed(app: AppTest, label: str) -> AppTest:
    """The page that the link with this label opens; the harness does not follow links by itself."""
    link = next(link.proto for link in app.get("page_link") if link.proto.label == label)
    for name in [*app.query_params]:
        del app.query_params[name]
    for name, values in parse_qs(link.query_string, keep_blank_values=True).items():
        app.query_params[name] = values
    path = next(file for file in FILES.values() if Path(file).stem.lstrip("0123456789_") == (link.page or "Home"))
    app.switch_page(path)
    app.run()
    assert not app.exception, app.exception
    return app


def text(app: AppTest) -> str:
    return " ".join(element.value for kind in ("markdown", "caption", "title") for element in app.get(kind))
