// A bundle in the browser: verified, loaded, tested against the Python runtime's answers, ready to classify.

import * as ort from "./vendor/ort.wasm.bundle.min.js";
import { VerifiedFiles } from "./integrity.js";
import { BundleTokenizer } from "./tokenizer.js";

const UNKNOWN_DOMAIN = -1;
const MOST_THREADS = 4;
const FUSIONS = { skip_layer_norm_fusion: "SkipLayerNormFusion", bias_gelu_fusion: "BiasGeluFusion" };

export class Classifier {
  /**
   * @param sums SHA-256 of the list of hashes
   * @param threads threads of one answer; null: half of the processors, at most 4. Without isolation there is one.
   * @param onStep called with words for what is being done
   */
  static async load(sums, threads, onStep) {
    onStep("loading the model");
    const files = await VerifiedFiles.open(sums);
    // One after the other, so that what loading consists of can be told apart.
    const manifest = await files.json("bundle/manifest.json");
    const site = await files.json("site.json");
    const tables = await files.json("characters.json");
    const vocabulary = await files.json("bundle/tokenizer.json");
    const tokenizer = new BundleTokenizer(vocabulary, tables, manifest.max_length);
    const wasm = await files.load("vendor/ort-wasm-simd-threaded.wasm");
    const model = await files.load("bundle/model.onnx");
    onStep("compiling");
    const compileStart = performance.now();
    configure(wasm, threads);
    const session = await ort.InferenceSession.create(new Uint8Array(model), sessionOptions(manifest.session));
    const classifier = new Classifier(files, manifest, site, tokenizer, session);
    classifier.loading.compile_ms = performance.now() - compileStart;
    onStep("testing");
    await classifier.testItself();
    return classifier;
  }

  constructor(files, manifest, site, tokenizer, session) {
    Object.assign(this, { files, manifest, site, tokenizer, session });
    this.threads = ort.env.wasm.numThreads;
    this.runtime = `onnxruntime-web ${ort.env.versions.web}`;
    this.loading = { download_ms: files.downloadMs, verify_ms: files.verifyMs, downloaded_bytes: files.bytes };
  }

  get domains() {
    return this.manifest.domain_names;
  }

  get labels() {
    return this.manifest.label_names;
  }

  /** Answer one text; `domain` is null for the mean of all heads, `pair` null for single texts. */
  async classify(text, domain = null, pair = null) {
    const start = performance.now();
    const ids = this.tokenizer.encode(text, pair);
    const tokenized = performance.now();
    const [logits] = await this.run([ids], [this.domainId(domain)]);
    const answered = performance.now();
    const probabilities = softmax(logits);
    return {
      label: this.labels[indexOfLargest(logits)],
      domain,
      probabilities,
      logits,
      ids,
      tokenize_ms: tokenized - start,
      run_ms: answered - tokenized,
      end_to_end_ms: performance.now() - start,
    };
  }

  domainId(name) {
    if (name === null) {
      return UNKNOWN_DOMAIN;
    }
    const id = this.domains.indexOf(name);
    if (id < 0) {
      throw new Error(`domain ${name} is unknown to this bundle`);
    }
    return id;
  }

  /** Logits of tokenised inputs, padded to the longest of them. */
  async run(encodeds, domainIds) {
    const rows = encodeds.length;
    const width = Math.max(...encodeds.map((ids) => ids.length));
    const inputIds = new BigInt64Array(rows * width).fill(BigInt(this.tokenizer.padId));
    const mask = new BigInt64Array(rows * width);
    encodeds.forEach((ids, row) => {
      ids.forEach((id, column) => {
        inputIds[row * width + column] = BigInt(id);
        mask[row * width + column] = 1n;
      });
    });
    const answer = await this.session.run({
      input_ids: new ort.Tensor("int64", inputIds, [rows, width]),
      attention_mask: new ort.Tensor("int64", mask, [rows, width]),
      domain_id: new ort.Tensor("int64", BigInt64Array.from(domainIds, BigInt), [rows]),
    });
    const { data, dims } = answer.logits;
    if (dims[0] !== rows || dims[1] !== this.labels.length) {
      throw new Error(`the graph answers with the shape ${dims.join(" x ")}`);
    }
    return encodeds.map((_, row) => Array.from(data.subarray(row * dims[1], (row + 1) * dims[1])));
  }

  /** Compare with the Python runtime: other tokens are refused, the largest difference of a logit is kept. */
  async testItself() {
    let largest = 0;
    const start = performance.now();
    for (const { text, text_pair: pair, ids, logits } of this.site.probes) {
      const answer = await this.classify(text, null, pair);
      this.loading.first_ms ??= performance.now() - start;
      this.loading.first_answer_ms ??= performance.now(); // since the visitor came
      if (answer.ids.length !== ids.length || answer.ids.some((id, position) => id !== ids[position])) {
        throw new Error(`this browser cuts ${JSON.stringify(text.slice(0, 40))} into other tokens than the Python runtime`);
      }
      if (!answer.logits.every(Number.isFinite)) {
        throw new Error("the model answers with NaN or infinity in this browser");
      }
      largest = Math.max(largest, ...answer.logits.map((value, label) => Math.abs(value - logits[label])));
    }
    this.loading.probe_logit_difference = largest;
  }

  /** Evaluation texts of the page with the Python runtime's logits; null where it carries none. */
  async examples() {
    if (!this.files.has("bundle/eval.jsonl")) {
      return null;
    }
    const lines = (await this.files.text("bundle/eval.jsonl")).split("\n").filter((line) => line);
    return lines.map((line, number) => ({ ...JSON.parse(line), python_logits: this.site.reference_logits[number] }));
  }
}

export function indexOfLargest(values) {
  return values.reduce((best, value, index) => (value > values[best] ? index : best), 0);
}

export function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((value) => Math.exp(value - largest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

function configure(wasm, threads) {
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = wasm;
  const processors = navigator.hardwareConcurrency ?? 1;
  const wanted = threads ?? Math.min(MOST_THREADS, Math.ceil(processors / 2));
  // Shared memory, and with it threads, exists only on a page that the server has isolated.
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? wanted : 1;
}

/** The manifest's settings that mean the same in WebAssembly. */
function sessionOptions(settings) {
  const off = Object.keys(FUSIONS).filter((name) => name in settings && !Number(settings[name]));
  return {
    executionProviders: ["wasm"],
    graphOptimizationLevel: settings.graph_optimization_level ?? "all",
    extra: off.length
      ? { optimization: { disable_specified_optimizers: off.map((name) => FUSIONS[name]).join(";") } }
      : {},
  };
}
