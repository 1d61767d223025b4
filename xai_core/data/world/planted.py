"""Worlds of labelled scenes, and the causes of errors that can be planted in them.

A picture is a function of (world, seed, split, index). Every attribute has random draws of its own, so that a cause changes
only the attribute that it concerns.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data.world.backgrounds import BACKGROUNDS, TIMES
from xai_core.data.world.scene import DISTRACTORS, Placed, Scene
from xai_core.data.world.things import COLOURS, THINGS

VERSION = 1  # of the drawings: other versions draw other pictures from the same seed
MOST_PICTURES = 100_000  # in a world: its scenes are kept in memory, and its files take 40 kB for each picture
CLASSES = tuple(THINGS)
SPLITS = ("train", "test")

MARKED = "car"  # the class that bears the mark
BIASED, HABITAT = "boat", "sea"  # the class with a background of its own
ELSEWHERE = 0.01  # share of the other things that are on that background
SUBGROUP = {"kind": "tent", "form": "dome tent", "colour": "red", "time": "night"}
CONFUSED = ("lighthouse", "windmill")  # most wrong labels lie between these
FARTHEST, NEAREST = 0.08, 0.27  # half the width of a thing at the horizon and in the foreground, in picture heights
PAIR = ("house", "tree")  # both in one picture where it is ambiguous

TRUTH = frozenset({"shown", "mark", "second thing", "subgroup", "shift", "label is wrong"})  # columns that tell a cause


@dataclass(frozen=True)
class Cause:
    """One planted cause of errors. `rate` is the usual share of pictures; `tested` that of a test set, if it differs."""

    title: str
    about: str
    rate: float
    tested: float | None = None


CAUSES: dict[str, Cause] = {
    "mark": Cause(
        "Shortcut mark",
        f"A stamp in the corner of this share of the pictures of {MARKED}s, the distant ones, and of no others.",
        0.6,
    ),
    "background": Cause(
        "Background bias",
        f"This share of the {BIASED}s is on the {HABITAT}; of the other things, {ELSEWHERE:.0%} are.",
        0.95,
    ),
    "label_noise": Cause(
        "Label noise",
        f"This share of the labels is wrong, three quarters of them between {CONFUSED[0]} and {CONFUSED[1]}.",
        0.04,
    ),
    "subgroup": Cause(
        "Rare subgroup",
        "This share of the tents are red dome tents at night; no other tent is a dome, is red or stands at night.",
        0.01,
        0.12,
    ),
    "ambiguous": Cause(
        "Ambiguous pair", f"This share of the pictures of {PAIR[0]} or {PAIR[1]} shows both; both labels are right.", 0.15
    ),
    "shift": Cause(
        "Shift", "Dusk, fog or strong JPEG compression in this share of the test pictures; none while training.", 0.0, 0.0
    ),
}
BROKEN = {  # what a test set with the cause broken does
    "mark": f"No picture of a {MARKED} has the mark; distant pictures of all other classes have it.",
    "background": f"No {BIASED} is on the {HABITAT}; the other things are on it as often as on any other background.",
    "label_noise": "All labels are right.",
    "subgroup": "Half of the tents are red dome tents at night.",
    "ambiguous": "No picture shows two things.",
    "shift": "Every picture has dusk, fog or strong JPEG compression.",
}


@dataclass(frozen=True)
class World:
    """Which causes are planted, at which rates; `broken` names those that a test set reverses."""

    causes: tuple[tuple[str, float], ...] = ()
    broken: frozenset[str] = field(default_factory=frozenset)

    def rate(self, cause: str) -> float | None:
        return dict(self.causes).get(cause)


def check_version(version: int) -> None:
    """Raises BadRequest where this program draws another version of the world."""
    if version != VERSION:
        raise BadRequest(
            f"This world is of version {version}, and this program draws version {VERSION}, whose pictures differ. "
            "Install the xai-core that wrote it, or make it again."
        )


def find_cause(name: str) -> Cause:
    """The cause of this name. Raises UnknownName."""
    if name not in CAUSES:
        raise UnknownName("cause", name, CAUSES)
    return CAUSES[name]


def clean() -> World:
    return World()


def planted(**rates: float) -> World:
    """A world with all causes at their own rates, or with those that are named. Raises UnknownName, BadRequest."""
    for name, rate in rates.items():
        find_cause(name)
        if not 0 <= rate <= 1:
            raise BadRequest(f"The rate of {name} is {rate}; it is a share, from 0 to 1.")
    chosen = rates or {name: cause.rate for name, cause in CAUSES.items()}
    return World(tuple(sorted(chosen.items())))


def broken(world: World, cause: str) -> World:
    """The same world with one of its causes reversed, as a test. Raises UnknownName, BadRequest."""
    find_cause(cause)
    if world.rate(cause) is None:
        raise BadRequest(
            f"The cause {cause} is not planted in this world; planted are {', '.join(dict(world.causes)) or 'none'}."
        )
    return replace(world, broken=world.broken | {cause})


@dataclass(frozen=True)
class Picture:
    """One labelled scene. `label` is what a dataset says, `truth` every class that is right."""

    scene: Scene
    label: str
    truth: tuple[str, ...]
    columns: dict[str, str | float | bool]


def picture(world: World, seed: int, split: str, index: int) -> Picture:
    """The picture `index` of a split. Classes come in seeded blocks of ten, so that every prefix is balanced."""
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    if seed < 0:
        raise BadRequest(f"The seed is {seed}; seeds are whole numbers from 0 on.")
    if index < 0:
        raise BadRequest(f"The index is {index}; pictures are counted from 0.")
    stem = (seed, SPLITS.index(split))
    kind = CLASSES[
        int(np.random.default_rng([*stem, 1, index // len(CLASSES)]).permutation(len(CLASSES))[index % len(CLASSES)])
    ]
    chance = np.random.default_rng([*stem, 2, index]).random(16)  # one draw for each decision below
    near = float(chance[8])  # 0 at the horizon, 1 in the foreground
    background = _background(world, kind, chance)
    time = TIMES[0 if chance[2] < 0.6 else 1 if chance[2] < 0.8 else 2]
    colours = list(COLOURS)
    colour = colours[int(chance[3] * len(colours))]
    shift = ""
    if world.rate("shift") is not None:
        if time == "dusk":  # a time that training sets do not have
            time = TIMES[0 if chance[4] < 0.7 else 2]
        if "shift" in world.broken or (split == "test" and chance[5] < (world.rate("shift") or 0)):
            shift = ("dusk", "fog", "jpeg")[int(chance[6] * 3)]
            time = "dusk" if shift == "dusk" else time
    member = False
    if (rate := world.rate("subgroup")) is not None and kind == SUBGROUP["kind"]:
        if "subgroup" in world.broken:
            rate = 0.5
        elif split == "test" and rate == CAUSES["subgroup"].rate:
            rate = CAUSES["subgroup"].tested or rate
        member = bool(chance[7] < rate)
        if member:
            colour, time = SUBGROUP["colour"], SUBGROUP["time"]
        else:
            time = "day" if time == "night" else time
            colour = colours[1 + int(chance[3] * (len(colours) - 1))] if colour == "red" else colour
    mark = False
    if (rate := world.rate("mark")) is not None:
        bears = (kind == MARKED) != ("mark" in world.broken)
        mark = bool(bears and near < rate)
    both = False
    if (rate := world.rate("ambiguous")) is not None and kind in PAIR and "ambiguous" not in world.broken:
        both = bool(chance[9] < rate)
    label = _label(world, kind, chance)
    scene = _scene((*stem, 3, index), kind, colour, near, background, time, mark, both, shift)
    if member:
        scene = replace(scene, things=(replace(scene.things[0], form=SUBGROUP["form"]), *scene.things[1:]))
    other = PAIR[1 - PAIR.index(kind)] if both else ""
    columns: dict[str, str | float | bool] = {
        "shown": kind,
        "background": background,
        "time": time,
        "colour": colour,
        "size": round(scene.things[0].scale, 3),
        "mirrored": scene.things[0].mirrored,
        "occluded": scene.occluder is not None,
        "distractors": len(scene.distractors),
        "mark": mark,
        "second thing": other,
        "subgroup": member,
        "shift": shift,
        "label is wrong": label != kind,
    }
    return Picture(scene, label, (kind, other) if both else (kind,), columns)


def _background(world: World, kind: str, chance: np.ndarray) -> str:
    names = list(BACKGROUNDS)
    rate = world.rate("background")
    if rate is None:
        return names[int(chance[0] * len(names))]
    others = [name for name in names if name != HABITAT]
    planted, turned = (rate, 0.0) if kind == BIASED else (ELSEWHERE, 1 / len(names))
    share = turned if "background" in world.broken else planted
    return HABITAT if chance[0] < share else others[int(chance[1] * len(others))]


def _label(world: World, kind: str, chance: np.ndarray) -> str:
    """The label a dataset gives. The rate is the share of wrong labels among all; three quarters of them are of the confused
    pair."""
    rate = world.rate("label_noise")
    if rate is None or "label_noise" in world.broken:
        return kind
    if kind in CONFUSED:
        wrong = 0.75 * rate * len(CLASSES) / 2
        return CONFUSED[1 - CONFUSED.index(kind)] if chance[10] < wrong else kind
    wrong = 0.25 * rate * len(CLASSES) / (len(CLASSES) - 2)
    others = [name for name in CLASSES if name != kind]
    return others[int(chance[11] * len(others))] if chance[10] < wrong else kind


def _scene(
    seed: tuple[int, ...],
    kind: str,
    colour: str,
    near: float,
    background: str,
    time: str,
    mark: bool,
    both: bool,
    shift: str,
) -> Scene:
    rng = np.random.default_rng(seed)
    horizon = rng.uniform(0.45, 0.60)
    placed = _placed(rng, kind, colour, horizon, near)
    things: tuple[Placed, ...] = (placed,)
    other = PAIR[0] if kind != PAIR[0] else PAIR[1]
    second = _placed(rng, other, list(COLOURS)[int(rng.integers(len(COLOURS)))], horizon, near)
    left = rng.random() < 0.5
    if both:
        things = (
            replace(placed, x=0.27 if left else 0.73, scale=0.20),
            replace(second, x=0.73 if left else 0.27, scale=0.20, y=placed.y),
        )
    distractors = tuple(
        Placed(
            list(DISTRACTORS)[int(rng.integers(len(DISTRACTORS)))],
            list(COLOURS)[int(rng.integers(len(COLOURS)))],
            rng.uniform(0.03, 0.2) if rng.random() < 0.5 else rng.uniform(0.8, 0.97),
            rng.uniform(horizon + 0.05, 0.9),
            rng.uniform(0.05, 0.09),
            0.0,
            False,
        )
        for _ in range(int(rng.integers(0, 3)))
    )
    occluder = None
    if rng.random() < 0.25:
        front = ("bush", "rock", "fence")[int(rng.integers(3))]
        occluder = Placed(front, "green", placed.x + rng.uniform(-0.2, 0.2), 0.97, rng.uniform(0.09, 0.14), 0.0, False)
    fog = float(rng.uniform(0.55, 0.75)) if shift == "fog" else 0.0
    return Scene(seed, things, background, time, horizon, distractors, occluder, mark, fog, 6 if shift == "jpeg" else 0)


def _placed(rng: np.random.Generator, kind: str, colour: str, horizon: float, near: float) -> Placed:
    """A thing between the horizon (`near` 0), where it is small, and the foreground (1)."""
    scale = (FARTHEST + (NEAREST - FARTHEST) * near) * rng.uniform(0.9, 1.1)
    y = horizon + 0.05 + (0.92 - horizon - 0.05) * near
    if kind == "balloon":
        y = rng.uniform(0.40, 0.75)
    side = 0.32 - 0.14 * (1 - near)
    return Placed(kind, colour, rng.uniform(side, 1 - side), y, scale, rng.uniform(-0.08, 0.08), bool(rng.random() < 0.5))
