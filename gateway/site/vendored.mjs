// The libraries that the console is served with, made of the packages in the lock. Without a build
// step browsers need them as modules that name each other by their path.
//
//   node vendored.mjs           writes them
//   node vendored.mjs --check   says which ones differ, and ends with 1 if any does

import { readFileSync, writeFileSync } from "node:fs";

const FOLDER = "console/vendor";

/** @type {[file: string, from: string, change: (text: string) => string][]} */
const MADE = [
  ["preact.js", "preact/dist/preact.mjs", (text) => text],
  ["hooks.js", "preact/hooks/dist/hooks.mjs", (text) => text.replaceAll('from"preact"', 'from"./preact.js"')],
  ["htm.js", "htm/dist/htm.mjs", (text) => text],
  ["uplot.js", "uplot/dist/uPlot.iife.min.js", (text) => `${text.trimEnd()}\nexport default uPlot;\n`],
  ["uplot.css", "uplot/dist/uPlot.min.css", (text) => text],
  ["LICENSE.preact", "preact/LICENSE", (text) => text],
  ["LICENSE.htm", "htm/LICENSE", (text) => text],
  ["LICENSE.uplot", "uplot/LICENSE", (text) => text],
];

const isCheck = process.argv.includes("--check");
let hasDifference = false;

for (const [file, from, change] of MADE) {
  const made = withoutMap(change(readFileSync(`node_modules/${from}`, "utf8")));
  const path = `${FOLDER}/${file}`;
  if (!isCheck) writeFileSync(path, made);
  else if (made !== readFileSync(path, "utf8")) {
    hasDifference = true;
    console.error(`${path} is not what ${from} gives: node vendored.mjs`);
  }
}
process.exitCode = hasDifference ? 1 : 0;

/** @param {string} text */
function withoutMap(text) {
  return text.replace(/\n?\/\/# sourceMappingURL=.*\n?$/, "\n");
}
