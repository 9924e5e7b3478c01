// Token ids exactly as the Python runtime makes them: the tokenizers library, with what differs there replaced.
//
// The Python library carries Unicode tables of its own, lower-cases character by character, and strips accents before
// that; the JavaScript one uses the browser's tables. Both decide where words end, so both change answers.

import { Tokenizer } from "./vendor/tokenizers.min.js";

const LAST_CODE_POINT = 0x10ffff;
const KINDS = ["removed", "blank", "ideograph", "mark", "punctuation", "separator"];

/** Which characters are dropped, blank, split off: `kinds[codePoint]` has one bit per kind. */
class Characters {
  constructor(tables) {
    this.kinds = new Uint8Array(LAST_CODE_POINT + 1);
    KINDS.forEach((kind, bit) => {
      for (const [first, last] of tables[kind]) {
        for (let code = first; code <= last; code += 1) {
          this.kinds[code] |= 1 << bit;
        }
      }
    });
  }

  is(kind, character) {
    return (this.kinds[character.codePointAt(0)] & (1 << KINDS.indexOf(kind))) !== 0;
  }
}

/** BERT's normaliser in the order of the Python library: clean, separate ideographs, strip accents, lower-case. */
function bertNormalizer(config, characters) {
  const stripsAccents = config.strip_accents ?? config.lowercase;
  return (text) => {
    let output = "";
    for (const character of text) {
      if (config.clean_text && characters.is("removed", character)) {
        continue;
      }
      if (config.clean_text && characters.is("blank", character)) {
        output += " ";
      } else if (config.handle_chinese_chars && characters.is("ideograph", character)) {
        output += ` ${character} `;
      } else {
        output += character;
      }
    }
    if (stripsAccents) {
      output = [...output.normalize("NFD")].filter((character) => !characters.is("mark", character)).join("");
    }
    // Character by character: of a whole word, JavaScript makes the final sigma another letter.
    return config.lowercase ? [...output].map((character) => character.toLowerCase()).join("") : output;
  };
}

/** BERT's pre-tokenizer: words between separators, every punctuation mark on its own. */
function bertPreTokenizer(characters) {
  return (text) => {
    const words = [];
    let word = "";
    for (const character of text) {
      const stands = characters.is("punctuation", character);
      if (!stands && !characters.is("separator", character)) {
        word += character;
        continue;
      }
      if (word) {
        words.push(word);
        word = "";
      }
      if (stands) {
        words.push(character);
      }
    }
    return word ? [...words, word] : words;
  };
}

/** How many tokens of text and pair stay within `room`: the longer one is cut first, as the Python library does. */
export function keptLengths(first, second, room) {
  if (first + second <= room) {
    return [first, second];
  }
  let [shorter, longer] = first <= second ? [first, second] : [second, first];
  longer = shorter > room ? shorter : Math.max(shorter, room - shorter);
  if (shorter + longer > room) {
    shorter = Math.floor(room / 2);
    longer = shorter + (room % 2);
  }
  return first <= second ? [shorter, longer] : [longer, shorter];
}

export class BundleTokenizer {
  /**
   * @param config content of tokenizer.json
   * @param tables content of characters.json
   * @param maxLength longest input in tokens, special ones included
   */
  constructor(config, tables, maxLength) {
    this.library = new Tokenizer(config, {});
    this.maxLength = maxLength;
    this.padId = paddingId(config);
    const characters = new Characters(tables);
    if (config.normalizer?.type === "BertNormalizer") {
      this.library.normalizer = bertNormalizer(config.normalizer, characters);
    }
    if (config.pre_tokenizer?.type === "BertPreTokenizer") {
      this.library.pre_tokenizer = bertPreTokenizer(characters);
    }
  }

  /** Token ids of one input, special tokens included; `pair` is null for single texts. */
  encode(text, pair = null) {
    for (const part of pair === null ? [text] : [text, pair]) {
      checkIsText(part);
    }
    const first = this.library.encode_text(text);
    const second = pair === null ? null : this.library.encode_text(pair);
    const room = this.maxLength - this.withSpecial([], second === null ? null : []).length;
    const [keptFirst, keptSecond] = keptLengths(first.length, second?.length ?? 0, room);
    return this.withSpecial(first.slice(0, keptFirst), second?.slice(0, keptSecond) ?? null).map((token) => this.id(token));
  }

  withSpecial(first, second) {
    const { library } = this;
    return library.post_processor ? library.post_processor(first, second, true).tokens : [...first, ...(second ?? [])];
  }

  id(token) {
    const { added_tokens_map: added, model } = this.library;
    return added.get(token)?.id ?? model.tokens_to_ids.get(token) ?? model.unk_token_id;
  }
}

/** Half a character, which JavaScript can hold and UTF-8 cannot, is refused as in Python. */
function checkIsText(text) {
  try {
    encodeURIComponent(text);
  } catch (error) {
    if (!(error instanceof URIError)) {
      throw error;
    }
    throw new Error("this is not valid text: it holds half a character (a lone surrogate)");
  }
}

function paddingId(config) {
  if (config.padding) {
    return config.padding.pad_id;
  }
  const known = new Map(Object.entries(config.model.vocab));
  for (const { content, id } of config.added_tokens ?? []) {
    known.set(content, id);
  }
  return known.get("[PAD]") ?? known.get("<pad>") ?? 0;
}
