"""A team judges pictures: rounds, blind votes, progress, discussion, agreement, minutes."""

import streamlit as st

from xai_core.app.review import access, round_list
from xai_core.app.shared import display, identity, page_links, page_setup, review_store, session, widgets
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown
from xai_core.review import example, rounds

SECTIONS = {
    "Vote": page_setup.view("review.vote:show"),
    "Progress": page_setup.view("review.progress:show"),
    access.DISCUSSION: page_setup.view("review.discussion:show"),
    "Agreement": page_setup.view("review.agreement_view:show"),
    "Minutes": page_setup.view("review.minutes_view:show"),
}

page_setup.page(page_links.REVIEW)
st.title("What do we say of these pictures?")
complaint = session.complaint()
if complaint:
    st.error(error_text(complaint))
with st.sidebar:
    person = identity.show(page_links.REVIEW)
with display.errors():
    store = review_store.engine()
    with st.sidebar:
        review_store.say_where(store)
    id = st.query_params.get(access.ROUND)
    if id is None:
        st.markdown(
            "A team judges a model's errors: everybody votes alone first, then you settle what you disagree on, and the "
            "minutes say what to do."
        )
        round_list.show(store, person)
        st.stop()
    st.button("All rounds", icon=":material/arrow_back:", type="tertiary", on_click=st.query_params.clear)
    if id == example.ID:
        store, round = example.open_example(store)
    else:
        round = rounds.load(store, id)
    role = access.role(store, round, person)
    if role is None:
        st.info(
            "You do not take part in this round. Open the link of an invitation, or ask its owner for one."
            if person
            else "Say who you are (on the left); then the invitation lets you in."
        )
        st.stop()
    st.subheader(markdown.escape(round.title))
    default = "Vote" if round.state == rounds.VOTING else access.DISCUSSION
    section = st.segmented_control(
        "Section", list(SECTIONS), default=default, required=True, key="section", label_visibility="collapsed",
        on_change=st.query_params.pop, args=("picture", None), **widgets.LINK,
    )  # fmt: skip
    SECTIONS[section](store, round, person, role)
