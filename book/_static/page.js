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
