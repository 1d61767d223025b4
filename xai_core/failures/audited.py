"""What an audit works on, the predictions with their settings, and what its steps find: sections."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.failures import error_maps, group_pictures
from xai_core.failures.error_groups import ErrorGroups, groups
from xai_core.failures.group_evidence import linear_head
from xai_core.failures.group_pictures import GroupPictures
from xai_core.failures.head_edits import Head
from xai_core.failures.label_triage import Triage, triage
from xai_core.failures.picture_attributes import known_attributes, picture_statistics
from xai_core.failures.plan import PlannedAction
from xai_core.models.explainable import ExplainableModel

SHOWN = 8  # pictures of a list that a document shows
NO_ERRORS = "There are no errors to explain."


@dataclass(frozen=True)
class PictureList:
    """Some pictures, by their names in the dataset, the most telling one first."""

    title: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """What one step found.

    sentences   what was found, with its figures; or why nothing was
    tables      by what they hold; each is written as a file, too
    pictures    lists of pictures
    actions     what follows from it
    maps        mean maps (h, w), by what they are of
    done        whether the step was taken; otherwise its sentence says why not
    """

    title: str
    sentences: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    pictures: tuple[PictureList, ...] = ()
    actions: tuple[PlannedAction, ...] = ()
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    done: bool = True


@dataclass
class SectionDraft:
    """A section whose parts come group by group."""

    title: str
    sentences: list[str] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    pictures: list[PictureList] = field(default_factory=list)
    actions: list[PlannedAction] = field(default_factory=list)
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @contextmanager
    def about(self, group: str) -> Iterator[None]:
        """What cannot be done for a group is a sentence with the reason, and the next group comes."""
        try:
            yield
        except XaiError as error:
            self.sentences.append(f"{group}: not done. {error}")

    def section(self, otherwise: str) -> Section:
        """The section; `otherwise` is its sentence where there is none."""
        sentences = tuple(self.sentences) or (otherwise,)
        return Section(self.title, sentences, self.tables, tuple(self.pictures), tuple(self.actions), self.maps)


class TrainingPredictions(NamedTuple):
    """Judged predictions with embeddings, by the audited model, of the pictures that it was trained on; `title` says which
    these are."""

    title: str
    rows: pd.DataFrame


@dataclass(frozen=True, eq=False)
class AuditedPredictions:
    """What the steps work on: the judged predictions of `model` for `dataset` (`rows`, as `classify` writes them with
    embeddings), and the settings.

    groups     groups of errors that are looked into, at most
    pictures   pictures of a group that the network is asked about again, at most; drawn at random by `seed`
    by_maps    whether groups are also searched by maps of the errors and of as many right pictures
    training   for the evidence; None where there are no such predictions
    track      wraps the pictures or batches of what takes long
    measured   of `picture_statistics`, for all of the predictions, where shards have measured them
    """

    model: ExplainableModel
    dataset: Dataset
    rows: pd.DataFrame
    groups: int = 3
    pictures: int = 200
    seed: int = 0
    by_maps: bool = True
    training: TrainingPredictions | None = None
    track: Track = iter
    measured: pd.DataFrame | None = None

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        return (self.rows["true"] != self.rows["predicted"]).to_numpy(bool)

    @cached_property
    def features(self) -> NDArray[np.float32]:
        return np.stack(self.rows["embedding"].to_list())

    @cached_property
    def statistics(self) -> pd.DataFrame | None:
        """A row for each prediction, by its name; None where there are no groups to search for."""
        if not self.wrong.any() or self.wrong.all():
            return None
        if self.measured is not None:
            return self.measured.loc[self.rows["path"].to_list()]
        return picture_statistics(self.dataset, self.rows["path"].to_list(), track=self.track)

    @cached_property
    def maps(self) -> Sequence[NDArray[np.float32] | None] | None:
        """By `group_maps`; None where they are not wanted, do not fit the model, or have no errors to be of."""
        if not self.by_maps or self.statistics is None or METHODS[error_maps.METHOD].misfit(self.model):
            return None
        return error_maps.group_maps(self.model, self.dataset, self.rows, seed=self.seed, track=self.track)

    @cached_property
    def error_groups(self) -> ErrorGroups:
        known = known_attributes(self.dataset, self.rows["path"], self.statistics)
        return groups(self.rows, known, self.features, self.maps, seed=self.seed)

    @cached_property
    def head(self) -> Head | None:
        """By `linear_head`, on the features of the predictions."""
        return linear_head(self.model, self.rows)

    @cached_property
    def training_head(self) -> Head | None:
        """The same on the features of the training pictures; None where there are none."""
        return None if self.training is None else linear_head(self.model, self.training.rows)

    @cached_property
    def training_judgement(self) -> Triage | None:
        """Of the labels of the training pictures."""
        if self.training is None:
            return None
        features = np.stack(self.training.rows["embedding"].to_list())
        return triage(features, self.training.rows["true"].to_list(), seed=self.seed)

    @cached_property
    def looked_into(self) -> list[tuple[str, NDArray[np.int64]]]:
        """The groups whose causes are asked for, by their titles: the first confirmed ones, and all errors."""
        result = self.error_groups
        count = min(self.groups, len(result.confirmed))
        named = zip(result.table["group"].head(count), result.members[:count], strict=True)
        every = [("all errors", np.flatnonzero(self.wrong))] if self.wrong.any() else []
        return [*((str(title), members) for title, members in named), *every]

    def paths(self, places: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(self.rows["path"].iloc[list(places)])

    def pictures_of(self, members: NDArray[np.int64]) -> GroupPictures:
        """The pictures of a group that the network is asked about again, `pictures` at most."""
        chosen = group_pictures.sample(self.rows, members, self.seed)
        if len(chosen) > self.pictures:
            places = np.random.default_rng(self.seed).choice(len(chosen), self.pictures, replace=False)
            chosen = chosen.iloc[np.sort(places)].reset_index(drop=True)
        return group_pictures.read(chosen, self.dataset, self.model)
