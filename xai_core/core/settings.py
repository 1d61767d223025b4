"""Settings and folders. The only module that reads the environment.

Every variable is an entry of `SETTINGS` and is read when its value is asked for, so that a change takes effect at once.
The folders follow from two places: `RESOURCES`, where the files of this project lie, and `storage()`, where new ones are
written. In a checkout both are its top folder. In an installed package, resources lie inside the package and new files go
to the user's data folder. Imports no torch.
"""

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import platformdirs

from xai_core.core.errors import BadRequest

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting(Generic[Value]):
    """An environment variable: its meaning, what it may be, and how its text is read."""

    name: str
    meaning: str
    default: str  # in words
    unset: Value  # the value where the variable is not set or empty
    parse: Callable[[str], Value]  # raises ValueError
    allowed: str  # completes the sentence "NAME must be ..."

    def value(self) -> Value:
        """The value now. Raises BadRequest with the variable's name and what is allowed."""
        text = os.environ.get(self.name, "").strip()
        if not text:
            return self.unset
        try:
            return self.parse(text)
        except ValueError:
            text = re.sub(r"//.*@", "//...@", text)[:80]  # no password of a database
            raise BadRequest(f"The environment variable {self.name} must be {self.allowed}, not '{text}'.") from None


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError("a file")
    return path


def _folders(text: str) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(_folder(part.strip()) for part in text.split(os.pathsep) if part.strip()))


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("no flag")
    return text == "1"


