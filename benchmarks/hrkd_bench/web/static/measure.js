// Run the evaluation texts one by one: latency, accuracy per domain, and agreement with the Python runtime and the teacher.

import { indexOfLargest } from "./classifier.js";
import { median, percentiles, share, shuffled } from "./statistics.js";

const MOST_WARMUP_PASSES = 6;
const STABLE = 0.02; // warm when the medians of two passes differ by less
const MILLISECONDS_BETWEEN_PAUSES = 100;
const THROUGHPUT_TEXTS = 256;
const THROUGHPUT_PASSES = 3;
const BATCH_SIZE = 16;

export class Stopped extends Error {}

/** Let the page draw and take input, and end here when the visitor asked for it. */
class Pauses {
  constructor(signal, onProgress) {
    Object.assign(this, { signal, onProgress, last: performance.now() });
  }

  async perhaps(phase, done, total) {
    if (performance.now() - this.last < MILLISECONDS_BETWEEN_PAUSES && done < total) {
      return;
    }
    this.onProgress(phase, done, total);
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.last = performance.now();
    if (this.signal?.aborted) {
      throw new Stopped("stopped");
    }
  }
}

/**
 * Measure on evaluation texts.
 *
 * @param classifier a loaded Classifier
 * @param options.positions which texts, by line of the file; all if left out
 * @param options.warmup texts of a warm-up pass at least
 * @param options.throughput whether to measure texts per second in batches as well
 * @param options.signal stops the measurement
 * @param options.onProgress called with phase, done and total
 * @returns facts, summaries and one row per text, in the order of `positions`
 */
export async function measure(classifier, options = {}) {
  const { positions = null, warmup = 50, throughput = false, signal = null, onProgress = () => {} } = options;
  const examples = await classifier.examples();
  if (examples === null) {
    throw new Error("this page carries no evaluation texts");
  }
  const chosen = positions ?? examples.map((_, number) => number);
  const texts = chosen.map((number) => examples[number]);
  const order = shuffled(texts.length);
  const pauses = new Pauses(signal, onProgress);
  await warmUp(classifier, order.map((number) => texts[number]), warmup, pauses);
  const rows = new Array(texts.length);
  for (const [done, number] of order.entries()) {
    rows[number] = await answer(classifier, texts[number]);
    await pauses.perhaps("measuring", done + 1, order.length);
  }
  const some = order.slice(0, THROUGHPUT_TEXTS).map((number) => texts[number]);
  const perSecond = throughput ? await measureThroughput(classifier, some, pauses) : null;
  return { ...facts(classifier), throughput_per_s: perSecond, ...summarise(classifier, texts, rows), positions: chosen, rows };
}

async function warmUp(classifier, texts, least, pauses) {
  let previous = Infinity;
  for (let pass = 0; pass < MOST_WARMUP_PASSES; pass += 1) {
    const times = [];
    for (let number = 0; number < least; number += 1) {
      times.push((await answer(classifier, texts[number % texts.length])).end_to_end_ms);
      await pauses.perhaps("warming up", pass * least + number + 1, MOST_WARMUP_PASSES * least);
    }
    const current = median(times);
    if (Math.abs(current - previous) < STABLE * current) {
      return;
    }
    previous = current;
  }
}

async function answer(classifier, { text, text_pair: pair, domain }) {
  const { ids, logits, tokenize_ms, run_ms, end_to_end_ms } = await classifier.classify(text, domain, pair ?? null);
  return { tokens: ids.length, logits, tokenize_ms, run_ms, end_to_end_ms };
}

/** Texts per second in padded batches: the median of some passes after one that warms up. */
async function measureThroughput(classifier, texts, pauses) {
  const rates = [];
  for (let pass = 0; pass <= THROUGHPUT_PASSES; pass += 1) {
    const start = performance.now();
    for (let first = 0; first < texts.length; first += BATCH_SIZE) {
      const batch = texts.slice(first, first + BATCH_SIZE);
      const encodeds = batch.map(({ text, text_pair: pair }) => classifier.tokenizer.encode(text, pair ?? null));
      await classifier.run(encodeds, batch.map(({ domain }) => classifier.domainId(domain)));
    }
    rates.push((1000 * texts.length) / (performance.now() - start));
    await pauses.perhaps("measuring throughput", pass + 1, THROUGHPUT_PASSES + 1);
  }
  return median(rates.slice(1));
}

function facts(classifier) {
  return {
    schema_version: 1,
    bundle: classifier.manifest.name,
    bundle_hash: classifier.site.bundle_hash,
    model_sha256: classifier.manifest.files["model.onnx"].sha256,
    runtime: classifier.runtime,
    compared_with: classifier.site.runtime,
    user_agent: navigator.userAgent,
    processors: navigator.hardwareConcurrency ?? null,
    threads: classifier.threads,
    cross_origin_isolated: globalThis.crossOriginIsolated,
    clock_resolution_ms: clockResolution(),
    loading_ms: classifier.loading,
  };
}

/** The smallest step of the clock: a page that is not isolated gets a coarse one. */
function clockResolution() {
  let smallest = Infinity;
  for (let step = 0; step < 20; step += 1) {
    const start = performance.now();
    let now = start;
    while (now === start) {
      now = performance.now();
    }
    smallest = Math.min(smallest, now - start);
  }
  return smallest;
}

function summarise(classifier, texts, rows) {
  const { site, labels, domains } = classifier;
  const predicted = rows.map(({ logits }) => indexOfLargest(logits));
  const right = predicted.map((label, number) => labels[label] === texts[number].label);
  const differences = rows.flatMap(({ logits }, number) =>
    logits.map((value, label) => Math.abs(value - texts[number].python_logits[label])),
  );
  const agreesWith = (column) => share(predicted.map((label, number) => label === indexOfLargest(texts[number][column])));
  const accuracy = {};
  for (const domain of domains) {
    const own = right.filter((_, number) => texts[number].domain === domain);
    if (own.length > 0) {
      accuracy[domain] = { share: share(own), texts: own.length };
    }
  }
  const column = (name) => percentiles(rows.map((row) => row[name]), site.fewest_samples);
  return {
    latency_ms: { end_to_end: column("end_to_end_ms"), tokenize: column("tokenize_ms"), run: column("run_ms") },
    accuracy,
    agreement_with_python: agreesWith("python_logits"),
    largest_logit_difference: differences.reduce((most, value) => Math.max(most, value), 0),
    agreement_with_teacher: agreesWith("teacher_logits"),
  };
}
