// The copies of a chapter (other policies, other runs): one panel at a time. Without this script all panels are shown.
(() => {
  const bar = document.querySelector(".copies");
  if (!bar) return;
  const tabs = [...bar.querySelectorAll("[role=tab]")];
  const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));
  const contents = [...document.querySelectorAll(".bd-toc-nav a[href^='#']")].map((link) => [link, link.hash.slice(1)]);

  const show = (number, remember) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", i === number);
      tab.tabIndex = i === number ? 0 : -1;
      panels[i].hidden = i !== number;
    });
    const suffix = panels[number].dataset.suffix;
    for (const [link, id] of contents) {
      const other = suffix && document.getElementById(`${id}-${suffix}`);
      link.hash = other ? other.id : id;
    }
    if (remember) try { localStorage.setItem("asprm-copy", tabs[number].textContent); } catch { /* not allowed here */ }
  };

  const meant = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && document.getElementById(id);
    return target ? panels.findIndex((panel) => panel.contains(target)) : -1;
  };
  const arrive = () => {
    const number = meant();
    if (number < 0) return false;
    show(number);
    document.getElementById(decodeURIComponent(location.hash.slice(1))).scrollIntoView();
    return true;
  };

  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => show(i, true));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -i, End: tabs.length - 1 - i }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const next = (i + step + tabs.length) % tabs.length;
      show(next, true);
      tabs[next].focus();
    });
  });
  window.addEventListener("hashchange", arrive);
  let last = null;
  try { last = localStorage.getItem("asprm-copy"); } catch { /* not allowed here */ }
  show(Math.max(0, tabs.findIndex((tab) => tab.textContent === last)));
  arrive();
})();
