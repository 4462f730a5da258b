// A model's reply in Markdown, as elements. The text is untrusted: every part becomes the text of an element of this list, links stay
// text, and HTML is shown as it was written.

import { el } from "./dom.js";

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|__[^_]+__|\*[^*\s][^*]*\*)/;

/** Builds the nodes of a line: code, strong and emphasis. */
function inline(text) {
  return text.split(INLINE).filter((part) => part !== "").map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return el("code", { textContent: part.slice(1, -1) });
    if (part.length > 4 && /^(\*\*|__)/.test(part) && part.endsWith(part.slice(0, 2))) return el("strong", { textContent: part.slice(2, -2) });
    if (part.length > 2 && part.startsWith("*") && part.endsWith("*")) return el("em", { textContent: part.slice(1, -1) });
    return document.createTextNode(part);
  });
}

const KINDS = [
  ["heading", /^#{1,6} +(.*)$/],
  ["ul", /^ *[-*+] +(.*)$/],
  ["ol", /^ *\d{1,3}[.)] +(.*)$/],
  ["text", /^(.*)$/],
];

/** Builds paragraphs, headings, lists and code blocks from Markdown. */
export function markdown(source) {
  const nodes = [];
  let open; // list or paragraph that the next line may continue
  let code;
  for (const line of source.split(/\r?\n/)) {
    if (/^ *```/.test(line)) {
      if (!code) nodes.push(code = el("pre", { tabIndex: 0 }));
      else code = undefined;
      open = undefined;
    } else if (code) {
      code.append(`${line}\n`);
    } else if (line.trim() === "") {
      open = undefined;
    } else {
      const [kind, pattern] = KINDS.find(([, pattern]) => pattern.test(line));
      const contents = inline(pattern.exec(line)[1]);
      if (kind === "heading") {
        nodes.push(el("h3", {}, ...contents));
        open = undefined;
      } else if (kind === "text") {
        if (open?.localName !== "p") nodes.push(open = el("p"));
        else open.append(el("br"));
        open.append(...contents);
      } else {
        if (open?.localName !== kind) nodes.push(open = el(kind));
        open.append(el("li", {}, ...contents));
      }
    }
  }
  return nodes;
}
