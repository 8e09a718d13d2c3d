// Solutions, token by token. The reader moves the threshold; steps and counts follow.

// Token ends of the steps, as asprm.split.adaptive gives them: after each token below tau, and after the last one.
const stepEnds = (confidences, tau) => {
  const ends = [];
  confidences.forEach((confidence, i) => { if (confidence < tau) ends.push(i + 1); });
  if (ends.at(-1) !== confidences.length) ends.push(confidences.length);
  return ends;
};

views.tokens = (host, data) => {
  const Numbers = data.single ? Float32Array : Float64Array;
  const solutions = data.solutions.map((row) => ({ ...row, confidences: Numbers.from(row.confidences) }));
  const judged = solutions.some((row) => row.correct !== undefined);
  const moves = data.tau !== null;
  let tau = data.tau, kept = solutions, at = data.first, token = null, spans = [];

  const endsOf = (row) => (moves ? stepEnds(row.confidences, tau) : row.ends);
  const notes = (row) => (end) => Object.entries(row.values)
    .filter(([, byEnd]) => end in byEnd)
    .map(([name, byEnd]) => `${name} ${Number.isInteger(byEnd[end]) ? byEnd[end] : fixed(byEnd[end], 2)}`)
    .join(", ");

  // 1. What can be set.
  const turn = turner("solution", (by) => { at += by; token = null; draw(); });
  const filter = choice("Show", [["all", "all solutions"], ["right", "right ones"], ["wrong", "wrong ones"]], (which) => {
    const current = kept[at];
    kept = which === "all" ? solutions : solutions.filter((row) => row.correct === (which === "right"));
    at = Math.max(0, kept.indexOf(current));
    token = null;
    draw();
  });
  const least = button("Least confident token", () => {
    const { confidences } = kept[at];
    const order = [...confidences.keys()].sort((a, b) => confidences[a] - confidences[b]);
    choose(order[(order.indexOf(token) + 1) % order.length]); // again: the next in this order
    text.focus({ preventScroll: true });
  });
  const range = make("input", { type: "range", min: 0, max: 1, step: 0.005, "aria-label": "Threshold" });
  const exact = make("input", { type: "number", min: 0, max: 1, step: "any", "aria-label": "Threshold, exactly" });
  const own = button("Back to the start", () => setTau(data.tau));
  const setTau = (value) => {
    if (!(value >= 0 && value <= 1)) return;
    tau = value;
    draw();
  };
  range.addEventListener("input", () => setTau(Number(range.value)));
  exact.addEventListener("input", () => { if (exact.value !== "") setTau(Number(exact.value)); });

  // 2. What is shown.
  const summary = facts([
    "solutions", ...(moves ? ["tokens below \u03c4"] : []), "steps", "steps a solution", `rollouts, ${data.rollouts} a step`,
  ]);
  const title = make("p", { class: "title" });
  const problem = make("p", { class: "problem" });
  const text = make("div", {
    class: data.code ? "text code" : "text", tabindex: 0, role: "group",
    "aria-label": "The solution; with the arrow keys, left and right from token to token, up and down from one that ends a step to the next",
  });
  const detail = make("p", { class: "detail", "aria-live": "polite" });
  const key = make("p", { class: "key" },
    "The stronger the orange behind a token, the lower its confidence. ",
    moves ? "Bold and underlined: below \u03c4, a decision token. " : "",
    "A number marks the end of a step; rollouts continue from every step end but the last of a solution.");

  const choose = (number) => {
    if (token !== null) spans[token]?.classList.remove("chosen");
    token = number;
    spans[token].classList.add("chosen");
    const row = kept[at], confidence = row.confidences[token];
    const ends = endsOf(row), step = ends.indexOf(token + 1);
    const said = notes(row)(token + 1);
    detail.replaceChildren(
      `Token ${token + 1} of ${row.tokens.length}: `, make("code", {}, visible(row.tokens[token], token === spans.length - 1)),
      ` \u00b7 confidence ${confidence < 0.001 ? confidence.toExponential(1) : fixed(confidence)}`,
      moves && confidence < tau ? " \u00b7 below \u03c4" : "",
      step >= 0 ? ` \u00b7 ends step ${step + 1}${said ? `, ${said}` : ""}` : "",
    );
  };

  text.addEventListener("click", (event) => {
    const span = event.target.closest(".token");
    if (span) choose(Number(span.dataset.i));
  });
  text.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !spans.length) return;
    const last = spans.length - 1, now = token ?? -1, stops = endsOf(kept[at]).map((end) => end - 1);
    const next = {
      ArrowRight: Math.min(last, now + 1), ArrowLeft: Math.max(0, now - 1), Home: 0, End: last,
      ArrowDown: stops.find((stop) => stop > now) ?? last, ArrowUp: stops.findLast((stop) => stop < now) ?? 0,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(next);
  });

  // Over all solutions that are shown. A token below tau ends a step, and the last token does in any case.
  const totals = () => {
    let tokens = 0, low = 0, steps = 0;
    for (const row of kept) {
      const { confidences } = row;
      tokens += confidences.length;
      if (moves) {
        for (const confidence of confidences) low += confidence < tau;
        steps += confidences.at(-1) < tau ? 0 : 1;
      } else steps += row.ends.length;
    }
    return { tokens, low, steps: steps + low };
  };

  const draw = () => {
    const all = totals(), rollouts = data.rollouts * (all.steps - kept.length);
    summary.set([
      count(kept.length), ...(moves ? [all.tokens ? `${percent(all.low / all.tokens, 2)} (${count(all.low)})` : "\u2013"] : []),
      count(all.steps), kept.length ? fixed(all.steps / kept.length, 2) : "\u2013", count(rollouts),
    ]);
    if (moves) {
      range.value = tau;
      if (document.activeElement !== exact) exact.value = Number(tau.toPrecision(6));
      range.setAttribute("aria-valuetext", `${Number(tau.toPrecision(3))}: ${count(all.steps)} steps`);
      allow(own, tau !== data.tau);
    }
    turn.say(at, kept.length);
    const row = kept[at];
    if (!row) {
      title.textContent = "There is no such solution here.";
      problem.textContent = "";
      text.replaceChildren();
      detail.textContent = "";
      spans = [];
      return;
    }
    const ends = endsOf(row), said = notes(row);
    const marks = new Map(ends.map((end, k) => [end - 1, mark(`end of step ${k + 1}`, k + 1, said(end))]));
    const drawn = tokenText(row.tokens, row.confidences, (i) => moves && row.confidences[i] < tau, marks);
    const told = [row.title, verdict(row.correct), `${ends.length} ${ends.length === 1 ? "step" : "steps"}`];
    title.textContent = told.filter(Boolean).join(" \u00b7 ");
    problem.textContent = row.problem;
    text.replaceChildren(drawn.text);
    spans = drawn.spans;
    if (token === null) detail.textContent = "Choose a token: click it, tap it, or use the arrow keys.";
    else choose(token);
  };

  host.replaceChildren(make("div", { class: "view" },
    moves ? make("div", { class: "bar" },
      make("label", { class: "slide" }, "Threshold \u03c4 ", range), exact, own) : null,
    summary.element,
    make("div", { class: "bar" }, turn.element, judged ? filter.element : null, least),
    title, problem, text, detail, key));
  draw();
};
