"""Numbers as people read them, and each comparison as one sentence; shared by the table and the report."""

from __future__ import annotations

from hrkd_bench.claims.chain import PYTORCH
from hrkd_bench.claims.latency import FEWEST_SAMPLES
from hrkd_bench.document.schema import BenchDocument, Comparison, Estimate, Percentiles, Result

NOT_AVAILABLE = "n/a"
_SAME = 0.05  # ratios this close to 1 are called "the same"


def size(size_bytes: int | None) -> str:
    """Return bytes in MB or GB (powers of 1000, as disks and downloads are sold)."""
    if size_bytes is None:
        return NOT_AVAILABLE
    megabytes = size_bytes / 1e6
    if megabytes >= 10_000:
        return f"{megabytes / 1000:.1f} GB"
    return f"{megabytes:.0f} MB" if megabytes >= 100 else f"{megabytes:.1f} MB" if megabytes >= 0.1 else "< 0.1 MB"


def milliseconds(value: float | None) -> str:
    """Return a time with three significant figures."""
    if value is None:
        return NOT_AVAILABLE
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    if value >= 100:
        return f"{value:.0f} ms"
    return f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms" if value >= 0.1 else f"{value:.3f} ms"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with one decimal."""
    return f"{100 * fraction:.1f} %"


def points(difference: float) -> str:
    """Return a difference of fractions in percentage points, with its sign and never as "-0.0"."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("-0.0", "+0.0") else text


def missing_percentiles(latency: Percentiles) -> str:
    """Name the percentiles that were left out, and how many texts they would need; empty when none was."""
    missing = [name for name in FEWEST_SAMPLES if getattr(latency, name) is None]
    if not missing:
        return ""
    fewest = _enumerate([str(FEWEST_SAMPLES[name]) for name in missing])
    verb = "needs" if len(missing) == 1 else "need"
    return f"{_enumerate(missing)} {verb} at least {fewest} answers, here are {latency.n}"


def subject_label(result: Result) -> str:
    """Name a subject with what it is, leaving out what its name says already."""
    extras = [word for word in (result.engine, result.precision) if word not in result.name]
    return f"{result.name} ({', '.join(extras)})" if extras else result.name


def comparison_sentence(document: BenchDocument, comparison: Comparison) -> str:
    """Say a comparison in one sentence: size, speed with its interval, accuracy with its interval."""
    subject, baseline = document.result(comparison.subject), document.result(comparison.baseline)
    return (
        f"{subject_label(subject)} against {subject_label(baseline)}: "
        f"{_times(comparison.size_ratio, 'smaller', 'larger')}, {_speed(comparison)} text by text, "
        f"{_accuracy(comparison, baseline)}"
    )


def step_name(document: BenchDocument, step: Comparison) -> str:
    """Name all that was done between two results of the chain, so that no part is credited with another one's gain."""
    before, after = document.result(step.baseline), document.result(step.subject)
    done = {
        "distilled": before.role != after.role,
        "exported": before.engine == PYTORCH != after.engine,
        f"quantised to {after.precision}": before.precision != after.precision,
    }
    return _enumerate([name for name, is_done in done.items() if is_done])


def step_differences(document: BenchDocument, step: Comparison) -> list[Estimate]:
    """Return what a step changed in accuracy: on average, then in each domain, the worst one first."""
    by_name = {domain.domain: domain.difference for domain in step.domains}
    return [step.accuracy_difference, *(by_name[name] for name in document.worst_first())]


def headline(document: BenchDocument) -> str:
    """Say the first comparison, or the first result where nothing was compared."""
    if document.comparisons:
        return comparison_sentence(document, document.comparisons[0])
    result = document.results[0]
    return (
        f"{subject_label(result)}: {size(result.size_bytes)}, "
        f"{milliseconds(result.latency_ms.end_to_end.p50)} at p50, "
        f"{percent(result.accuracy.average)} average accuracy"
    )


def cold_start(document: BenchDocument, result: Result) -> str:
    """Say what a cold start is, and how many there were."""
    if document.browser is not None:
        what = "from opening a fresh page, of which nothing is cached, to its first answer"
    else:
        what = "from starting a fresh process to its first answer, files in the page cache"
    starts = len(result.cold_start.samples_ms)
    return f"{what}, " + (f"median of {starts}" if starts > 1 else "once")


def protocol_of(document: BenchDocument, device: str) -> str:
    """Say how a device's results were taken where that differs from the document's own, which are this machine's."""
    protocol = document.protocols.get(device)
    if protocol is None:
        return "how it measured was not kept"
    other = [f"{name} {value}" for name, value in protocol.config.items() if document.config.get(name) != value]
    said = [f"measured with {', '.join(other)}" if other else "measured likewise"]
    if document.profile is not None or protocol.profile is not None:
        said.append(f"under `{protocol.profile.name}`" if protocol.profile else "without the limits of this machine's")
    if protocol.roofline is not None:
        peak = [f"{value / 1e9:.0f}" for value in (protocol.roofline.int8_per_s, protocol.roofline.fp32_per_s)]
        said.append(f"peak of one thread {peak[0]} billion operations a second in int8, {peak[1]} in fp32")
    return "; ".join(said)


def speed_interval(document: BenchDocument) -> str:
    """Say what the intervals of ratios of times rest on."""
    if any(comparison.verdict is None for comparison in document.comparisons):
        return "Speed: likewise, from one round, which says nothing about how much processes differ."
    return "Speed: the median over texts, each against itself; Student's, over rounds of fresh processes in turns."


def invalid_reasons(document: BenchDocument) -> list[str]:
    """Return why results must not be relied on, each reason once."""
    reasons = [reason for result in document.results for reason in result.invalid_reasons]
    return list(dict.fromkeys(reasons))


def _enumerate(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _speed(comparison: Comparison) -> str:
    speedup = comparison.speedup_p50
    # One round has no verdict, and its interval, over texts alone, is too narrow: what even that holds may be true.
    holds_one = abs(speedup.value - 1) < _SAME or speedup.low <= 1 <= speedup.high
    if holds_one if comparison.verdict is None else comparison.verdict == "NOT SIGNIFICANT":
        return f"no significant difference in speed ({speedup.low:.2f} to {speedup.high:.2f}x)"
    if speedup.value > 1:
        return f"{_factor(speedup.value)}x faster ({_factor(speedup.low)} to {_factor(speedup.high)})"
    slower = [_factor(1 / value) for value in (speedup.value, speedup.high, speedup.low)]
    return f"{slower[0]}x slower ({slower[1]} to {slower[2]})"


def _factor(ratio: float) -> str:
    """Return a ratio with one decimal, with two where one would say nothing."""
    return f"{ratio:.2f}" if ratio < 1.2 else f"{ratio:.1f}"


def _accuracy(comparison: Comparison, baseline: Result) -> str:
    difference = comparison.accuracy_difference
    interval = f"95 % interval {points(difference.low)} to {points(difference.high)}"
    change = f"{points(difference.value)} points, {interval}"
    if comparison.retained_accuracy is None:
        return f"average accuracy {change}"
    whose = "the teacher's" if baseline.role == "teacher" else "the baseline's"
    return f"keeps {percent(comparison.retained_accuracy)} of {whose} average accuracy ({change})"


def _times(ratio: float, smaller: str, larger: str) -> str:
    if abs(ratio - 1) < _SAME:
        return "the same size"
    return f"{ratio:.1f}x {smaller}" if ratio > 1 else f"{1 / ratio:.1f}x {larger}"
