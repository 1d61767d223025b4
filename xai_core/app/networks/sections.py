"""The sections under the columns of the page Model comparison: agreement, difference, many pictures, downloads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from PIL import Image
from streamlit.runtime.uploaded_file_manager import UploadedFile

from xai_core.analysis import compare_models, findings
from xai_core.analysis.compare_models import Answer
from xai_core.app.charts import common
from xai_core.app.networks.columns import COLUMN, LINKED, NetworkQuestion
from xai_core.app.shared import (
    cache,
    display,
    loaded_models,
    network_choice,
    network_outputs,
    page_links,
    page_setup,
    page_work,
    picture_viewer,
    report_items,
    session,
    widgets,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.network_choice import Network
from xai_core.app.shared.opened_datasets import open_offered
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution import variants
from xai_core.core import markdown
from xai_core.core.cache_key import array_digest, text_digest
from xai_core.core.errors import BadPicture
from xai_core.core.runtime import Track
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data import datasets
from xai_core.data.image_io import SUFFIXES
from xai_core.data.samples import SAMPLES
from xai_core.explanation import agreement as map_agreement
from xai_core.explanation import export, rendering
from xai_core.explanation.result import Explanation

MOST_PICTURES = 200
Answers = Mapping[Network, Answer]


def _maps(answers: Answers) -> dict[str, Explanation]:
    """The maps of the networks that gave one, by the networks' titles."""
    return {
        network.title: answer.explanation
        for network, answer in answers.items()
        if isinstance(answer.explanation, Explanation)
    }


def agreement(answers: Answers) -> None:
    """Agreement of the maps, and of the predictions."""
    maps = _maps(answers)
    measure = st.segmented_control(
        "Measure of the maps", map_agreement.MEASURES, default="spearman", required=True,
        format_func=lambda id: map_agreement.MEASURES[id][0], key="measure", **LINK,
    )  # fmt: skip
    first, second = st.columns(2)
    with first:
        st.markdown("**Maps**")
        if len(maps) < 2:
            st.info("This needs two networks with a map.")
        else:
            matrix, title = map_agreement.agreement(list(maps.values()), measure), map_agreement.MEASURES[measure][0]
            display.finding(findings.of_agreement(list(maps), matrix, title))
            _matrix(matrix, list(maps), title)
            st.caption(
                f"On {map_agreement.GRID} x {map_agreement.GRID} cells of the part of the picture that all of them saw. "
                "Supervised networks come first, then self-supervised, then untrained ones."
            )
    with second:
        st.markdown("**Predictions**")
        matrix = compare_models.same_top_matrix(list(answers.values()))
        pairs = matrix[np.triu_indices(len(matrix), 1)]
        pairs = pairs[np.isfinite(pairs)]
        if not len(pairs):
            st.info("This needs two networks with classes.")
        else:
            tops = {network.title: answer.predictions[0].name for network, answer in answers.items() if answer.predictions}
            display.finding(findings.of_top_classes(tops))
            _matrix(matrix, [network.title for network in answers], "Same top class")
            st.caption(
                f"Same top class: 1 where two networks predict the same class for this picture, 0 where they do not; "
                f"{pairs.sum():.0f} of {len(pairs)} pairs do. Classes are matched by name; a dash means a network without "
                "classes, or without an answer."
            )


def _matrix(matrix: NDArray[np.floating], names: Sequence[str], measure: str) -> None:
    chart = common.agreement_matrix(matrix, names, measure)
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    pairs = pairs[np.isfinite(pairs)]
    values = f"{pairs.min():.2f} to {pairs.max():.2f}" if len(pairs) else "nothing to compare"
    with st.container(width=chart.width):
        display.chart(chart, f"{measure} of {', '.join(names)}: {values}.", width="stretch")


