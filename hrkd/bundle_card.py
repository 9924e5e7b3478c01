"""The model card of a bundle: `README.md`, rendered from the manifest alone and the same for the same manifest.

The manifest may come from elsewhere, so every name in it is escaped, and the front matter, which hubs parse, is made
of this module's own words only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hrkd.bundle import CARD, Drop, Guard, Manifest, Vocabulary
from hrkd.markdown import escape, one_line, table

PLACE = "path/to/this/folder"
EXAMPLE_TEXT = "a fine little film"
NODES_SHOWN = 20
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,60}")


def render_card(manifest: Manifest) -> str:
    """Return the model card as Markdown with front matter.

    Args:
        manifest: Of the bundle. Whether it lists the card already makes no difference.
    """
    sections = {
        "Accuracy": _accuracy(manifest),
        "How it was made": _making(manifest),
        "How to call it": _calling(manifest),
        "Files": _files(manifest),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"{_front_matter(manifest)}\n# {escape(manifest.name)}\n\n{_summary(manifest)}\n\n{body}\n"


def summary_lines(manifest: Manifest) -> list[str]:
    """Say in a few plain lines what a bundle is, for a terminal."""
    reference = manifest.reference
    average, worst, agreement = (
        _percent(value, 1) for value in (reference.average, reference.worst, reference.agreement_with_teacher)
    )
    way = f" ({manifest.quantization})" if manifest.quantization else ""
    lines = [
        f"{manifest.role}, {manifest.precision}{way} for {manifest.target}, run by {manifest.engine}: "
        f"{_megabytes(manifest.size_bytes)}, {len(manifest.domain_names)} domains, {len(manifest.label_names)} labels",
        f"accuracy {average} on average, {worst} in the worst domain, agreement with the teacher {agreement}",
    ]
    return [one_line(line) for line in lines]


def _front_matter(manifest: Manifest) -> str:
    tags = ["text-classification", "onnx", "hrkd", "knowledge-distillation", manifest.engine, manifest.precision]
    lines = ["pipeline_tag: text-classification", "tags:", *(f"- {tag}" for tag in tags), "metrics:", "- accuracy"]
    return "\n".join(["---", *lines, "---", ""])


def _summary(manifest: Manifest) -> str:
    what = "pairs of texts" if manifest.text_pairs else "texts"
    return (
        f"A classifier of {what} over several domains: one ONNX graph with one head per domain, "
        f"{_megabytes(manifest.size_bytes)} to run ({manifest.precision}), made with hrkd.\n\n"
        f"Labels: {_names(manifest.label_names)}.\n\n"
        f"Domains: {_names(manifest.domain_names)}. Without a domain, the probabilities of all heads are averaged.\n\n"
        f"Longest input: {manifest.max_length} tokens; longer ones are cut."
    )


def _accuracy(manifest: Manifest) -> str:
    reference, flips = manifest.reference, manifest.flips
    header = ["domain", "accuracy", *(["labels changed by quantising"] if flips else [])]
    rows = []
    for name in manifest.domain_names:
        changed = [_rate(flips.domains, name)] if flips else []
        rows.append([escape(name), _rate(reference.domains, name), *changed])
    overall = [_percent(flips.from_fp32)] if flips else []
    rows.append(["average", _percent(reference.average), *overall])
    rows.append(["worst", _percent(reference.worst), *([""] if flips else [])])
    text = (
        f"{table(header, rows)}\n\nMeasured on `eval.jsonl`, each text alone and in its own domain, when the bundle "
        f"was made. The teacher gives the same label to {_percent(reference.agreement_with_teacher)} of the texts."
    )
    if flips:
        text += f" Labels that differ from the teacher's: {_percent(flips.from_teacher)}."
    return text


def _making(manifest: Manifest) -> str:
    graph = manifest.graph
    facts = {
        "quantization": escape(manifest.quantization or "none"),
        "target": escape(manifest.target),
        "quantised by": escape(manifest.backend or "nothing"),
        "operators fused before": _pairs(manifest.fusions) or "none",
        "graph": f"opset {graph.opset}, IR {graph.ir_version}",
        "weights": f"{_megabytes(graph.quantized_bytes)} of integers, {_megabytes(graph.float_bytes)} of floats",
        "objective": _pairs(manifest.method) or "not recorded",
        "recipe": _code(manifest.recipe_hash),
        "parents": ", ".join(f"{escape(name)} {_code(value)}" for name, value in manifest.parents.items()) or "none",
        "libraries": _pairs(manifest.versions) or "not recorded",
    }
    parts = ["\n".join(f"- {name}: {value}" for name, value in facts.items())]
    if manifest.guard is not None:
        parts.append(_guard(manifest.guard))
    if manifest.vocabulary is not None:
        parts.append(_vocabulary(manifest.vocabulary))
    return "\n\n".join(parts)


def _guard(guard: Guard) -> str:
    rows = [[escape(name), *_drop(drop)] for name, drop in guard.drops.items()]
    kept = guard.kept_in_float
    more = f" and {len(kept) - NODES_SHOWN} more, named in `manifest.json`" if len(kept) > NODES_SHOWN else ""
    nodes = f"Left in floating point for it: {_names(kept[:NODES_SHOWN])}{more}." if kept else "Nothing was left out."
    return (
        f"Accuracy guard: quantising may cost {guard.limit_points:g} points of accuracy in any domain, on validation "
        f"texts. {nodes}\n\n{table(['domain', 'points lost', '95 % interval'], rows)}"
    )


def _drop(drop: Drop) -> list[str]:
    return [f"{drop.points:.2f}", f"{drop.low:.2f} to {drop.high:.2f}"]


def _vocabulary(vocabulary: Vocabulary) -> str:
    rows = [
        [escape(name), _rate(vocabulary.unknown_rate_before, name), _percent(rate)]
        for name, rate in vocabulary.unknown_rate.items()
    ]
    return (
        f"Vocabulary: {vocabulary.pieces} of {vocabulary.pieces_before} pieces were kept. Unknown pieces in validation "
        f"texts:\n\n{table(['domain', 'full vocabulary', 'kept'], rows)}"
    )


def _calling(manifest: Manifest) -> str:
    invariance, engine = manifest.invariance, ",openvino" if manifest.engine == "openvino" else ""
    domain = next((name for name in manifest.domain_names if _PLAIN.fullmatch(name)), None)
    second = f', text_pairs=["{EXAMPLE_TEXT}"]' if manifest.text_pairs else ""
    of_domain, option = (f', domain="{domain}"', f' --domain "{domain}"') if domain else ("", "")
    line = f'--text "{EXAMPLE_TEXT}"' if not manifest.text_pairs else "--input pairs.jsonl"
    return (
        f"Rule: {escape(invariance.advice)} Measured on {invariance.texts} texts: padding changed "
        f"{_percent(invariance.padded_flips)} of the labels, padded batches {_percent(invariance.batched_flips)}; the "
        f"largest change of a logit was {invariance.largest_change:.2g}.\n\n"
        f"Settings of {manifest.engine} that go with it: {_pairs(manifest.session) or 'its defaults'}. hrkd applies "
        "them.\n\n"
        f"```python\nfrom hrkd_bench.runtime import Classifier  # pip install 'hrkd[edge{engine}]'\n\n"
        f'classifier = Classifier.load("{PLACE}")\n'
        f'classifier(["{EXAMPLE_TEXT}"]{of_domain}{second})[0].label\n```\n\n'
        f"```sh\nhrkd predict {PLACE}{option} {line}\nhrkd bundle verify {PLACE}\n```"
    )


def _files(manifest: Manifest) -> str:
    rows = [
        [f"{escape(name)}", str(file.size_bytes), _code(file.sha256)]
        for name, file in sorted(manifest.files.items())
        if name != CARD  # a file cannot name its own hash
    ]
    return f"{table(['file', 'bytes', 'SHA-256'], rows)}\n\nAll of them are checked before anything is loaded."


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(escape(name) for name in names)


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{escape(name)} {escape(str(value))}" for name, value in values.items())


def _code(value: str | None) -> str:
    """Return a hash as code; nothing else is let into a code span, where escapes do not work."""
    if value is None:
        return "none"
    return f"`{value}`" if re.fullmatch(r"[0-9a-f]{4,64}", value) else escape(value)


def _rate(rates: Mapping[str, float], name: str) -> str:
    return _percent(rates[name]) if name in rates else "n/a"


def _percent(fraction: float, digits: int = 2) -> str:
    return f"{100 * fraction:.{digits}f} %"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
