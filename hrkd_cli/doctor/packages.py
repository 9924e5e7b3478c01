"""Which parts are installed, and whether their packages agree with each other."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from hrkd.errors import HrkdError
from hrkd_cli.doctor.finding import Finding
from hrkd_cli.extras import EXTRA_MODULES, is_installed, refuse_both_runtimes

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_PURPOSES = {
    "edge": "run and measure bundles",
    "report": "write reports",
    "train": "train and distil",
    "export": "export and quantise",
    "trackers": "send curves to Weights & Biases or MLflow",
}


def findings() -> Iterator[Finding]:
    """Yield one finding per extra, and one per conflict."""
    for extra, modules in EXTRA_MODULES.items():
        yield _extra(extra, [module for module in modules if not is_installed(module)])
    try:
        refuse_both_runtimes()
    except HrkdError as error:
        yield Finding("packages", "problem", error.message, error.hint)
    if not is_installed("packaging"):
        return  # comes with onnxruntime; without it there is little that could disagree
    conflicts = list(dict.fromkeys(conflicting_requirements("hrkd")))
    for text in conflicts:
        yield Finding("packages", "problem", text, "install hrkd and its extras again in an environment of their own")
    if not conflicts:
        yield Finding("packages", "ok", "all that are installed fit each other")


def _extra(extra: str, missing: list[str]) -> Finding:
    purpose = _PURPOSES[extra]
    if missing:
        return Finding(
            f"hrkd[{extra}]", "note", f"cannot {purpose}: no {', '.join(missing)}", f"pip install 'hrkd[{extra}]'"
        )
    return Finding(f"hrkd[{extra}]", "ok", f"can {purpose}")


def conflicting_requirements(root: str) -> Iterator[str]:
    """Yield a sentence for each installed package, from ``root`` with all its extras on, that another one refuses.

    What is not installed is no conflict: which extras are wanted is the user's choice.
    """
    own = _find(root)
    extras = (own.metadata.get_all("Provides-Extra") or []) if own else []
    seen: set[tuple[str, str]] = set()
    waiting = [(root, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        distribution = _find(name)
        if distribution is None or (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in _requirements(distribution, extra):
            waiting += [(requirement.name, wanted) for wanted in ("", *requirement.extras)]
            found = _find(requirement.name)
            if found is not None and not requirement.specifier.contains(found.version, prereleases=True):
                needed = f"{requirement.name}{requirement.specifier}"
                yield f"{name} {distribution.version} needs {needed}, found {found.version}"


def _requirements(distribution: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    """Yield what a package needs on this machine for one of its extras, or for none."""
    from packaging.requirements import Requirement

    for line in distribution.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _find(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
