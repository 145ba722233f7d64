// The lines of an answer as they come: NDJSON, and events that a server sends.

/**
 * @typedef {{ name: string, id: string, text: string, isError: boolean }} Entry
 * `name` is the type of an event, or else the number in its id
 */

/**
 * Those that came together, together: to wait for each of thousands a second takes longer than to read it.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<string[]>}
 */
async function* textLines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop() ?? "";
    yield parts;
  }
  if (rest) yield [rest];
}

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<Entry>}
 */
export async function* lines(body) {
  for await (const texts of textLines(body)) {
    for (const text of texts) if (text.trim()) yield { name: "", id: "", text, isError: text.startsWith('{"error"') };
  }
}

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<Entry>}
 */
export async function* events(body) {
  let [id, type, data] = ["", "", ""];
  for await (const texts of textLines(body)) {
    for (const line of texts) {
      const [, field, value] = /^(\w*): ?(.*)$/.exec(line) ?? [];
      if (field === "id") id = value;
      else if (field === "event") type = value;
      else if (field === "data") data += (data ? "\n" : "") + value;
      else if (!line && (data || type)) {
        yield { name: type || id.replace(/-.*/, ""), id, text: data, isError: type === "error" };
        [type, data] = ["", ""];
      }
    }
  }
}
