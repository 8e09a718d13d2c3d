// The ledger: its table is on the page already and can be sorted and filtered.
views.ledger = (host) => {
  const box = host.querySelector("table"), rows = [...box.tBodies[0].rows];
  const distinct = (name) => [...new Set(rows.map((row) => row.dataset[name]))];
  const number = make("span", { class: "place", "aria-live": "polite" });
  // So that the page does not end a hundred screens below, the first rows are shown until all are asked for.
  const FEW = 20;
  let all = false;
  const more = button("", () => { all = true; filter(); });

  const filter = () => {
    const words = search.value.trim().toLowerCase();
    let left = 0;
    for (const row of box.tBodies[0].rows) {
      const fits = selects.every(([name, { select }]) => !select.value || row.dataset[name] === select.value)
        && (!words || row.textContent.toLowerCase().includes(words));
      left += fits;
      row.hidden = !fits || !(all || left <= FEW);
    }
    number.textContent = `${left} of ${rows.length}`;
    more.textContent = `Show all ${left} rows`;
    more.hidden = all || left <= FEW;
  };
  const selects = ["verdict", "part", "kind"].map((name) =>
    [name, choice(name[0].toUpperCase() + name.slice(1), [["", "all"], ...distinct(name).map((value) => [value, value])], filter)]);
  const search = make("input", { type: "search", placeholder: "words", "aria-label": "Words in a claim", oninput: filter });

  // A head sorts by its column: numbers by their value, the rest by text. Rows without a value stay last.
  const heads = [...box.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const numbers = rows.some((row) => row.cells[column].dataset.value !== undefined);
      const compare = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        return (falls ? -1 : 1) * (numbers ? a - b : a.localeCompare(b, "en", { numeric: true }));
      };
      box.tBodies[0].append(...rows.toSorted((a, b) => compare(value(a), value(b))));
      filter();
    };
    head.replaceChildren(button(head.textContent, sort, { class: "sort" }));
  });

  host.prepend(make("div", { class: "bar" }, ...selects.map(([, select]) => select.element), search, number));
  host.append(more);
  filter();
  // A link to a claim shows its row; on a new page it arrives before the row can be found.
  const arrive = () => {
    const row = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!row || !box.contains(row)) return;
    if (row.hidden) {
      all = true;
      filter();
    }
    row.scrollIntoView?.();
  };
  addEventListener("hashchange", arrive);
  addEventListener("beforeprint", () => { all = true; filter(); });
  arrive();
};
