"""What is drawn in the browser by the project's own code: Streamlit components (version 2)."""

from pathlib import Path

import streamlit as st
from streamlit import runtime
from streamlit.components.v2.types import ComponentRenderer

from xai_core.core.cache_key import bytes_digest


def beside(module: str, name: str) -> ComponentRenderer:
    """The component whose HTML, CSS and JavaScript lie beside a module and are called as it: `module` is its `__file__`."""
    html, css, js = (Path(module).with_suffix(f".{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(name, html=html, css=css, js=js, isolate_styles=False)


def address_of(file: bytes, kind: str, key: str) -> str:
    """Where the browser of this session finds a file of this MIME type while the page shows it or loads it ahead; `key` is
    that of the component."""
    return runtime.get_instance().media_file_mgr.add(file, kind, f"{key} {bytes_digest(file)}")
