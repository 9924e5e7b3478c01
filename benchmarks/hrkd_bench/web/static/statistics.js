// What may be said about latencies, by the rules of the Python side (`hrkd_bench.claims.latency`).

/** The quantile between two samples is interpolated linearly. */
export function quantile(sorted, share) {
  const position = (sorted.length - 1) * share;
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (position - below);
}

export function median(values) {
  return quantile(Float64Array.from(values).sort(), 0.5);
}

/** p50, p90, p95, p99, mean, max and n; null where there are too few samples for a percentile. */
export function percentiles(values, fewestSamples) {
  const sorted = Float64Array.from(values).sort();
  const summary = { p50: quantile(sorted, 0.5) };
  for (const [name, fewest] of Object.entries(fewestSamples)) {
    summary[name] = sorted.length >= fewest ? quantile(sorted, Number(name.slice(1)) / 100) : null;
  }
  const sum = values.reduce((total, value) => total + value, 0);
  return { ...summary, mean: sum / sorted.length, max: sorted[sorted.length - 1], n: sorted.length };
}

export function share(flags) {
  return flags.filter(Boolean).length / flags.length;
}

/** A permutation of 0..count-1 that is the same in every run: measuring in file order would show one domain after another. */
export function shuffled(count) {
  const order = Array.from({ length: count }, (_, index) => index);
  let state = 1;
  for (let last = count - 1; last > 0; last -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}
