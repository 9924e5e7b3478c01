// The page: loads the bundle, answers what is typed, measures on request. `?threads=2` sets the threads of an answer.

import { Classifier } from "./classifier.js";
import { measure, Stopped } from "./measure.js";
import { byId, showAnswer, showBundle, showHow, showProblem, showResults } from "./view.js";

const root = document.documentElement;
let classifier = null;
let busy = false;

async function start() {
  classifier = await Classifier.load(root.dataset.sums, wantedThreads(), (step) => {
    byId("status").textContent = `${step[0].toUpperCase()}${step.slice(1)} …`;
  });
  showBundle(classifier);
  showHow(classifier);
  const canMeasure = classifier.files.has("bundle/eval.jsonl");
  byId("measure-hint").textContent = canMeasure
    ? "Runs the bundle's evaluation texts one by one, after a warm-up. Leave this tab in front."
    : "This page was written without evaluation texts, so there is nothing to measure on.";
  byId("classify").disabled = false;
  byId("measure").disabled = !canMeasure;
  byId("status").textContent = "Ready. The model was checked against its recorded hash.";
  root.dataset.state = "ready";
}

function wantedThreads() {
  const given = new URLSearchParams(location.search).get("threads");
  if (given === null) {
    return null;
  }
  const threads = Number(given);
  if (!Number.isInteger(threads) || threads < 1 || threads > 64) {
    throw new Error(`threads=${given.slice(0, 20)} is not a number of threads from 1 to 64`);
  }
  return threads;
}

/** One thing at a time: the session answers one call, and a measurement would measure the other one too. */
async function alone(work) {
  if (busy) {
    return;
  }
  busy = true;
  try {
    await work();
  } finally {
    busy = false;
  }
}

async function classifyTyped() {
  byId("problem").hidden = true;
  const chosen = byId("domain").value;
  const domain = chosen === "" ? null : classifier.domains[Number(chosen)];
  const pair = classifier.manifest.text_pairs ? byId("pair").value : null;
  try {
    showAnswer(await classifier.classify(byId("text").value, domain, pair), classifier.labels);
  } catch (error) {
    byId("answer").hidden = true;
    showProblem("problem", error);
  }
}

async function measureHere() {
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  byId("stop").addEventListener("click", stop);
  setMeasuring(true);
  byId("stop").focus();
  try {
    const result = await measure(classifier, { signal: stopping.signal, onProgress: showProgress });
    showResults(result);
    offerDownload(result);
    byId("status").textContent = "Measured.";
  } catch (error) {
    byId("status").textContent = error instanceof Stopped ? "Stopped." : `Not measured: ${error.message}`;
  } finally {
    byId("stop").removeEventListener("click", stop);
    setMeasuring(false);
    byId(byId("results").hidden ? "measure" : "results").focus();
  }
}

function setMeasuring(measuring) {
  byId("classify").disabled = measuring;
  byId("measure").disabled = measuring;
  byId("stop").hidden = !measuring;
  byId("progress-field").hidden = !measuring;
}

function showProgress(phase, done, total) {
  byId("phase").textContent = `${phase[0].toUpperCase()}${phase.slice(1)}: ${done} of ${total}`;
  byId("progress").value = done / total;
}

function offerDownload(result) {
  const link = byId("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([JSON.stringify(result, null, 1)], { type: "application/json" }));
  link.download = `${classifier.manifest.name}-browser.json`.replace(/[^\w.-]+/g, "-");
  link.hidden = false;
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  alone(classifyTyped);
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && root.dataset.state === "ready") {
    alone(classifyTyped);
  }
});
byId("measure").addEventListener("click", () => alone(measureHere));

const started = start().catch((error) => {
  root.dataset.state = "failed";
  byId("status").hidden = true;
  showProblem("problem", error);
  throw error;
});

/** For the console, and for `hrkd bench`: what the buttons do, with the numbers as a result. */
globalThis.hrkd = {
  classify: async (text, domain = null, pair = null) => (await started, classifier.classify(text, domain, pair)),
  measure: async (options = {}) => (await started, measure(classifier, options)),
  loading: async () => (await started, { ...classifier.loading, threads: classifier.threads }),
};