def difference(answers: Answers, chosen: Chosen) -> None:
    """The difference of the maps of two networks."""
    maps = _maps(answers)
    if len(maps) < 2:
        st.info("This needs two networks with a map.")
        return
    with st.container(horizontal=True):
        first = st.selectbox("First", list(maps), 0, key="first", width=320, **LINK)
        second = st.selectbox("minus", list(maps), 1, key="second", width=320, **LINK)
    if first == second:
        st.info("Choose two different networks.")
        return
    difference_map = compare_models.difference(maps[first], maps[second])
    scale = rendering.scale_of(difference_map, clip=100.0)
    alt = f"{first} minus {second}: {rendering.alt_text(difference_map, 'difference')}"
    picture_viewer.overlay(
        chosen.picture,
        difference_map,
        scale,
        alt,
        "difference",
        linked=LINKED,
        width=2 * COLUMN,
        smooth=True,
        caption=f"{alt} Each map is first divided by its largest magnitude.",
        said="Difference",
    )
    rho = map_agreement.agreement([maps[first], maps[second]])[0, 1]
    correlation = "undefined, because a map is uniform" if np.isnan(rho) else f"{rho:.2f}"
    st.caption(
        f"Warm colours: {markdown.escape(first)} puts more weight there; cool colours: {markdown.escape(second)} puts more "
        "weight there. Each map is first divided by its largest magnitude, because their units differ. The scale is "
        f"symmetric about zero, {scale.low:.2g} to {scale.high:.2g}. The part that both networks saw is shown. Rank "
        f"correlation of the two maps: {correlation}."
    )


def pictures(networks: Sequence[Network], question: NetworkQuestion) -> None:
    """The same question about many pictures, as a table. The picture on which the networks differ most comes first."""
    choice, sources = _many()
    if not sources:
        return

    def compute(track: Track) -> None:
        rows = _table(networks, sources, question, track)
        cache.put(_table_key(networks, sources, question), rows)  # after a download the weights are others

    seconds = sum(network_outputs.map_seconds(*network, question.method, len(sources)) for network in networks)
    page_work.complete(
        PageWork(
            text_digest(f"table {_digests(sources)} {[*map(tuple, networks)]} {question}"),
            [Part("Pictures", seconds, compute)] if cache.get(_table_key(networks, sources, question)) is None else [],
            f"Compare {len(networks)} networks on {page_work.counted(len(sources), 'picture')}",
            page_links.MODELS,
            private=choice == YOURS,
            button="Compute the table",
        )
    )
    rows = cache.get(_table_key(networks, sources, question))
    if rows is None:
        return
    table = pd.DataFrame(rows)
    columns = {name: _PERCENT for name in map(str, table) if name.endswith("probability")}
    columns |= {"map agreement": _NUMBER, "same top class": _PERCENT}
    display.openable_table(
        table, "many pictures", lambda row: _open(choice, str(rows[row]["picture"])), columns=columns,
        alt=f"Agreement of {len(networks)} networks on {page_work.counted(len(sources), 'picture')}",
    )  # fmt: skip
    st.caption(
        "Map agreement: mean rank correlation over all pairs of networks. Same top class: the share of pairs of networks "
        "that predict the same class. Click a column heading to sort by it. Open: shows the maps of this picture above."
    )
    display.downloads({"Table (CSV)": ("networks.csv", "text/csv", csv_bytes(table))})


def _open(choice: str, name: str) -> None:
    """Choose a picture of the table for the page. For callbacks."""
    if choice == BUNDLED:
        st.session_state["picture"] = name
    elif choice == YOURS:
        widgets.use_upload(next(file for file in st.session_state["files"] if file.name == name).getvalue())
    else:
        widgets.use_dataset_picture(choice, name)
    page_setup.scroll_to("answers")


_NUMBER = st.column_config.NumberColumn(format="%.2f")
_PERCENT = st.column_config.NumberColumn(format="percent")
BUNDLED, YOURS = "The bundled photographs", "Your pictures"
Source = Image.Image | Path


def _table_key(networks: Sequence[Network], sources: Mapping[str, Source], question: NetworkQuestion) -> str:
    """The key of the table; it is made without loading the networks."""
    weights = [(network, loaded_models.weights_of(*network)) for network in networks]
    version = variants.method_of(question.method).version
    return text_digest(f"table of networks {_digests(sources)} {weights} {question} {version}")


def _digests(sources: Mapping[str, Source]) -> list[tuple[str, str]]:
    """The name and a digest of each picture: of its pixels, or of its file's path, size and time."""
    digests = []
    for name, source in sorted(sources.items()):
        if isinstance(source, Path):
            status = source.stat()
            digests.append((name, text_digest(f"{source} {status.st_size} {status.st_mtime_ns}")))
        else:
            digests.append((name, array_digest(np.asarray(source))))
    return digests


