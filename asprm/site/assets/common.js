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
  const before = button("\u2190", () => onturn(-1), { "aria-label": `Previous ${what}` });
  const after = button("\u2192", () => onturn(1), { "aria-label": `Next ${what}` });
  const say = (number, all) => {
    place.textContent = all ? `${number + 1} of ${all}` : "none";
    before.disabled = number <= 0;
    after.disabled = number >= all - 1;
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
