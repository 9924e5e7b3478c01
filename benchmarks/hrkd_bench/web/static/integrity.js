// Files that are used only when their SHA-256 is the recorded one. The list of hashes is checked against its own hash,
// which stands in index.html, so that no file can be exchanged or cut off without notice.

const LIST = "SHA256SUMS";

export class IntegrityError extends Error {}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function download(name) {
  const response = await fetch(name, { cache: "no-cache", credentials: "same-origin" });
  if (!response.ok) {
    throw new Error(`${name} cannot be loaded: the server says ${response.status} ${response.statusText}`);
  }
  return response.arrayBuffer();
}

function check(name, actual, expected) {
  if (actual !== expected) {
    const recorded = expected ? `recorded is ${expected.slice(0, 12)}…` : "none is recorded";
    throw new IntegrityError(`${name} was changed: its SHA-256 is ${actual.slice(0, 12)}…, ${recorded}`);
  }
}

export class VerifiedFiles {
  /** Load the list of hashes; `expected` is the hash of the list itself. */
  static async open(expected) {
    if (!globalThis.crypto?.subtle) {
      throw new Error("this page cannot check its files here: open it over https, or from localhost");
    }
    const bytes = await download(LIST);
    check(LIST, await sha256(bytes), expected);
    const lines = new TextDecoder().decode(bytes).trim().split("\n");
    return new VerifiedFiles(new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)])));
  }

  constructor(hashes) {
    this.hashes = hashes;
    this.downloadMs = 0;
    this.verifyMs = 0;
    this.bytes = 0;
  }

  has(name) {
    return this.hashes.has(name);
  }

  async load(name) {
    const start = performance.now();
    const bytes = await download(name);
    const loaded = performance.now();
    check(name, await sha256(bytes), this.hashes.get(name));
    this.downloadMs += loaded - start;
    this.verifyMs += performance.now() - loaded;
    this.bytes += bytes.byteLength;
    return bytes;
  }

  async text(name) {
    return new TextDecoder().decode(await this.load(name));
  }

  async json(name) {
    return JSON.parse(await this.text(name));
  }
}
