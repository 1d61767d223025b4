"""The table of methods for pairs. To add one: write a function in its family's file, and add an entry here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xai_core.attribution import variants
from xai_core.core.errors import UnknownName
from xai_core.pairs.method import PairMethod
from xai_core.pairs.methods import cam, gradient, occlusion, pixel_invariance

SIGNED, UNSIGNED = "signed", "non-negative"
CUT = frozenset({"cut"})
GUIDED = {"guided": True}


def windows(options: Mapping[str, Any]) -> int:
    """The positions of a window in both views of 224 x 224 pixels."""
    positions: int = 2 * max(1, (224 - options["window"]) // options["stride"] + 1) ** 2
    return positions


def of_samples(options: Mapping[str, Any]) -> tuple[int, int]:
    return 2 * options["samples"], 2 * options["samples"]


def _interaction(id: str, title: str, **fixed: Any) -> PairMethod:
    return PairMethod(id, title, "cam", cam.interaction_cam, UNSIGNED, lambda o: (2, 0), CUT, fixed=fixed)


_REDUCTIONS = {"mean": ("mean", "mean"), "max": ("max", "max"), "attn": ("attention", "self-attention")}
_PATHS = {
    "": ("Averaged transforms", {}),
    "_guided": ("Averaged transforms (G)", {"guided": True}),
    "_noise": ("Averaged transforms (N)", {"noisy": True}),
    "_guided_noise": ("Averaged transforms (G + N)", {"guided": True, "noisy": True}),
}

PAIR_METHODS = {
    method.id: method
    for method in (
        PairMethod(
            "conditional_occlusion", "Conditional occlusion", "perturbation", occlusion.conditional_occlusion, SIGNED,
            lambda o: (windows(o) + 2, 0),
        ),
        PairMethod(
            "context_agnostic_occlusion", "Context-agnostic occlusion", "perturbation",
            occlusion.context_agnostic_occlusion, UNSIGNED, lambda o: (2 * windows(o) + 2, 0),
        ),
        PairMethod(
            "pairwise_occlusion", "Pairwise occlusion", "perturbation", occlusion.pairwise_occlusion, UNSIGNED,
            lambda o: (2 * o["samples"] + 2, 0),
        ),
        PairMethod("grad_cam", "Grad-CAM for similarity", "cam", cam.grad_cam, UNSIGNED, lambda o: (2, 0), CUT),
        *(
            _interaction(f"interaction_cam_{id}", f"Interaction-CAM ({words})", reduction=name, invariance=True,
                         gradient_interaction=False)
            for id, (name, words) in _REDUCTIONS.items()
        ),
        *(
            _interaction(f"interaction_cam_tip_{id}", f"Interaction-CAM 2023 ({words})", reduction=name, invariance=False,
                         gradient_interaction=False)
            for id, (name, words) in _REDUCTIONS.items()
        ),
        *(
            _interaction(f"interaction_cam_tip_gradinteract_{id}", f"Interaction-CAM 2023 ({words}, gradient interaction)",
                         reduction=name, invariance=False, gradient_interaction=True)
            for id, (name, words) in _REDUCTIONS.items()
        ),
        PairMethod(
            "input_x_gradient", "Input x gradient", "gradient", gradient.input_x_gradient, UNSIGNED, lambda o: (2, 2),
            cropped=False,
        ),
        PairMethod(
            "input_x_gradient_guided", "Input x gradient (G)", "gradient", gradient.input_x_gradient, UNSIGNED,
            lambda o: (2, 2), version=2, fixed=GUIDED, cropped=False,
        ),
        PairMethod(
            "smooth_grad", "SmoothGrad", "gradient", gradient.smooth_grad, UNSIGNED, of_samples, cropped=False,
        ),
        PairMethod(
            "smooth_grad_guided", "SmoothGrad (G)", "gradient", gradient.smooth_grad, UNSIGNED, of_samples, version=2,
            fixed=GUIDED, cropped=False,
        ),
        *(
            PairMethod(
                f"averaged_transforms{id}", title, "gradient", gradient.averaged_transforms, UNSIGNED, lambda o: (18, 18),
                version=2 if "guided" in fixed else 1, fixed=fixed, cropped=False,
            )
            for id, (title, fixed) in _PATHS.items()
        ),
        PairMethod(
            "pixel_invariance", "Pixel invariance", "surrogate", pixel_invariance.pixel_invariance, UNSIGNED,
            lambda o: (o["count"] + 2, 0),
        ),
    )
}  # fmt: skip

CLASS = "class:"  # before the name of a method for classes that is applied to a pair
_ENDINGS: dict[str, dict[str, Any]] = {"": {}, "_raw": {}, "_blurred": {"blur": True}}  # of names in the published results


def find_pair_method(name: str) -> tuple[PairMethod, dict[str, Any]]:
    """The method of this id or title, whatever its case and punctuation, and the options that its name implies:
    `input_x_gradient_blurred` is `input_x_gradient` with blur. Raises UnknownName."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    for ending, implied in _ENDINGS.items():
        if not name.endswith(ending):
            continue
        stem = plain(name.removesuffix(ending) if ending else name)
        for method in PAIR_METHODS.values():
            fits = implied.keys() <= {option.name for option in method.options()}
            if fits and stem in (plain(method.id), plain(method.title)):
                return method, dict(implied)
    raise UnknownName("method for pairs", name, [*PAIR_METHODS, f"{CLASS}NAME"])


@dataclass(frozen=True)
class PairVariant:
    """A method for pairs with options or a cut of its own; everything that is set, also where it is a default: a model's
    card may have other ones."""

    method: PairMethod
    options: Mapping[str, Any] = field(default_factory=dict)
    cut: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.options, **({variants.CUT: self.cut} if self.cut else {})}

    @property
    def name(self) -> str:
        """The one text of this variant, its settings sorted: "grad_cam@cut=layer3"."""
        return variants.written(self.method.id, self.settings)

    @property
    def title(self) -> str:
        """For people: "Grad-CAM for similarity, cut layer3"."""
        return variants.title_of_settings(self.method.title, {variants.CUT: self.cut, **self.options})


def find_pair_variant(text: str) -> PairVariant:
    """The method and settings that a text names. Raises UnknownName, and BadRequest for a value that an option does not
    take."""
    name, told = variants.split(text)
    method, implied = find_pair_method(name)
    declared = {option.name: option for option in method.options()}
    known = [*declared, *([variants.CUT] if "cut" in method.needs else [])]
    for setting in told:
        if setting not in known:
            raise UnknownName(f"setting of {method.title}", setting, known or ["(this method has none)"])
    options = {**implied, **{setting: declared[setting].check(told[setting]) for setting in told if setting in declared}}
    return PairVariant(method, options, told.get(variants.CUT, ""))


def pair_method_of(name: str) -> PairMethod:
    """The method of a variant's name. Raises KeyError for what is no name."""
    return PAIR_METHODS[name.partition(variants.AT)[0]]
