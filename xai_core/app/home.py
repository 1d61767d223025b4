"""What Home shows. Imports no torch: the page is there before the first model is loaded."""

import sys
import tempfile
from pathlib import Path

import streamlit as st

from xai_core.app.shared import loaded_models
from xai_core.core import settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.models.card import Card, Checkpoint
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import broken_cards, cards

SINGLE, METHODS, MODELS = "pages/1_Single_image.py", "pages/2_Method_comparison.py", "pages/3_Model_comparison.py"
METRICS, PAIRS, MISSES = "pages/4_Faithfulness_metrics.py", "pages/5_Pairs.py", "pages/6_Misclassifications.py"
EVOLUTION, REPORT = "pages/7_Training_evolution.py", "pages/8_Report.py"

PAGES = {
    SINGLE: (
        "Single image",
        ":material/image_search:",
        "Why this class? Why this and not that? Any method, any layer, the raw values under your pointer, and a link or "
        "file that reproduces what you see.",
    ),
    METHODS: (
        "Method comparison",
        ":material/grid_view:",
        "Do the methods agree on one picture, where do they not, and which of them pass the sanity check? Also one method "
        "over all layers, and a blind vote.",
    ),
    MODELS: (
        "Model comparison",
        ":material/compare:",
        "Do several networks say the same, and look at the same places? One picture or many; supervised, self-supervised "
        "and untrained ones side by side.",
    ),
    METRICS: (
        "Faithfulness metrics",
        ":material/rule_settings:",
        "Which of these maps tells the truth about the model? Every metric beside maps that know nothing, on one picture or "
        "on many, with intervals, and a test of the metric itself on this very model.",
    ),
    PAIRS: (
        "Pairs",
        ":material/join_inner:",
        "Why does a network find two views alike? For networks that learned without classes: maps for both views, matching "
        "patches, and how faithful each method is.",
    ),
    MISSES: (
        "Misclassifications",
        ":material/rule:",
        "Which of your labelled pictures does the model get wrong, which classes does it confuse, why this and not that, "
        "and is it right for the wrong reason? From the confusion matrix to one picture in a few clicks.",
    ),
    EVOLUTION: (
        "Training evolution",
        ":material/timeline:",
        "How did each sample's prediction move over the epochs? What was known early, forgotten, or never got; one run, or "
        "two over each other, also while they are being written.",
    ),
    REPORT: (
        "Report",
        ":material/description:",
        "Which model, which data, and what each method can and cannot tell: cards and one table, as Markdown or PDF.",
    ),
}


def pages() -> None:
    """What each page answers."""
    st.subheader("What you can ask")
    for page, (label, icon, words) in PAGES.items():
        with st.container(border=True):
            st.page_link(page, label=f"**{label}**", icon=icon)
            st.markdown(words)


EXAMPLES = {
    "Do six methods agree about the astronaut?": (METHODS, {"picture": "Astronaut"}),
    "A cat of three names: why *tiger cat* and not *tabby*?": (SINGLE, {
        "picture": "Chelsea the cat", "ask": "A and not B", "method": "HiResCAM", "hires_cam.relu": "false",
        "b": "tabby, tabby cat (281)",
    }),
    "What would go if parts of the coffee were covered?": (SINGLE, {
        "picture": "Coffee", "method": "Occlusion sensitivity", "occlusion.stride": "28",
    }),
    "Which pixels make a motorcycle a *moped*?": (SINGLE, {"picture": "Motorcycle", "method": "Integrated gradients"}),
    "What does training change? Beside an untrained twin": (MODELS, {"picture": "Rocket"}),
    "Which pictures did a network forget again?": (EVOLUTION, {
        "which": "Forgotten: right before, wrong at the end",
    }),
    "What do two views of the astronaut share?": (PAIRS, {"picture": "Astronaut"}),
    "What is the same map worth on its native grid?": (SINGLE, {"picture": "Rocket", "resolution": "Native grid"}),
}  # fmt: skip


def examples() -> None:
    """Deep links: each opens a page with everything chosen."""
    st.subheader("Examples")
    for label, (page, query) in EXAMPLES.items():
        st.page_link(page, label=label, icon=":material/arrow_forward:", query_params=query)


