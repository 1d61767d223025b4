"""What a run of measurements was asked, and whether it can be gone on with."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from xai_core.core.errors import BadRequest


def extended(old: Mapping[str, Any], new: Mapping[str, Any], measured: Callable[[], Collection[str]]) -> dict[str, Any]:
    """The manifest of a run that is gone on with: the tables `models`, `methods` and `metrics` may grow, and what stands in
    both must be equal, as must `asked`; but pictures that are not `measured` yet (their names) may get boxes. Raises
    BadRequest that names what differs."""
    before, now = old["asked"], new["asked"]
    names = [name for name in now if before.get(name) != now[name]]
    if "boxes" in names and {**now["boxes"], **before["boxes"]} == now["boxes"]:
        more = now["boxes"].keys() - before["boxes"].keys()
        names = [name for name in names if name != "boxes" or more & {*measured()}]
    if names:
        what = ", ".join(f"{name} {_asked(before.get(name))}, not {_asked(now[name])}" for name in names)
        raise BadRequest(f"This run was asked otherwise ({what}); give another folder, or ask as before.")
    joined = dict(old) | {name: value for name, value in new.items() if name not in ("models", "methods", "metrics")}
    joined["created"] = old.get("created")
    for kind in ("models", "methods", "metrics"):
        for name in old[kind].keys() & new[kind].keys():
            if old[kind][name] != new[kind][name]:
                raise BadRequest(
                    f"This run has measured {name} otherwise ({_differences(old[kind][name], new[kind][name])}); "
                    "give another folder."
                )
        joined[kind] = {**old[kind], **new[kind]}
    older, newer = (one.get("misfits", {}) for one in (old, new))
    joined["misfits"] = {name: {**older.get(name, {}), **newer.get(name, {})} for name in {**older, **newer}}
    return joined


def _asked(value: Any) -> str:
    return f"of {len(value)} pictures" if isinstance(value, dict) else repr(value)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)!r} there, {new.get(name)!r} now" for name in names)
