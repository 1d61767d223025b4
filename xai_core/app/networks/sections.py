"""What stands under the columns of the model-comparison page: agreement, differences, many pictures, downloads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.analysis import compare_models
from xai_core.analysis.compare_models import Answer
from xai_core.app.charts import common
from xai_core.app.networks.columns import COLUMN, Asked
from xai_core.app.shared import cache, display, loaded_models, network_outputs, progress, session, turns
from xai_core.app.shared.network_choice import Network
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import BadPicture
from xai_core.data import datasets
from xai_core.data.image_io import SUFFIXES
from xai_core.data.samples import SAMPLES
from xai_core.explanation import agreement as map_agreement
from xai_core.explanation import export, rendering
from xai_core.explanation.result import Explanation

MOST_PICTURES = 200
Answers = Mapping[Network, Answer]


def _maps(found: Answers) -> dict[Network, Explanation]:
    return {one: answer.explanation for one, answer in found.items() if isinstance(answer.explanation, Explanation)}


def agreement(found: Answers) -> None:
    """How far maps agree, and how far predictions do."""
    maps = _maps(found)
    measure = st.segmented_control(
        "Measure of the maps", map_agreement.MEASURES, default="spearman", required=True,
        format_func=lambda id: map_agreement.MEASURES[id][0], key="measure", **LINK,
    )  # fmt: skip
    first, second = st.columns(2)
    with first:
        st.markdown("**Maps**")
        if len(maps) < 2:
            st.info("Two networks with a map are needed.")
        else:
            matrix = map_agreement.agreement(list(maps.values()), measure)
            _matrix(matrix, [one.title for one in maps], map_agreement.MEASURES[measure][0])
            st.caption(
                f"On {map_agreement.GRID} x {map_agreement.GRID} cells of the part of the picture that all of them saw. "
                "Supervised networks come first, then self-supervised, then untrained ones."
            )
    with second:
        st.markdown("**Predictions**")
        same = compare_models.same_top(list(found.values()))
        if np.isnan(same):
            st.info("Two networks with classes are needed.")
        else:
            shared = compare_models.shared_top(list(found.values()))
            _matrix(shared, [one.title for one in found], "Share of the five most probable classes in common")
            st.caption(f"Pairs with the same first guess: {same:.0%}. Classes are matched by name.")


def _matrix(matrix: np.ndarray, names: Sequence[str], said: str) -> None:
    chart = common.agreement_matrix(matrix, names, said)
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    pairs = pairs[np.isfinite(pairs)]
    reach = f"{pairs.min():.2f} to {pairs.max():.2f}" if len(pairs) else "nothing to compare"
    st.altair_chart(chart, width="content", alt=f"{said} of {', '.join(names)}: {reach}.")


def difference(found: Answers, chosen: Chosen) -> None:
    """Where one network looks and another does not."""
    maps = {one.title: explanation for one, explanation in _maps(found).items()}
    if len(maps) < 2:
        st.info("Two networks with a map are needed.")
        return
    with st.container(horizontal=True):
        first = st.selectbox("First", list(maps), 0, key="first", width=320, **LINK)
        second = st.selectbox("minus", list(maps), 1, key="second", width=320, **LINK)
    if first == second:
        st.info("Choose two different networks.")
        return
    apart = compare_models.difference(maps[first], maps[second])
    scale = rendering.scale_of(apart, clip=100.0)
    alt = f"{first} minus {second}: {rendering.alt_text(apart, 'difference')}"
    display.map_picture(apart, chosen, scale, True, alt, 2 * COLUMN)
    rho = map_agreement.agreement([maps[first], maps[second]])[0, 1]
    st.caption(
        f"Warm: {first} puts more weight there; cool: {second} does. Each map is divided by its largest magnitude first, "
        f"because their units differ. Scale symmetric about zero, {scale.low:.2g} to {scale.high:.2g}, over the part both "
        f"saw. Rank correlation of the two maps: {rho:.2f}."
    )


def pictures(wanted: Sequence[Network], asked: Asked) -> None:
    """The same question for many pictures, as a table: the one on which networks differ most comes first."""
    chosen = _many()
    if not chosen:
        return
    name = f"table {sorted(chosen)} {wanted} {asked}"
    rows = cache.get(name)
    forward, backward = METHODS[asked.method].usual_cost
    seconds = sum(len(chosen) * (1 + forward + 2 * backward) * network_outputs.pass_seconds(one.id) for one in wanted)
    if rows is None and progress.should_start(name, seconds, button="Ask all"):
        with progress.bar(name) as bar:
            rows = turns.in_turn(lambda track: _table(wanted, chosen, asked, track), bar, "Pictures")
            cache.put(name, rows)
    if rows is None:
        return
    table = pd.DataFrame(rows)
    percent = {name: st.column_config.NumberColumn(format="percent") for name in table if name.endswith("probability")}
    st.dataframe(table, hide_index=True, column_config=percent | {"map agreement": _NUMBER, "same top class": _PERCENT})
    st.caption("Map agreement: mean rank correlation over all pairs of networks. Click a heading to sort by it.")
    display.downloads({"Table (CSV)": ("networks.csv", "text/csv", table.to_csv(index=False))})


BUNDLED, YOURS = "The bundled photographs", "Your pictures"


def _many() -> dict[str, Image.Image | Path]:
    """The pictures to ask about, by name: the samples, an upload, or a folder under `data/`."""
    folders = {name: path for name, path in datasets.offered().items() if path.is_dir()}
    source = st.selectbox(
        "Pictures", [BUNDLED, *folders, YOURS], key="many", width=420,
        help="Folders under `data/` (XAI_DATA names others) are listed here.", **LINK,
    )  # fmt: skip
    if source == BUNDLED:
        return {one.title: cache.sample(id) for id, one in SAMPLES.items()}
    if source == YOURS:
        files = st.file_uploader(
            f"Up to {MOST_PICTURES}", type=sorted(suffix[1:] for suffix in SUFFIXES), accept_multiple_files=True, key="files"
        )
        found, unreadable = _opened((files or [])[:MOST_PICTURES])
        for line in unreadable:
            st.warning(line)
        return found
    dataset = datasets.open_folder(folders[source])
    if len(dataset.samples) > MOST_PICTURES:
        st.caption(f"{MOST_PICTURES} of {len(dataset.samples):,} pictures, evenly spread.")
    step = max(1, len(dataset.samples) // MOST_PICTURES)
    return {one.name: folders[source] / one.name for one in dataset.samples[::step][:MOST_PICTURES]}


_NUMBER = st.column_config.NumberColumn(format="%.2f")
_PERCENT = st.column_config.NumberColumn(format="percent")


def _opened(files) -> tuple[dict[str, Image.Image], list[str]]:
    """Pictures by name, and a line for each file that is none."""
    found, unreadable = {}, []
    for file in files:
        data = file.getvalue()
        try:
            found[file.name] = session.decoded(data)
        except BadPicture as error:
            unreadable.append(f"{file.name}: {error}")
    return found, unreadable


def _table(wanted: Sequence[Network], every: Mapping[str, Image.Image | Path], asked: Asked, track) -> list[dict]:
    """`compare_on`, with networks told apart by their titles (two checkpoints of one model are two networks)."""
    by_title = {one.title: one for one in wanted}
    reference = cache.sample(asked.reference) if asked.reference else None
    return compare_models.compare_on(
        list(by_title), every, asked.method,
        load=lambda title: loaded_models.model(by_title[title].id, by_title[title].checkpoint),
        target=asked.target, reference=reference, track=track,
    )  # fmt: skip


def downloads(found: Answers, chosen: Chosen, asked: Asked) -> None:
    """Everything on the page: one sheet, the raw maps, the predictions and settings."""
    maps = {one.title: explanation for one, explanation in _maps(found).items()}
    if not maps:
        st.info("There is no map to download.")
        return

    def sheet() -> bytes:
        drawn = {}
        for title, one in maps.items():
            scale = rendering.scale_of(one)
            part_of, part = rendering.seen_part(one, chosen.picture, 600)
            words = f"{title}: {one.target} = {one.target_value:.3g}. {scale.words}"
            drawn[words] = rendering.with_bar(rendering.overlay(part_of, part, scale), scale)
        return export.png_bytes(
            rendering.sheet({f"Input, {asked.words}": chosen.picture} | drawn), next(iter(maps.values()))
        )

    def settings() -> str:
        said = {
            one.title: {
                "predictions": [prediction._asdict() for prediction in answer.predictions],
                "explanation": answer.explanation.settings()
                if isinstance(answer.explanation, Explanation)
                else str(answer.explanation),
            }
            for one, answer in found.items()
        }
        return json.dumps(said, indent=2, default=str)

    stem = f"{chosen.name}_networks_{asked.method}"
    kinds = {
        "One sheet (PNG)": (f"{stem}.png", "image/png", sheet),
        "Raw maps (NPZ)": (f"{stem}.npz", "application/octet-stream", lambda: export.npz_of_many(maps)),
        "Predictions and settings (JSON)": (f"{stem}.json", "application/json", settings),
    }
    display.downloads(kinds)
