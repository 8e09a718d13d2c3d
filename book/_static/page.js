// One switch for the code of all cells of a page, kept from page to page.
(() => {
  const cells = [...document.querySelectorAll("details.code")];
  const place = document.querySelector(".header-article-items__end");
  if (!cells.length || !place) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-sm code-switch";
  const set = (open) => {
    for (const cell of cells) cell.open = open;
    button.setAttribute("aria-pressed", open);
    button.textContent = open ? "Hide code" : "Show code";
  };
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    set(open);
    try { localStorage.setItem("asprm-code", open); } catch { /* not allowed here */ }
  });
  let last = null;
  try { last = localStorage.getItem("asprm-code"); } catch { /* not allowed here */ }
  set(last === "true");
  place.prepend(button);
  window.addEventListener("beforeprint", () => set(true));
})();

// What is folded is printed.
window.addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll("details.output")) box.open = true;
});

// What scrolls sideways can be reached with the keyboard, and what does not is not stopped at.
(() => {
  const selector = ".table-box, .pst-scrollable-table-container, .cell_output, div.math, pre";
  const boxes = [...document.querySelectorAll(`.bd-article :is(${selector})`)];
  const mark = (box) => {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
    box.toggleAttribute("data-scrolls", scrolls);
    if (scrolls) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      if (!box.hasAttribute("aria-label")) box.setAttribute("aria-label", "Scrolls sideways");
    } else {
      box.removeAttribute("tabindex");
      box.removeAttribute("role");
    }
  };
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
  for (const box of boxes) sizes.observe(box);
  window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    boxes.forEach(mark);
  });
})();

// On the search page: a word typed in part, such as "hesitat", finds the words that begin with it.
(() => {
  if (!window.Stemmer) return;
  const Whole = window.Stemmer;
  window.Stemmer = function () {
    const whole = new Whole();
    this.stemWord = (word) => {
      const stem = whole.stemWord(word);
      const known = [...Object.keys(Search._index.terms), ...Object.keys(Search._index.titleterms)];
      for (let length = stem.length; length > Math.max(3, stem.length - 4); length -= 1) {
        const start = stem.slice(0, length);
        if (known.some((term) => term.includes(start))) return start;
      }
      return stem;
    };
  };
})();
