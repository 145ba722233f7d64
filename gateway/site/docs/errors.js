// The page of the reasons why calls fail.

import { byId, element, replace } from "./dom.js";
import { inline, prose, table } from "./prose.js";
import { drawMenu } from "./shell.js";

/** @import { Contract, ContractReason } from "./types.js" */

const HEAD = `Whatever fails tells a reason: a name that never changes, for programs to match on. Over REST it is \`error.details.reason\`, over gRPC the \`reason\` of the \`google.rpc.ErrorInfo\` in the status. Messages are for people and may change. Routes and rpcs say what a reason means for them.

Again? tells whether a call may be made again. The same call may succeed after \`retryAfterS\`, which is \`Retry-After\` too, when the answer tells it, and else after pauses that grow: appends with the same event ids, which are stored once whatever happened.`;

export async function drawErrors() {
  /** @type {Contract} */
  const { reasons } = await (await fetch("/docs/reference.json")).json();
  const statuses = [...new Set(reasons.map((reason) => reason.status))].sort();
  const groups = statuses.map((title) => ({ title, those: reasons.filter((reason) => reason.status === title) }));
  drawMenu(
    groups.map(({ title, those }) => ({
      title,
      links: those.map(({ name, meaning, remedy }) => ({ href: `#${name}`, text: name, words: `${meaning} ${remedy}` })),
    })),
  );
  const sections = groups.map(({ title, those }) => element("section", {}, [element("h2", {}, title), drawReasons(those)]));
  replace(byId("content"), [element("div", { class: "prose" }, [element("h1", {}, "Errors"), ...prose(HEAD)]), ...sections]);
}

/** @param {ContractReason[]} reasons */
function drawReasons(reasons) {
  const rows = reasons.map(({ name, code, meaning, remedy, retry }) => [
    [element("b", { class: "reason" }, name), element("span", { class: "kind" }, code)],
    inline(meaning),
    inline(remedy),
    [retry],
  ]);
  const shown = table(["Reason", "Means", "What to do", "Again?"], rows, (index) => ({ id: reasons[index].name }));
  shown.classList.add("reasons");
  return shown;
}