def limits() -> None:
    """What a saliency map is not, in plain words."""
    st.subheader("How far to trust a map")
    st.markdown(
        "- A map says what **this network** used, not what is in the picture, nor what a person would look at.\n"
        "- A map that looks right is **no proof**: some methods draw the same outline whatever the network learned.\n"
        "- Most maps are **coarse**: a 7 x 7 grid smoothed to the size of the picture. Look at the native grid before "
        "you believe an edge.\n"
        "- The **question** matters: a class, its probability, and 'A and not B' have different maps.\n"
        "- Methods **disagree**. Where two that work differently (a gradient, and covering parts) agree, trust grows."
    )


def status() -> None:
    """Device, models, memory: what is ready now."""
    st.subheader("Status")
    torch = sys.modules.get("torch")
    with st.container(border=True):
        if torch is None:
            st.markdown("**Device**: found when the first model is loaded")
        else:
            from xai_core.core import runtime

            st.markdown(f"**Device**: {runtime.device()}")
        resident = resident_megabytes()
        if resident:
            st.markdown(f"**Memory of this process**: {resident:,.0f} MB")
        held = ", ".join(f"{id} ({checkpoint}, {size / 1e6:.0f} MB)" for id, checkpoint, size in loaded_models.in_memory())
        st.markdown(f"**Models in memory**: {held or 'none yet'}; {loaded_models.budget() / 1e9:g} GB at most")
        states = [(card, one, locate.find(one)) for card in cards().values() for one in card.checkpoints]
        for card, checkpoint, found in states:
            if found:
                st.markdown(f":material/check_circle: **{_name(card, checkpoint)}**: ready")
        with st.expander("Models whose weights are not here yet"):
            for card, checkpoint, found in states:
                if not found:
                    by_hand = not all(file.url for file in checkpoint.files)
                    how = "put into `weights/` by hand" if by_hand else "fetched when first chosen"
                    icon = "file_open" if by_hand else "cloud_download"
                    st.markdown(f":material/{icon}: **{_name(card, checkpoint)}**: {how} ({checkpoint.megabytes} MB)")
        for problem in broken_cards().values():
            st.markdown(f":material/error: {problem}")


def bring() -> None:
    """Take in a model of one's own: only where XAI_MODEL_UPLOADS=1 says that visitors may (private deployments)."""
    if not settings.MODEL_UPLOADS.value():
        return
    st.subheader("Bring a model")
    st.markdown(
        "Its card, `NAME.toml` (the README shows one), with the checkpoint that the card names and, if it names one, "
        "the list of classes. The checkpoint must fit its network exactly; nothing in it is run."
    )
    files = st.file_uploader(
        "Card and checkpoint", type=["toml", "safetensors", "pth", "pt", "tar", "txt"], accept_multiple_files=True,
        max_upload_size=LARGEST, key="bring",
    )  # fmt: skip
    if files and st.button("Take it in", type="primary"):
        try:
            with st.spinner("Checking the checkpoint against its network"):
                st.success(f"Here it is, ready to be chosen on every page: **{_taken_in(files)}**.")
        except XaiError as error:
            st.error(str(error))


LARGEST = 2000  # MB of an uploaded checkpoint


def _taken_in(files) -> str:
    """The id of the model in these uploads."""
    from xai_core.models.import_file import import_own

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / Path(file.name).name for file in files]
        for path, file in zip(paths, files, strict=True):
            path.write_bytes(file.getbuffer())
        found = [path for path in paths if path.suffix == ".toml"]
        if len(found) != 1:
            raise BadRequest("Give one card, a file NAME.toml, with the files it names.")
        return import_own(found[0])


def _name(card: Card, checkpoint: Checkpoint) -> str:
    return f"{card.title} {checkpoint.id}" if len(card.checkpoints) > 1 else card.title


def resident_megabytes() -> float | None:
    """Memory that this process holds, in MB; None where the system does not say (no /proc)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 / 1e6 if statm.exists() else None
