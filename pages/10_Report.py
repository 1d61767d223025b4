"""A report on models and methods for download: what they are, how they were trained, how far maps can be trusted."""

import streamlit as st

from xai_core.analysis import report
from xai_core.app.failures import plan_entries
from xai_core.app.shared import display, page_setup
from xai_core.app.shared.widgets import LINK, linked_despite_label, presence_label
from xai_core.attribution.catalog import METHODS
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards

DEFAULT_METHODS = ["grad_cam", "integrated_gradients", "occlusion", "lime", "random_map"]
PLANS = "Plans of the page Failure analysis that were put on the report there."

page_setup.page("Report")
st.title("Report")
st.markdown(
    "The cards of models and methods in one document, for readers who have to judge what a map is worth: how each model was "
    "trained, how each map is computed, and what it can and cannot show."
)
models_by_id = cards()
ready = [id for id, card in models_by_id.items() if locate.is_here(card)]
labels = {id: presence_label(card.title, id in ready) for id, card in models_by_id.items()}
linked = linked_despite_label("models", {card.title: id for id, card in models_by_id.items()}, [*labels.values()])
if linked:
    st.session_state["models"] = linked
# Without "Select all", which would choose those that are not on this machine too.
models = st.multiselect(
    "Models", sorted(models_by_id, key=lambda id: id not in ready), None if linked else ready,
    format_func=lambda id: labels[id], select_all=False, key="models", **LINK,
)  # fmt: skip
methods = st.multiselect(
    "Methods", METHODS, DEFAULT_METHODS, format_func=lambda id: METHODS[id].title, key="methods", **LINK
)
planned = {plan.title: plan for plan in plan_entries.on_report().values()}
plans = st.multiselect("Plans", planned, list(planned), key="plans", help=PLANS) if planned else []
if not models or not methods:
    st.info("Choose at least one model and one method.")
    st.stop()

sections = [planned[title].to_markdown(level=3) for title in plans]
text = report.report([models_by_id[id] for id in models], [METHODS[id] for id in methods], plans=sections)
display.downloads(
    {
        "Markdown": ("report.md", "text/markdown", text),
        "PDF": ("report.pdf", "application/pdf", lambda: report.to_pdf(text)),
    }
)
# On a narrow screen a row of the wide table becomes a block, with the name of its column before each cell.
heads = "".join(
    f"table:has(th:nth-child(3)) td:nth-child({place}):not(:empty)::before {{ content: '{name}: '; font-weight: 600; }}"
    for place, name in enumerate(report.COLUMNS, 1)
)
st.html(
    f"""<style>
    .st-key-report table {{ width: 100%; }}
    .st-key-report td {{ overflow-wrap: anywhere; }}
    .st-key-report td:first-child {{ overflow-wrap: normal; }}
    .st-key-report {{ container-type: inline-size; }}
    @container (max-width: 800px) {{ .st-key-report {{
        table:has(th:nth-child(3)) thead {{ display: none; }}
        table:has(th:nth-child(3)) :is(tbody, tr, td) {{ display: block; }}
        table:has(th:nth-child(3)) td {{ border: none; padding: 0.1rem 0.5rem; }}
        table:has(th:nth-child(3)) tr {{ border-bottom: 1px solid; padding: 0.5rem 0; }}
        {heads}
    }} }}
    </style>"""
)
with st.container(border=True, key="report"):
    st.markdown(text.split("\n", 1)[1])  # without its title, which the page has already
