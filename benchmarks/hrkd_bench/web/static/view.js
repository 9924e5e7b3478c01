// What the page shows. Everything from outside goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

function element(name, text = null, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) {
    made.textContent = text;
  }
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const milliseconds = (value) => (value === null ? "n/a" : `${value.toFixed(value < 10 ? 2 : 1)} ms`);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

export function showBundle({ manifest, domains, labels }) {
  document.title = `${manifest.name}: text classifier`;
  byId("name").textContent = manifest.name;
  const size = megabytes(manifest.files["model.onnx"].size_bytes);
  byId("facts").textContent = `${manifest.precision}, ${size}; labels: ${labels.join(", ")}`;
  byId("domain").replaceChildren(
    ...domains.map((name, number) => element("option", name, { value: String(number) })),
    element("option", "unknown (mean of all)", { value: "" }),
  );
  byId("pair-field").hidden = !manifest.text_pairs;
}

export function showAnswer({ label, probabilities, ids, tokenize_ms, run_ms, end_to_end_ms, domain }, labels) {
  byId("label").textContent = label;
  const who = domain === null ? "mean of all domains" : `as ${domain}`;
  byId("certainty").textContent = `${percent(Math.max(...probabilities))}, ${who}`;
  byId("bars").replaceChildren(...labels.map((name, number) => bar(name, probabilities[number], name === label)));
  byId("latency").textContent =
    `Answered in ${milliseconds(end_to_end_ms)}: ${milliseconds(tokenize_ms)} for ${ids.length} tokens, ` +
    `${milliseconds(run_ms)} for the model`;
  byId("answer").hidden = false;
}

/** A label, its percentage as text, and the same as a bar for those who see it. */
function bar(name, probability, chosen) {
  const item = element("li");
  const line = element("div", null, { class: chosen ? "line chosen" : "line" });
  line.append(element("span", name, { dir: "auto" }), element("span", percent(probability)));
  const track = element("div", null, { class: "track", "aria-hidden": "true" });
  track.innerHTML = '<svg class="bar" preserveAspectRatio="none" viewBox="0 0 100 1"><rect height="1"></rect></svg>';
  track.querySelector("rect").setAttribute("width", (100 * probability).toFixed(2));
  item.append(line, track);
  return item;
}

export function showHow({ threads, runtime, loading, site }) {
  const isolated = globalThis.crossOriginIsolated;
  const why = isolated
    ? "yes"
    : "no: the server does not send Cross-Origin-Opener-Policy: same-origin and " +
      "Cross-Origin-Embedder-Policy: require-corp, so there is one thread and a coarse clock";
  const entries = {
    "Engine": `${runtime} (WebAssembly)`,
    "Threads": String(threads),
    "crossOriginIsolated": why,
    "Loading": `${milliseconds(loading.download_ms)} for ${megabytes(loading.downloaded_bytes)}, ` +
      `${milliseconds(loading.verify_ms)} to check SHA-256, ${milliseconds(loading.compile_ms)} to compile, ` +
      `${milliseconds(loading.first_ms)} for the first answer`,
    "Self-test": `${site.probes.length} texts: tokens equal to those of ${site.runtime}, ` +
      `logits differ by at most ${loading.probe_logit_difference.toPrecision(2)}`,
  };
  byId("how").replaceChildren(...Object.entries(entries).flatMap(([term, text]) => [element("dt", term), element("dd", text)]));
}

export function showResults(result) {
  const latency = Object.entries({ "end to end": "end_to_end", tokenizer: "tokenize", model: "run" }).map(([name, key]) => {
    const { p50, p95 } = result.latency_ms[key];
    return [name, milliseconds(p50), milliseconds(p95)];
  });
  const domains = Object.entries(result.accuracy)
    .sort(([, one], [, other]) => one.share - other.share)
    .map(([name, { share, texts }]) => [name, percent(share), String(texts)]);
  const { n } = result.latency_ms.end_to_end;
  byId("results").replaceChildren(
    table(`Latency of ${n} texts, one at a time`, ["Part", "p50", "p95"], latency),
    table("Accuracy, worst domain first", ["Domain", "Right", "Texts"], domains),
    element("p", `Same label as ${result.compared_with} on ${Math.round(result.agreement_with_python * n)} of ${n} texts ` +
      `(largest difference of a logit: ${result.largest_logit_difference.toPrecision(2)}), ` +
      `as the teacher on ${Math.round(result.agreement_with_teacher * n)}.`),
  );
  byId("results").hidden = false;
}

function table(caption, heads, rows) {
  const made = element("table");
  const head = element("tr");
  head.append(...heads.map((text) => element("th", text, { scope: "col" })));
  const lines = rows.map(([first, ...others]) => {
    const line = element("tr");
    line.append(element("th", first, { scope: "row" }), ...others.map((text) => element("td", text)));
    return line;
  });
  made.append(element("caption", caption), head, ...lines);
  return made;
}

export function showProblem(id, error) {
  const place = byId(id);
  place.textContent = error instanceof Error ? error.message : String(error);
  place.hidden = false;
}