def _many() -> tuple[str, dict[str, Source]]:
    """What was chosen, and the pictures of the table by name: the samples, uploads, a world, or a folder under `data/`."""
    offered = {
        name: source
        for name, source in datasets.offered().items()
        if isinstance(source, str) or datasets.place_of(source).is_dir()
    }
    names, first = [BUNDLED, *offered, YOURS], network_choice.first_picture()
    choice = st.selectbox(
        "Pictures", names, names.index(first[0] if first else BUNDLED), key="many", width=420,
        help="Folders under `data/`, and under the folders named by XAI_DATA, are listed here.", **LINK,
    )  # fmt: skip
    if choice == BUNDLED:
        return choice, {sample.title: cache.sample(id) for id, sample in SAMPLES.items()}
    if choice == YOURS:
        files = st.file_uploader(
            f"Up to {MOST_PICTURES}", type=sorted(suffix[1:] for suffix in SUFFIXES), accept_multiple_files=True, key="files"
        )
        return choice, _opened((files or [])[:MOST_PICTURES])
    dataset = open_offered(choice)
    if len(dataset.samples) > MOST_PICTURES:
        st.caption(f"{MOST_PICTURES} of {len(dataset.samples):,} pictures, evenly spread.")
    count = min(MOST_PICTURES, len(dataset.samples))
    samples = [dataset.samples[place * len(dataset.samples) // count] for place in range(count)]
    read = {one.name: dataset.read(one.name) for one in samples}
    return choice, {name: file if isinstance(file, Path) else dataset.open(name) for name, file in read.items()}


def _opened(files: Sequence[UploadedFile]) -> dict[str, Source]:
    """The uploaded pictures, by name. A warning names each file that is no picture."""
    pictures: dict[str, Source] = {}
    for file in files:
        try:
            pictures[file.name] = session.decoded(file.getvalue())
        except BadPicture as error:
            st.warning(error_text(f"{file.name}: {error}"))
    return pictures


def _table(
    networks: Sequence[Network], sources: Mapping[str, Source], question: NetworkQuestion, track: Track
) -> list[dict[str, Any]]:
    """`compare_on`, with networks named by their titles, since two checkpoints of one model are two networks."""
    by_title = {network.title: network for network in networks}
    reference = cache.sample(question.reference) if question.reference else None
    return compare_models.compare_on(
        list(by_title), sources, question.method,
        load=lambda title: loaded_models.model(by_title[title].id, by_title[title].checkpoint),
        target=question.target, reference=reference, track=track,
    )  # fmt: skip


def downloads(answers: Answers, chosen: Chosen, question: NetworkQuestion) -> None:
    """All answers of the page: one sheet, the raw maps, the predictions and settings."""
    maps = _maps(answers)
    if not maps:
        st.info("There is no map to download.")
        return

    def sheet() -> bytes:
        panels = {f"Input, {question.words}": chosen.picture}
        for title, explanation in maps.items():
            scale = rendering.scale_of(explanation)
            part_of, part = rendering.seen_part(explanation, chosen.picture, 600)
            words = f"{title}: {explanation.target} = {explanation.target_value:.3g}. {scale.words}"
            panels[words] = rendering.with_bar(rendering.overlay(part_of, part, scale), scale)
        return export.png_bytes(rendering.sheet(panels), next(iter(maps.values())))

    def settings() -> str:
        described = {
            network.title: {
                "predictions": [prediction._asdict() for prediction in answer.predictions],
                "explanation": answer.explanation.settings()
                if isinstance(answer.explanation, Explanation)
                else str(answer.explanation),
            }
            for network, answer in answers.items()
        }
        return json.dumps(described, indent=2, default=str)

    stem = f"{chosen.name}_networks_{question.method}"
    display.downloads(
        {
            "One sheet (PNG)": (f"{stem}.png", "image/png", sheet),
            "Raw maps (NPZ)": (f"{stem}.npz", "application/octet-stream", lambda: export.npz_of_many(maps)),
            "Predictions and settings (JSON)": (f"{stem}.json", "application/json", settings),
        },
        lambda: report_items.add_picture(
            sheet, f"Maps of {chosen.name} by {len(maps)} networks: {', '.join(maps)}", "all maps in one sheet", "sheet"
        ),
    )
