"""Variants: a method with options, a cut or a precision of its own, named by one text, "grad_cam@cut=layer3+eigen=true".

The text is the name of a variant wherever methods are named: in lists, in the tables of runs, in links. A method alone is
the variant with nothing set.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xai_core.attribution.catalog import METHODS, find_method
from xai_core.attribution.method import Method
from xai_core.core import runtime
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.options import check_options, options_of
from xai_core.explanation.request import Request
from xai_core.models.explainable import ExplainableModel

AT = "@"  # between a method and its settings
CUT, PRECISION = "cut", "precision"
BETWEEN = re.compile(r"\+(?=\w*=)")  # a value may hold a "+": LRP has the rule "z+"


@dataclass(frozen=True)
class Variant:
    """A method and what is set of it.

    options    those that differ from the method's defaults, checked
    cut        the layer, by a name that some network has for it; "" is each network's default
    precision  "exact" or "fast"; "" is that of all methods it stands beside
    """

    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)
    cut: str = ""
    precision: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that is set, by name."""
        chosen = {CUT: self.cut, PRECISION: self.precision}
        return {**self.options, **{name: value for name, value in chosen.items() if value}}

    @property
    def name(self) -> str:
        """The one text of this variant: settings sorted, defaults left out."""
        return written(self.method.id, self.settings)

    @property
    def title(self) -> str:
        """For people: "Grad-CAM, cut layer3, eigen"."""
        options = dict(sorted(self.options.items()))
        return title_of_settings(self.method.title, {CUT: self.cut, **options, PRECISION: self.precision})

    def merged(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of the method, from this variant and from `options`. Raises UnknownName, and BadRequest where both set
        one to different values."""
        checked = check_options(self.method.run, {**self.options, **options})
        for name, value in self.options.items():
            if checked[name] != value:
                raise BadRequest(f"{self.name} sets {name} to {as_text(value)}: it cannot be {as_text(checked[name])} too.")
        return checked

    def cut_on(self, model: ExplainableModel) -> str:
        """The full name of the cut on this model; "" where the method reads none. Raises UnknownName."""
        return model.network.cut_name(self.cut or None) if "cut" in self.method.needs else ""

    def lacks_cut(self, model: ExplainableModel) -> bool:
        """Whether this model has no such cut."""
        try:
            self.cut_on(model)
        except UnknownName:
            return True
        return False

    def misfit(self, model: ExplainableModel) -> str | None:
        """One sentence on why it cannot be used on this model, which has its cut; None where it can."""
        why = self.method.misfit(model)
        if why is None and self.precision == "fast" and not self.method.offers_fast(model, self.cut_on(model)):
            return self.method.exact_only
        return why

    def name_on(self, model: ExplainableModel) -> str:
        """The name without a cut that is the model's default: two variants of the same name there are the same map."""
        usual = self.cut and self.cut_on(model) == model.network.cut_name(None)
        full = {**self.settings, CUT: self.cut_on(model)} if self.cut else self.settings
        return written(self.method.id, {name: value for name, value in full.items() if not (usual and name == CUT)})


def parse(text: str, precision: str = "exact") -> Variant:
    """The variant that a text names; `precision` is that of all methods, which need not be set.

    Raises UnknownName for a method or a setting that does not exist, BadRequest for a value that it does not take.
    """
    name, told = split(text)
    method = find_method(name)
    declared = {option.name: option for option in options_of(method.run)}
    known = [*declared, *([CUT] if "cut" in method.needs else []), PRECISION]
    for setting in told:
        if setting not in known:
            raise UnknownName(f"setting of {method.title}", setting, known)
    options = {name: declared[name].check(value) for name, value in told.items() if name in declared}
    own_precision = told.get(PRECISION, "")
    if own_precision:
        runtime.check_precision(own_precision)
    return Variant(
        method,
        {name: value for name, value in options.items() if value != declared[name].default},
        told.get(CUT, ""),
        "" if own_precision == precision else own_precision,
    )


def parse_all(texts: Iterable[str], precision: str = "exact") -> dict[str, Variant]:
    """Variants by their names. Methods alone may be named twice; raises BadRequest where settings make two names one."""
    found: dict[str, Variant] = {}
    said: dict[str, str] = {}
    for text in texts:
        variant = parse(text, precision)
        before = said.get(variant.name)
        if before is not None and (AT in text or AT in before):
            raise BadRequest(f"'{before}' and '{text}' are the same variant, {variant.name}: leave one out.")
        found[variant.name] = variant
        said[variant.name] = text
    return found


def method_of(name: str) -> Method:
    """The method of a variant's name. Raises KeyError for what is no name."""
    return METHODS[name.partition(AT)[0]]


def title_of(name: str) -> str:
    """The title of a variant, by its name."""
    return parse(name).title if AT in name else METHODS[name].title


def of_request(request: Request) -> Variant:
    """The variant that a request is answered by: what differs from the method's and the model's defaults."""
    method = METHODS[request.method]
    defaults = check_options(method.run, {})
    options = {name: value for name, value in request.options.items() if defaults.get(name) != value}
    cut = "" if request.cut == request.model.network.cut_name(None) else request.cut
    return Variant(method, options, cut, "" if request.precision == "exact" else request.precision)


def check_on(variants: Sequence[Variant], models: Mapping[str, ExplainableModel]) -> None:
    """Raises BadRequest for a cut that some of the models lack, and for two variants that are one on all of them."""
    refuse_missing({name: missing_cuts(variants, model) for name, model in models.items()})
    refuse_same([same_on(variants, model) for model in models.values()])


def refuse_misfit(variant: Variant, model: ExplainableModel) -> None:
    """Raises BadRequest where the variant cannot be used on this model, which has its cut."""
    why = variant.misfit(model)
    if why:
        raise BadRequest(why)


def missing_cuts(variants: Iterable[Variant], model: ExplainableModel) -> dict[str, str]:
    """The names of the variants whose cut this model does not have, each with the sentence that says so."""
    missing = {}
    for variant in variants:
        if variant.method.misfit(model) is None:
            try:
                variant.cut_on(model)
            except UnknownName as error:
                missing[variant.name] = str(error)
    return missing


def refuse_missing(missing: Mapping[str, Mapping[str, str]]) -> None:
    """Raises BadRequest that names each variant and the models, by their names, that do not have its cut."""
    every = dict.fromkeys(name for of in missing.values() for name in of)
    if not every:
        return
    name = next(iter(every))
    lacking = [model for model, of in missing.items() if name in of]
    if len(missing) == 1:
        raise BadRequest(f"{name}: {missing[lacking[0]][name]}")
    which = f"{', '.join(lacking)} ({len(lacking)} of {len(missing)} networks)"
    raise BadRequest(f"{name} names a cut that {which} do not have: leave out the variant, or these networks.")


def same_on(variants: Iterable[Variant], model: ExplainableModel) -> dict[frozenset[str], str]:
    """Pairs of names that are one variant on this model, because a cut that is set is its default."""
    first: dict[str, str] = {}
    same = {}
    for variant in variants:
        if not variant.lacks_cut(model):
            on = variant.name_on(model)
            if on in first:
                same[frozenset((first[on], variant.name))] = on
            first.setdefault(on, variant.name)
    return same


def refuse_same(same: Sequence[Mapping[frozenset[str], str]]) -> None:
    """Raises BadRequest where two names are one variant on every model."""
    if not same:
        return
    common = frozenset.intersection(*(frozenset(of) for of in same))
    for names in common:
        first, second = sorted(names)
        raise BadRequest(f"'{first}' and '{second}' are the same map here: the cut is the default one. Leave one out.")


def split(text: str) -> tuple[str, dict[str, str]]:
    """The method's name and the settings, as texts, in the name of a variant. Raises BadRequest."""
    name, _, told = text.strip().partition(AT)
    settings: dict[str, str] = {}
    for piece in filter(None, BETWEEN.split(told)):
        setting, equals, value = (part.strip() for part in piece.partition("="))
        if not (setting and equals and value):
            raise BadRequest(f"'{piece[:80]}' is no setting: a variant is written METHOD{AT}NAME=VALUE+NAME=VALUE.")
        if setting in settings:
            raise BadRequest(f"'{text[:80]}' sets {setting[:80]} twice.")
        settings[setting] = value
    return name.strip(), settings


def written(name: str, settings: Mapping[str, Any]) -> str:
    """The name of a variant: `split` backwards, with the settings sorted."""
    pieces = "+".join(f"{setting}={as_text(value)}" for setting, value in sorted(settings.items()))
    return f"{name}{AT}{pieces}" if pieces else name


def as_text(value: Any) -> str:
    """A setting's value as it is written in a name."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def title_of_settings(title: str, settings: Mapping[str, Any]) -> str:
    """A method's title with its settings in words; those that are "" are left out."""
    words = [title]
    for name, value in settings.items():
        said = name.replace("_", " ")
        if value is True or value is False:
            words.append(said if value else f"no {said}")
        elif name == PRECISION and value:
            words.append(f"{value} precision")
        elif value != "":
            words.append(f"{said} {value:g}" if isinstance(value, float) else f"{said} {value}")
    return ", ".join(words)