def _positive(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise ValueError("not positive")
    return float(text)


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", text):
        raise ValueError("no device")
    return text


def _database(text: str) -> str:
    if not re.match(r"(sqlite(\+pysqlite)?:///|postgresql(\+psycopg)?://).", text):
        raise ValueError("no address of a database that can be used")
    return text


MODEL_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")  # package.module:function


def _functions(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not all(map(MODEL_FUNCTION.fullmatch, names)):
        raise ValueError("no function")
    return names


LIST = f"a folder, or several with '{os.pathsep}' between them (a folder need not exist yet; a file is refused)"
ONE = "a folder (it need not exist yet; a file is refused)"
FLAG = "0 or 1"

DATA = Setting[tuple[Path, ...]](
    "XAI_DATA", "folders of datasets and of records of trainings", "`data/`", (), _folders, LIST
)
RUNS = Setting[tuple[Path, ...]](
    "XAI_RUNS", "folders of evaluation runs; new ones go to the first", "`data/`", (), _folders, LIST
)
NOTES = Setting[Path | None](
    "XAI_NOTES", "folder of the files of notes that earlier versions wrote; they are imported once", "`data/notes/`",
    None, _folder, ONE,
)  # fmt: skip
REVIEW_DB = Setting[str | None](
    "XAI_REVIEW_DB", "database of reviews, tags and notes: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
    "`data/review.sqlite`", None, _database, "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
)  # fmt: skip
READONLY = Setting(
    "XAI_READONLY", "1: nothing is written to the database of reviews (public demos)", "0", False, _flag, FLAG
)
CACHE = Setting[Path | None](
    "XAI_CACHE", "folder of the list of jobs", "the user's cache folder",
    None, _folder, ONE,
)  # fmt: skip
WEIGHTS = Setting[Path | None](
    "XAI_WEIGHTS", "folder of checkpoints and cards; downloads go there", "`weights/`", None, _folder, ONE
)
SHARED_WEIGHTS = Setting[Path | None](
    "XAI_SHARED_WEIGHTS", "second folder of checkpoints and cards, only read", "none", None, _folder, ONE
)
DEVICE = Setting[str | None](
    "XAI_DEVICE", "where networks compute", "CUDA, else MPS, else the CPU", None, _device, "cpu, mps, cuda or cuda:N"
)
# Beside 0.8 GB the largest model, its activations and the app itself fit into Streamlit Cloud's 2.7 GB.
USUAL_MODELS_GB = 0.8
MODELS_GB = Setting[float | None](
    "XAI_MODELS_GB", "gigabytes of parameters that the app keeps in memory", "0.8; on a CUDA device half of its memory",
    None, _positive, "a number above 0",
)  # fmt: skip
MODELS = Setting[tuple[str, ...]](
    "XAI_MODELS", "functions that make models of your own, for every page: `package.module:function`", "none", (),
    _functions, "written package.module:function, several with commas between them",
)  # fmt: skip
HALF = Setting("XAI_HALF", "1: the app keeps weights in 16 bits where the device computes in them", "0", False, _flag, FLAG)
MODEL_UPLOADS = Setting(
    "XAI_MODEL_UPLOADS", "1: visitors may bring models through Home (private deployments)", "0", False, _flag, FLAG
)
HUB_CARDS = Setting(
    "XAI_HUB_CARDS", "1: a card may name an architecture of the Hugging Face Hub, and visitors may open its repositories",
    "0", False, _flag, FLAG,
)  # fmt: skip

SETTINGS: tuple[Setting[Any], ...] = (
    DATA, RUNS, NOTES, REVIEW_DB, READONLY, CACHE, WEIGHTS, SHARED_WEIGHTS, DEVICE, MODELS_GB, MODELS, HALF,
    MODEL_UPLOADS, HUB_CARDS,
)  # fmt: skip

_PACKAGE = Path(__file__).parents[1]
INSTALLED = (_PACKAGE / "bundled").is_dir()  # the build puts Home.py, pages, weights and data there; a checkout has none
RESOURCES = _PACKAGE / "bundled" if INSTALLED else _PACKAGE.parent

PROGRAM = "xai-core" if INSTALLED else "python -m xai_core"  # how the command line is called


def let_openmp_sleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other, unless the user chose a policy or a number of spins.

    Called before torch is imported: libgomp reads its variables when it is loaded. Its threads spin while they wait. Beside
    other busy processes they take the processor from the thread that they wait for: one forward pass of the embedded model
    took 1,480 ms instead of 21. Threads that sleep took 25 ms there, and cost 6 to 30% of the time on an idle machine.
    Measured by `python -m benchmarks.threads`; docs/speed.md has the table.
    """
    if not any(variable in os.environ for variable in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def add_models(names: Iterable[str]) -> None:
    """Add functions that make models to XAI_MODELS, for this process and those that it starts."""
    os.environ[MODELS.name] = ",".join(dict.fromkeys([*MODELS.value(), *names]))


def let_openblas_sleep() -> None:
    """Let OpenBLAS's threads, with which numpy and scipy multiply, sleep soon after a product, unless the user chose when.

    Called before numpy is imported. As it comes a thread spins for 2^26 cycles after each product: the probe that judges
    1,000 labels took 1.2 to 1.9 s of the processors on a busy machine, and with threads that sleep after 2^4 cycles 0.1 to
    0.6 s.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def compute_on_cpu() -> None:
    """Let networks of this process compute on the CPU, unless the user chose where."""
    os.environ.setdefault(DEVICE.name, "cpu")


def keep_ray_silent() -> None:
    """Let Ray send nothing about its use to its makers, unless the user chose. Called before it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def check() -> None:
    """Raise BadRequest where any variable has a wrong value."""
    for setting in SETTINGS:
        setting.value()


def storage() -> Path:
    """The folder under which new files are written: the checkout, or the user's data folder where installed."""
    return platformdirs.user_data_path("xai-core", appauthor=False) if INSTALLED else RESOURCES


def own_data_folders() -> tuple[Path, ...]:
    """`data/` where new files go and, where that is another one, `data/` of the installed package."""
    return tuple(dict.fromkeys((storage() / "data", RESOURCES / "data")))


def data_folders() -> tuple[Path, ...]:
    """Where datasets and recorded trainings are looked for: the folders of XAI_DATA, or `data/`."""
    return DATA.value() or own_data_folders()


def runs_folders() -> tuple[Path, ...]:
    """Where evaluation runs are looked for: the folders of XAI_RUNS, or `data/`."""
    return RUNS.value() or own_data_folders()


def new_runs_folder() -> Path:
    """Where evaluation runs of the app are written: the first folder of XAI_RUNS, or `data/runs/`."""
    return next(iter(RUNS.value()), storage() / "data" / "runs")


def trainings_folder() -> Path:
    """Where the records of trainings are written: `runs` in the first folder of XAI_DATA, or `data/runs/`."""
    return data_folders()[0] / "runs"


def notes_folder() -> Path:
    """Where earlier versions stored notes: the folder of XAI_NOTES, or `data/notes/`."""
    return NOTES.value() or storage() / "data" / "notes"


def review_file() -> Path:
    """The file of reviews where XAI_REVIEW_DB names no other: `data/review.sqlite`."""
    return storage() / "data" / "review.sqlite"


def cache_folder() -> Path:
    """Where the app stores its list of jobs: the folder of XAI_CACHE, or the user's cache folder."""
    return CACHE.value() or platformdirs.user_cache_path("xai-core", appauthor=False)


def weights_folder() -> Path:
    """Where checkpoints are written: the folder of XAI_WEIGHTS, or `weights/`."""
    return WEIGHTS.value() or storage() / "weights"


def weights_folders() -> tuple[Path, ...]:
    """Where checkpoints and cards are looked for: `weights_folder()`, that of XAI_SHARED_WEIGHTS, and the project's own.

    Its own networks are thus found wherever others are kept.
    """
    shared = SHARED_WEIGHTS.value()
    return tuple(dict.fromkeys([weights_folder(), *([shared] if shared else []), RESOURCES / "weights"]))


# The folders of an absolute path. Between quotes: everything up to its last part. Elsewhere the name of a folder has at most
# four words, and only the last word may end like a file's name: "/srv/a.csv is in b/c" holds two paths.
ABOVE_A_QUOTED_FILE = re.compile(r"""(?<=')/(?:[^/'\n]+/)+(?=[^/'\n])|(?<=")/(?:[^/"\n]+/)+(?=[^/"\n])""")
_WORD = r"[^\s/:'\",;()]+"
_FOLDER = rf"(?:(?!\S+\.[A-Za-z]\w* ){_WORD} ){{0,3}}{_WORD}/"
ABOVE_A_FILE = re.compile(rf"(?<![\w:/.~-])/(?:{_FOLDER})+(?=[^\s/])")


def without_folders(text: str) -> str:
    """A message without the folders of this machine, for visitors of the app: `/srv/app/weights/a.pth` is `weights/a.pth`.

    The folders of the settings keep their own names, those below `storage()` their place in it; of other absolute paths the
    last part stays.
    """
    roots = [*data_folders(), *runs_folders(), notes_folder(), cache_folder(), *weights_folders()]
    for root in sorted({str(root.absolute()) for root in roots}, key=len, reverse=True):
        text = text.replace(root, Path(root).name)
    for place in (storage(), RESOURCES):
        text = text.replace(f"{place.absolute()}{os.sep}", "")
    return ABOVE_A_FILE.sub("", ABOVE_A_QUOTED_FILE.sub("", text))
