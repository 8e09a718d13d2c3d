// Guided decoding: greedy and guided text side by side, and each decision with its candidates.
views.walks = (host, data) => {
  let kept = data.problems, at = 0, decision = 0, spans = [];
  const outcomes = [...new Set(data.problems.map((p) => p.outcome))];

  const turn = turner("problem", (by) => { at += by; decision = 0; draw(); });
  const filter = choice("Show", [["", "all outcomes"], ...outcomes.map((name) => [name, name])], (name) => {
    const current = kept[at];
    kept = name ? data.problems.filter((p) => p.outcome === name) : data.problems;
    at = Math.max(0, kept.indexOf(current));
    decision = 0;
    draw();
  });
  const step = turner("decision", (by) => look(decision + by));

  const summary = facts(["trigger", ...Object.keys(data.counts)]);
  summary.set([`${data.trigger}`, ...Object.values(data.counts).map(count)]);
  const title = make("p", { class: "title" });
  const problem = make("p", { class: "problem" });
  const words = data.code ? "text code" : "text";
  const greedy = make("div", { class: words }), guided = make("div", {
    class: words, tabindex: 0, role: "group", "aria-label": "The guided solution; left and right go from decision to decision",
  });
  const heads = [make("p", { class: "head" }), make("p", { class: "head" })];
  const place = make("p", { class: "detail", "aria-live": "polite" });
  const rated = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The candidates of this decision" });
  const key = make("p", { class: "key" },
    "Underlined: a decision, a token at which the policy\u2019s first choice was below the trigger. Dotted: where the two texts part.");

  const look = (number) => {
    const shown = kept[at];
    for (const span of spans) span.classList.remove("chosen");
    decision = number;
    step.say(decision, shown.decisions.length);
    const { at: token, candidates } = shown.decisions[decision];
    spans[token].classList.add("chosen");
    const changed = !candidates[0].written;
    place.textContent = changed
      ? "The reward model overrules the policy: another token than its first choice is written."
      : "The reward model agrees with the policy\u2019s first choice.";
    rated.replaceChildren(table(`Decision ${decision + 1}: token ${token + 1}`, ["candidate", "probability", "score", "choice"],
      candidates.map((one, m) => [
        make("code", {}, visible(one.token, true)), bar(one.probability, fixed(one.probability)), bar(one.score, fixed(one.score)),
        [m === 0 ? "first choice" : "", one.written ? "written" : ""].filter(Boolean).join(", "),
      ])));
  };

  guided.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey || !kept[at]) return;
    event.preventDefault();
    look(Math.max(0, Math.min(kept[at].decisions.length - 1, decision + by)));
  });
  guided.addEventListener("click", (event) => {
    const span = event.target.closest(".token.low");
    if (span) look(kept[at].decisions.findIndex((one) => one.at === Number(span.dataset.i)));
  });

  const draw = () => {
    turn.say(at, kept.length);
    const shown = kept[at];
    title.textContent = `${shown.title} \u00b7 ${shown.outcome}`;
    problem.textContent = shown.problem;
    heads[0].textContent = `Greedy \u00b7 ${verdict(shown.greedy.correct)}`;
    heads[1].textContent = `Guided \u00b7 ${verdict(shown.correct)}`;

    // The texts are the same up to the first token that greedy decoding does not have.
    let shared = "", parts = shown.tokens.length;
    for (const [i, token] of shown.tokens.entries()) {
      if (!shown.greedy.text.startsWith(shared + token)) { parts = i; break; }
      shared += token;
    }
    const rest = shown.greedy.text.slice(shared.length);
    greedy.replaceChildren(shared, rest ? make("span", { class: "differs" }, rest) : "");

    const decided = new Set(shown.decisions.map((one) => one.at));
    const marks = new Map(shown.decisions.map(({ at: i, candidates }, k) => [i, mark(`decision ${k + 1}`, k + 1, candidates[0].written ? "" : "changed")]));
    const drawn = tokenText(shown.tokens, shown.confidences, (i) => decided.has(i), marks);
    spans = drawn.spans;
    for (const span of spans.slice(parts)) span.classList.add("differs");
    guided.replaceChildren(drawn.text);
    const first = shown.decisions.findIndex((one) => !one.candidates[0].written);
    look(Math.max(0, first));
  };

  host.replaceChildren(make("div", { class: "view" },
    summary.element,
    make("div", { class: "bar" }, turn.element, filter.element),
    title, problem,
    make("div", { class: "sides" }, make("div", {}, heads[0], greedy), make("div", {}, heads[1], guided)),
    make("div", { class: "bar" }, "Decision", step.element), place, rated, key));
  draw();
};
