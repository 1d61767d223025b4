"""The sections of the page Home. Imports no torch, so that the page opens before the first model is loaded."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from xai_core.app.shared import loaded_models, page_links
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_links import (
    EVOLUTION,
    FAILURES,
    HOME,
    JOBS,
    METHODS,
    METRICS,
    MISSES,
    MODELS,
    PAIRS,
    REPORT,
    REVIEW,
    SINGLE,
)
from xai_core.core import markdown, settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.models.card import Card, Checkpoint
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import broken_cards, cards

PAGES = {
    SINGLE: (
        "Why this class, and why not another? Any method and any layer, with the raw values under your pointer and a "
        "link or file that reproduces what you see."
    ),
    METHODS: (
        "Where do the methods agree on one picture, where do they differ, and which pass the sanity check? Also one method "
        "at all layers, and a blind vote."
    ),
    MODELS: (
        "Do several networks predict the same and look at the same places? One picture or many; supervised, self-supervised "
        "and untrained networks side by side."
    ),
    METRICS: (
        "Which maps are faithful to the model? Every metric is compared with control maps that do not depend on the model, "
        "on one picture or on many, with intervals. A self-test checks the metric itself on this model."
    ),
    PAIRS: (
        "Why does a network find two views similar? For networks trained without classes: maps for both views, matching "
        "patches, and how faithful each method is."
    ),
    MISSES: (
        "Which of your labelled pictures does the model get wrong, which classes does it confuse, and why? Is it sometimes "
        "right for the wrong reason? From the confusion matrix to one picture in a few clicks."
    ),
    FAILURES: (
        "Which labels are wrong, which errors belong together, what causes them, what mends them, and what should we do? "
        "Step by step to a plan; each claim is tested on pictures that did not suggest it."
    ),
    EVOLUTION: (
        "How did the prediction for each sample change over the epochs? Which samples were learned early, forgotten or "
        "never learned? One run or two together, also while they are being recorded."
    ),
    REVIEW: (
        "Do we agree on what these pictures show and why the model is wrong? A team votes blind, settles what it disagrees "
        "on, and takes away minutes and a list of what to do."
    ),
    REPORT: ("Which model, which data, and what each method can and cannot show: cards and one table, as Markdown or PDF."),
    JOBS: (
        "What is being computed now, how long will it take, and what was interrupted? Long work goes on when you leave its "
        "page; cancel or resume it here."
    ),
}


def pages() -> None:
    """Links to the pages, with what each answers."""
    st.subheader("What you can ask")
    for title, words in PAGES.items():
        with st.container(border=True):
            st.page_link(page_links.FILES[title], label=f"**{title}**", icon=page_links.ICONS[title])
            st.markdown(words)


EXAMPLES: dict[str, tuple[str, page_links.Query]] = {
    "Do six methods agree about the astronaut?": (METHODS, {"picture": "Astronaut"}),
    "Three classes fit this cat: why *tiger cat* and not *tabby*?": (SINGLE, {
        "picture": "Chelsea the cat", "ask": "A and not B", "method": "HiResCAM", "hires_cam.relu": "false",
        "b": "tabby, tabby cat (281)",
    }),
    "Which parts of the coffee matter? Cover them and see.": (SINGLE, {
        "picture": "Coffee", "method": "Occlusion sensitivity", "occlusion.stride": "28",
    }),
    "Which pixels make a motorcycle a *moped*?": (SINGLE, {"picture": "Motorcycle", "method": "Integrated gradients"}),
    "What does training change? A network beside its untrained twin": (MODELS, {
        "picture": "Rocket", "networks": ["EfficientNet-Lite0", "EfficientNet-Lite0, untrained"],
        "many": "The bundled photographs",
    }),
    "Which pictures did a network learn and forget?": (EVOLUTION, {
        "which": "Forgotten: right before, wrong at the end",
    }),
    "Which method tells the truth? Drawn pictures, whose parts can be taken away": (METRICS, {
        "view": "A run", "run": "truth", "look": "Ground truth",
    }),
    "Do four reviewers agree why a model is wrong? An example of a review": (REVIEW, {
        "round": "example", "section": "Agreement",
    }),
    "What makes two views of the astronaut similar?": (PAIRS, {"picture": "Astronaut"}),
    "How coarse is a map really? The native grid": (SINGLE, {"picture": "Rocket", "resolution": "Native grid"}),
}  # fmt: skip


def examples() -> None:
    """Links that open a page with all settings chosen."""
    st.subheader("Examples")
    for label, (page, query) in EXAMPLES.items():
        page_links.link(page, label, query, icon=":material/arrow_forward:", origin=HOME)


DOWNLOADS = """\
| dataset | how it lies in `data/` |
|---|---|
| [Intel scenes](https://www.kaggle.com/datasets/puneet6060/intel-image-classification), 6 classes | the ZIP as it is, or \
unpacked: `intel/seg_train/seg_train/buildings/...`, `seg_test`, `seg_pred` |
| [ImageNet](https://image-net.org/download-images), validation | `imagenet/val/ILSVRC2012_val_00000001.JPEG` ..., and the \
unpacked `imagenet/ILSVRC2012_devkit_t12/` |
| [ImageNet from Kaggle](https://www.kaggle.com/c/imagenet-object-localization-challenge/data) | \
`imagenet/LOC_val_solution.csv` and `imagenet/ILSVRC/Data/CLS-LOC/val/` |
| [one picture of each ImageNet class](https://github.com/EliSchwartz/imagenet-sample-images) | a folder or ZIP of files \
whose names begin with a WordNet id: `n02123045_tabby.JPEG` |
| [CIFAR-10](https://huggingface.co/datasets/uoft-cs/cifar10/tree/main) and others of the Hugging Face Hub | \
`cifar10/plain_text/train-00000-of-00001.parquet` ..., or what `save_to_disk("data/cifar10")` writes |
| pictures of your own | one folder for each class: `pets/cat/1.jpg`, or `pets/train/cat/1.jpg` and `pets/test/cat/2.jpg` |
"""


def datasets() -> None:
    """Where datasets can be had, and how their folders must lie."""
    st.subheader("Labelled pictures")
    st.markdown(
        "Put a dataset into `data/` as you downloaded it: pages then list it under *Pictures*, each part (such as train and "
        "test) by itself. Its licence is yours to read; nothing is downloaded by the app."
    )
    with st.expander("Where datasets can be had, and how they must lie"):
        st.markdown(DOWNLOADS)


def limits() -> None:
    """The limits of saliency maps, in plain words."""
    st.subheader("How far to trust a map")
    st.markdown(
        "- A map shows what **this network** used, not what is in the picture, and not what a person would look at.\n"
        "- A map that looks right is **no proof**: some methods draw the same outlines whatever the network has learned.\n"
        "- Most maps are **coarse**: a 7 x 7 grid, smoothed to the size of the picture. Look at the native grid before "
        "you trust an edge.\n"
        "- The **question** matters: a class, its probability, and 'A and not B' have different maps.\n"
        "- Methods **disagree**. A map deserves more trust where methods that work differently agree, for example a "
        "gradient and occlusion."
    )


def status() -> None:
    """The device, the memory, and which models are ready."""
    st.subheader("Status")
    torch = sys.modules.get("torch")
    with st.container(border=True):
        if torch is None:
            st.markdown("**Device**: detected when the first model is loaded")
        else:
            from xai_core.core import runtime

            st.markdown(f"**Device**: {runtime.device()}")
        st.markdown(f"**Memory of this process**: {resident_megabytes():,.0f} MB")
        loaded = ", ".join(
            markdown.escape(f"{id} ({checkpoint}, {size / 1e6:.0f} MB)")
            for id, checkpoint, size in loaded_models.in_memory()
        )
        most = f"; at most {loaded_models.budget() / 1e9:.3g} GB" if torch is not None else ""
        st.markdown(f"**Models in memory**: {loaded or 'none yet'}{most}")
        checkpoints = [(card, checkpoint) for card in cards().values() for checkpoint in card.checkpoints]
        missing = [(card, checkpoint) for card, checkpoint in checkpoints if locate.find(checkpoint) is None]
        for card, checkpoint in checkpoints:
            if (card, checkpoint) not in missing:
                st.markdown(f":material/check_circle: **{_name(card, checkpoint)}**: ready")
        with st.expander("Models whose weights are not on this machine yet"):
            for card, checkpoint in missing:
                by_hand = not all(file.url for file in checkpoint.files)
                how = "put the file into `weights/` yourself" if by_hand else "downloaded when first chosen"
                icon = "file_open" if by_hand else "cloud_download"
                st.markdown(f":material/{icon}: **{_name(card, checkpoint)}**: {how} ({checkpoint.megabytes} MB)")
        for problem in broken_cards().values():
            st.markdown(f":material/error: {markdown.escape(problem)}")


def bring() -> None:
    """Upload of a model; shown only if XAI_MODEL_UPLOADS=1 allows it (private deployments)."""
    if not settings.MODEL_UPLOADS.value():
        return
    st.subheader("Add a model")
    st.markdown(
        "Upload its card, `NAME.toml` (the documentation shows one), the checkpoint that the card names and, if the card "
        "names one, the list of classes. The checkpoint must fit its network exactly; no code in it is executed."
    )
    files = st.file_uploader(
        "Card and checkpoint", type=["toml", "safetensors", "pth", "pt", "tar", "txt"], accept_multiple_files=True,
        max_upload_size=LARGEST, key="bring",
    )  # fmt: skip
    if files and st.button("Add the model", type="primary"):
        try:
            with st.spinner("Checking the checkpoint against its network"):
                st.success(f"The model **{markdown.escape(_imported(files))}** was added and can be chosen on every page.")
        except XaiError as error:
            st.error(error_text(error))


LARGEST = 2000  # MB: largest checkpoint that can be uploaded


def _imported(files: Sequence[UploadedFile]) -> str:
    """Import an uploaded model; returns its id. Raises XaiError."""
    from xai_core.models.import_file import import_own

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / Path(file.name).name for file in files]
        for path, file in zip(paths, files, strict=True):
            path.write_bytes(file.getbuffer())
        card_files = [path for path in paths if path.suffix == ".toml"]
        if len(card_files) != 1:
            raise BadRequest("Upload one card, a file NAME.toml, together with the files that it names.")
        return import_own(card_files[0])


def _name(card: Card, checkpoint: Checkpoint) -> str:
    return markdown.escape(f"{card.title} {checkpoint.id}" if len(card.checkpoints) > 1 else card.title)


def resident_megabytes() -> float:
    """Memory that this process holds, in MB."""
    return float(psutil.Process().memory_info().rss / 1e6)
