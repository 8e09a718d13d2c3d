// Best-of-N: one problem's candidates, what each way of choosing takes, and who is right.

// A text as steps, each with its score. The lower the score, the stronger its ground.
const stepText = (steps, scores) => {
  const text = make("div", { class: "tokens" });
  steps.forEach((step, k) => {
    const shown = step.replace(/\n+$/, "");
    const span = make("span", { class: "token" }, shown || "\u23ce");
    span.style.setProperty("--doubt", doubt(scores[k]).toFixed(2));
    text.append(span, mark(`end of step ${k + 1}`, k + 1, `score ${fixed(scores[k], 2)}`), step.slice(shown.length));
  });
  return text;
};

views.candidates = (host, data) => {
  let how = data.how, kept = data.problems, at = data.first, chosen = null;
  const outcomes = {
    all: ["all problems", () => true],
    score: ["score better than vote", (score, vote) => score > vote],
    vote: ["vote better than score", (score, vote) => score < vote],
    same: ["both alike", (score, vote) => score === vote],
  };

  const refilter = () => {
    const current = kept[at];
    kept = data.problems.filter((p) => outcomes[filter.select.value][1](p.ways[how].right, p.ways.vote.right));
    at = Math.max(0, kept.indexOf(current));
    chosen = null;
    draw();
  };
  const turn = turner("problem", (by) => { at += by; chosen = null; draw(); });
  const filter = choice("Show", Object.entries(outcomes).map(([key, [text]]) => [key, text]), refilter);
  const aggregate = choice("Score of a candidate", data.aggregates.map((name) => [name, name]), (name) => {
    how = name;
    refilter();
  });
  aggregate.select.value = how;

  const title = make("p", { class: "title" });
  const problem = make("p", { class: "problem" });
  const ways = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What each way chooses" });
  const list = make("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "The candidates" });
  const text = make("div", { class: data.code ? "text code" : "text" });
  const key = make("p", { class: "key" },
    "The candidates stand in the order of their scores; choose one to read it. The stronger the orange behind a step, the lower its score.");

  const said = (right) => (right === 1 ? "\u2713 right" : right === 0 ? "\u2717 wrong" : `right for ${percent(right, 0)} of its ties`);

  const read = (number) => {
    chosen = number;
    const candidate = kept[at].candidates[number];
    text.replaceChildren(stepText(candidate.steps, candidate.scores));
    for (const row of list.querySelectorAll("tbody tr")) row.classList.toggle("chosen", Number(row.dataset.i) === number);
  };

  const draw = () => {
    turn.say(at, kept.length);
    const shown = kept[at];
    for (const part of [problem, ways, list, text]) part.hidden = !shown;
    if (!shown) {
      title.textContent = "There is no such problem here.";
      return;
    }
    title.textContent = shown.title;
    problem.textContent = shown.problem;
    const rows = Object.entries(shown.ways).map(([name, way]) => {
      const answers = [...new Set(way.chosen.map((i) => shown.candidates[i].answer ?? "no answer"))];
      const label = name === how ? make("strong", {}, data.names[name]) : data.names[name];
      return [label, answers.join(" or "), way.chosen.length === 1 ? `no. ${way.chosen[0] + 1}` : `${way.chosen.length} candidates`, said(way.right)];
    });
    ways.replaceChildren(table("What each way chooses", ["way", "answer", "candidates", "verdict"], rows));

    const order = [...shown.candidates.keys()].sort((a, b) =>
      shown.candidates[b].aggregates[how] - shown.candidates[a].aggregates[how] || a - b);
    const best = new Set(shown.ways[how].chosen);
    const made = table(`The ${order.length} candidates`, ["candidate", "score", "answer", "votes", "steps", "verdict"], order.map((i) => {
      const one = shown.candidates[i], value = one.aggregates[how];
      const score = how === "product" ? fixed(value, 2) : fixed(value);
      return [
        button(`no. ${i + 1}`, () => read(i), { "aria-label": `Read candidate ${i + 1}` }),
        make("span", {}, bar(how === "product" ? Math.exp(value) : value, one.finished ? score : "cut off"), best.has(i) ? " \u2190 chosen" : ""),
        one.answer ?? "none", one.votes, one.steps.length, verdict(one.correct),
      ];
    }));
    [...made.tBodies[0].rows].forEach((row, k) => { row.dataset.i = order[k]; });
    list.replaceChildren(made);
    read(chosen ?? order[0]);
  };

  host.replaceChildren(make("div", { class: "view" },
    make("div", { class: "bar" }, turn.element, filter.element, aggregate.element),
    title, problem, ways, list, text, key));
  draw();
};
