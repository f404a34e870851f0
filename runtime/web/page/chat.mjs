// A tokenizer's chat template, by the rules of runtime/tasks/chat.py.

const FILE = "chat_template.jinja";
const CONFIG = "tokenizer_config.json";

// The template of the bundle at address `bundle`; `library` is the address of @huggingface/jinja.
//
// Gives null where there is none, else a function: what a user says to the prompt of its answer.
export async function chatTemplate(bundle, manifest, library) {
  const names = Object.keys(manifest.files);
  const config = names.includes(CONFIG) ? await (await fetch(bundle + CONFIG)).json() : {};
  const source = names.includes(FILE) ? await (await fetch(bundle + FILE)).text() : fromConfig(config.chat_template);
  if (typeof source !== "string") return null;
  const { Template } = await import(library);
  const tokens = Object.fromEntries(
    Object.entries(config)
      .filter(([name]) => name.endsWith("_token"))
      .map(([name, token]) => [name, token?.content ?? token])
      .filter(([, token]) => typeof token === "string"),
  );
  return (text) => {
    const messages = [{ role: "user", content: text }];
    try {
      return new Template(source).render({ messages, add_generation_prompt: true, ...tokens });
    } catch (error) {
      throw new Error(`the chat template refuses the prompt (${error.message}); leave it out`);
    }
  };
}

function fromConfig(told) {
  return Array.isArray(told) ? told.find(({ name }) => name === "default")?.template : told;
}
