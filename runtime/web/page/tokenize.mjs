// Text to token ids, by the rules of runtime/tasks/tokenize.py.

// Open the tokenizer of a bundle; `library` is the address of @huggingface/tokenizers.
export async function openTokenizer(bundle, manifest, library) {
  const names = Object.keys(manifest.files);
  const read = async (name) => (names.includes(name) ? (await fetch(bundle + name)).json() : {});
  if (!names.includes("tokenizer.json"))
    throw new Error("this bundle has no tokenizer.json, the one form of tokenizer that this page reads");
  const { Tokenizer } = await import(library);
  const settings = await read("tokenizer_config.json");
  const roles = { ...settings, ...(await read("special_tokens_map.json")) };
  const token = (role) => roles[role]?.content ?? roles[role];
  const source = await read("tokenizer.json");
  const inner = new Tokenizer(source, settings);
  const id = (text) => (typeof text === "string" ? inner.token_to_id(text) : undefined);
  const config = await read("config.json");
  return {
    config,
    padId: id(token("pad_token")) ?? config.pad_token_id ?? 0,
    maskToken: token("mask_token"),
    maskId: id(token("mask_token")),
    textOf: (one) => inner.decode([one]) || inner.id_to_token(one),
    encode: (text) => known(encode(inner, text, limit(manifest)), id(source.model?.unk_token)),
    whole: (text) => known(encode(inner, text, Infinity), id(source.model?.unk_token)).ids,
    bare: (text) => known(encode(inner, text, Infinity, false), id(source.model?.unk_token)).ids,
    stream: () => stream(inner),
  };
}

function limit({ max_length: most, sequence }) {
  return Math.min(most ?? Infinity, sequence ?? Infinity);
}

// The library gives no id for a word that a vocabulary of whole words lacks.
function known({ ids, types }, unknown) {
  if (unknown === undefined && ids.includes(undefined)) throw new Error("the tokenizer lacks a word of this text");
  return { ids: ids.map((one) => one ?? unknown), types };
}

// {ids, types}, special tokens included unless `special` is false. What is too long loses tokens of
// the text, not these.
function encode(inner, text, most, special = true) {
  const whole = inner.encode(text, { return_token_type_ids: true, add_special_tokens: special });
  const { ids, token_type_ids: types } = whole;
  const over = ids.length - most;
  if (over <= 0) return { ids, types };
  const plain = inner.encode(text, { add_special_tokens: false }).ids;
  const before = ids.findIndex((_, at) => plain.every((one, i) => ids[at + i] === one));
  const end = before + plain.length;
  const cut = (row) => [...row.slice(0, end - over), ...row.slice(end)];
  return { ids: cut(ids), types: cut(types) };
}

// A decoder of one token after another: the text that each one completes, or nothing. As the Python
// library's DecodeStream, it decodes a token together with those that gave text last, because some
// decoders take spaces from the beginning of a text.
function stream(inner) {
  const decode = (ids) => inner.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  let ids = [];
  let said = "";
  let before = 0; // tokens of `ids` that `said` stands for
  return (one) => {
    ids.push(one);
    const text = decode(ids);
    if (text.length <= said.length || text.endsWith("\ufffd")) return ""; // the first bytes of a character
    const piece = text.slice(said.length);
    ids = ids.slice(before);
    before = ids.length;
    said = decode(ids);
    return piece;
  };
}
