// What the views share. A view is a function from its element and its data; `views` holds them by kind.
const views = {};

// An element with attributes and children. Texts become text nodes, never HTML.
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);

// A button that does nothing now stays where the keyboard is.
const allow = (element, yes) => element.setAttribute("aria-disabled", !yes);
const allowed = (element) => element.getAttribute("aria-disabled") !== "true";

// A list to choose from. options: pairs of value and text.
const choice = (label, options, onchange) => {
  const select = make("select", {}, ...options.map(([value, text]) => make("option", { value }, text)));
  select.addEventListener("change", () => onchange(select.value));
  return { select, element: make("label", {}, `${label} `, select) };
};

const minus = (text) => text.replace("-", "\u2212");
const fixed = (value, digits = 3) => minus(value.toFixed(digits));
const percent = (share, digits = 1) => `${fixed(100 * share, digits)}\u00a0%`;
const count = (number) => number.toLocaleString("en").replaceAll(",", "\u202f");
const verdict = (correct) => (correct === undefined ? "" : correct ? "\u2713 right" : "\u2717 wrong");

// A token as people read it. A token without text is the end of the text, or a part of the character that the next one
// completes.
const sign = (token, last) => token || (last ? "\u25a0" : "\u25ab");
const visible = (token, last) => sign(token, last).replaceAll("\n", "\u23ce");

// The buttons that turn from one thing to the next, and where one stands.
const turner = (what, onturn) => {
  const place = make("span", { class: "place", "aria-live": "polite" });
  const before = button("\u2190", () => allowed(before) && onturn(-1), { "aria-label": `Previous ${what}` });
  const after = button("\u2192", () => allowed(after) && onturn(1), { "aria-label": `Next ${what}` });
  const say = (number, all) => {
    place.textContent = all ? `${number + 1} of ${all}` : "none";
    allow(before, number > 0);
    allow(after, number < all - 1);
  };
  return { element: make("span", { class: "turner" }, before, place, after), say };
};

// Facts in a row: name and value each. Returns a function that sets the values.
const facts = (names) => {
  const values = names.map(() => make("dd"));
  const element = make("dl", { class: "facts" }, ...names.map((name, i) => make("div", {}, make("dt", {}, name), values[i])));
  return { element, set: (texts) => texts.forEach((text, i) => { values[i].textContent = text; }) };
};

// How strongly a token's ground is coloured: full from a confidence of 0.2 down.
const doubt = (confidence) => Math.min(1, -Math.log(Math.max(confidence, 1e-9)) / 1.6);

// What stands after a token or a step: a number, and what is said of it. name: for screen readers.
const mark = (name, number, said) => make("span", { class: "end" },
  make("span", { class: "unseen" }, ` (${name}${said ? `, ${said}` : ""}) `),
  make("span", { "aria-hidden": "true" }, said ? `${number}: ${said}` : `${number}`));

// A text as tokens. low: whether a token, by its place, is to be marked. marks: by place, what stands after a token.
// Returns the element and the tokens' own elements.
const tokenText = (tokens, confidences, low, marks) => {
  const text = make("div", { class: "tokens" });
  const spans = tokens.map((token, i) => {
    const broken = token.indexOf("\n");
    // A line break shows no ground of its own, so a sign stands for it, and a mark stands before the break.
    const head = broken < 0 ? token : token.slice(0, broken);
    const shown = head + (broken >= 0 && (low(i) || !head) ? "\u23ce" : "");
    const span = make("span", { class: low(i) ? "token low" : "token", "data-i": i }, sign(shown, i === tokens.length - 1));
    span.style.setProperty("--doubt", doubt(confidences[i]).toFixed(2));
    if (token === "") span.classList.add("silent");
    text.append(span);
    if (marks.has(i)) text.append(marks.get(i));
    if (broken >= 0) text.append(token.slice(broken));
    return span;
  });
  return { text, spans };
};

// A table. heads: texts. rows: lists of texts and elements, the first of each heads its row.
const table = (caption, heads, rows) => make("table", {},
  make("caption", {}, caption),
  make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
  make("tbody", {}, ...rows.map(([first, ...rest]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...rest.map((value) => make("td", {}, value))))));

// A share as a number with a bar.
const bar = (share, text) => {
  const element = make("span", { class: "share" }, make("span", {}, text));
  element.style.setProperty("--share", Math.max(0, Math.min(1, share)));
  return element;
};
