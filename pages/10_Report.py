"""The report: what the visitor collected on the pages, and the cards of models and methods, for download."""

import streamlit as st

from xai_core.analysis import report as report_document
from xai_core.app.failures import plan_entries
from xai_core.app.report import appendix_view, part_list
from xai_core.app.shared import display, page_setup
from xai_core.core.document import Block

PLANS = "Plans of the page Failure analysis that were put on the report there."

page_setup.page("Report")
st.title("Report")
st.markdown(
    "What you have found, with all settings, and the cards of the models and methods behind it, in one document for readers "
    "who have to judge what a map is worth: how each model was trained, how each map is computed, and what it can and "
    "cannot show."
)
top = st.container()
report = part_list.show()
st.markdown("#### Appendix: models and methods")
chosen = appendix_view.choose(report)
planned = {plan.title: plan for plan in plan_entries.on_report().values()}
titles = st.multiselect("Plans", planned, list(planned), key="plans", help=PLANS) if planned else []
if not report.items and not (chosen.models and chosen.methods):
    st.info("Choose at least one model and one method.")
    st.stop()


app = (st.context.url or "").rstrip("/").removesuffix("/Report")  # where the document's links lead


def blocks() -> list[Block]:
    """The whole document."""
    plans = [block for title in titles for block in planned[title].blocks(level=3)]
    return report_document.blocks(
        chosen.models, chosen.methods, report=report if report.items else report_document.NO_REPORT, plans=plans, app=app,
        whole=chosen.whole,
    )  # fmt: skip


with top:
    display.downloads(
        {
            name: (file, mime, lambda write=write: write(blocks()))
            for name, (file, mime, write) in report_document.FORMATS.items()
        }
    )
if titles:
    st.markdown("#### Plans")
for title in titles:
    with st.expander(title):
        st.markdown(planned[title].to_markdown(level=3))
appendix_view.show(report_document.appendix(chosen.models, chosen.methods, chosen.whole))
