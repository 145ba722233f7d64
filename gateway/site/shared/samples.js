// A call as a program in several languages. No token is in one: what is copied ends up in places
// where no secret should be.

import { clientProgram } from "./python.js";

/**
 * @typedef {{ operationId: string, method: string, url: string, headers: Record<string, string>,
 *   values: Record<string, string>, body?: string, isStream: boolean, isPublic: boolean }} Call
 * One call; `values` are its parameters by name.
 */

/** @type {Record<string, (call: Call) => string>} */
export const LANGUAGES = { curl, Python: python, JavaScript: javascript };

/** @param {Call} call */
function curl({ method, url, headers, body, isPublic, isStream }) {
  const quote = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`;
  const first = `curl ${isStream ? "-N " : ""}${method === "GET" ? "" : `-X ${method} `}${quote(location.origin + url)}`;
  const lines = [first, ...Object.entries(headers).map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`)];
  if (!isPublic) lines.push('-H "Authorization: Bearer $(girih token)"');
  if (body !== undefined) lines.push(`-d ${quote(body)}`);
  return lines.join(" \\\n  ");
}

/**
 * With the client where it has the call, and else with what every Python has.
 * @param {Call} call
 */
function python(call) {
  return clientProgram(call.operationId, argumentsOf(call)) ?? pythonOverHttp(call);
}

/** @param {Call} call */
function argumentsOf({ values, body }) {
  // A number that JavaScript would round is left to the program that sends the text as it is.
  if (/[:,[]\s*-?\d{16}/.test(body ?? "")) return { values: {}, lines: [] };
  const whole = parsed(body ?? "");
  const lines = (body ?? "").split("\n").filter((line) => line.trim()).map(parsed);
  return { values: { ...values, ...whole }, lines };
}

/**
 * @param {string} text
 * @returns {Record<string, any>}
 */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** @param {Call} call */
function pythonOverHttp({ method, url, headers, body, isPublic }) {
  const own = Object.entries(headers).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},`);
  const token = isPublic ? [] : ['    "Authorization": f"Bearer {os.environ[\'GIRIH_TOKEN\']}",'];
  const data = body === undefined ? [] : [`body = r'''${body.replaceAll("'''", "\\'\\'\\'")}'''`, ""];
  const sent = body === undefined ? "" : ", data=body.encode()";
  return [
    ...(isPublic ? [] : ["import os"]),
    "import urllib.request",
    "",
    ...data,
    "headers = {",
    ...own,
    ...token,
    "}",
    `request = urllib.request.Request("${location.origin}${url}", method="${method}", headers=headers${sent})`,
    "with urllib.request.urlopen(request) as answer:",
    "    print(answer.read().decode())",
  ].join("\n");
}

/** @param {Call} call */
function javascript({ method, url, headers, body, isPublic, isStream }) {
  const all = { ...headers };
  const own = Object.entries(all).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},`);
  const token = isPublic ? [] : ['    Authorization: "Bearer " + process.env.GIRIH_TOKEN,'];
  return [
    `const answer = await fetch(${JSON.stringify(location.origin + url)}, {`,
    ...(method === "GET" ? [] : [`  method: "${method}",`]),
    ...(own.length + token.length ? ["  headers: {", ...own, ...token, "  },"] : []),
    ...(body === undefined ? [] : [`  body: ${bodyLiteral(body)},`]),
    "});",
    "if (!answer.ok) throw new Error(await answer.text());",
    ...(isStream
      ? ["for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {", "  process.stdout.write(text);", "}"]
      : ["console.log(await answer.text());"]),
  ].join("\n");
}

/**
 * The text itself: as an object its large numbers would be rounded.
 * @param {string} body
 */
function bodyLiteral(body) {
  return `\`${body.replaceAll("\\", "\\\\").replaceAll("`", "\\`").replaceAll("${", "\\${")}\``;
}
