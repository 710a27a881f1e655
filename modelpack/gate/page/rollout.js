"use strict";
// One rollout: what it is, how it goes, what it waits for; then the timeline, the checks and the log.
(function (modelpack) {
  const { el, say, attribute, access, badge, digest, fact, timeChart, checkCard, lineageCard, words } = modelpack;
  const { known, clock, count, duration, moment, image } = words;
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  // The latest moment the rollout knows of; a running one goes on until now.
  function lastMoment(rollout, now) {
    if (known(rollout.ended)) return rollout.ended;
    const times = [rollout.weights, rollout.events, ...(rollout.checks || []).map((check) => check.history)]
      .map((entries) => (entries && entries.length ? entries[entries.length - 1].t : rollout.started));
    return Math.max(rollout.started, now, ...times);
  }

  const TURNS = { accept: ["good", "passed"], reject: ["bad", "rejected"], hold: ["hold", "on hold"] };
  const ENDS = { promoted: ["good", "promoted"], failed: ["bad", "rolled back"], superseded: ["none", "superseded"], withdrawn: ["none", "withdrawn"] };

  // What happened when, oldest first: verdicts of checks, weights, the end.
  function marks(rollout) {
    const since = (t) => t - rollout.started, found = [];
    for (const check of rollout.checks || []) {
      let before = "";
      for (const point of check.history || []) {
        if (point.verdict !== before && TURNS[point.verdict]) {
          const [kind, word] = TURNS[point.verdict];
          found.push({ t: since(point.t), kind, text: `${check.name} ${word}`, chart: true });
        }
        before = point.verdict;
      }
    }
    let weight = 0;
    for (const step of rollout.weights || []) {
      if (step.weight !== weight) found.push({ t: since(step.t), kind: "wait", text: `weight ${count(step.weight)} %`, chart: false });
      weight = step.weight;
    }
    if (known(rollout.ended) && ENDS[rollout.state]) {
      const [kind, word] = ENDS[rollout.state];
      found.push({ t: since(rollout.ended), kind, text: rollout.state === "failed" && rollout.verdict !== "reject" ? "failed" : word, chart: true });
    }
    return found.sort((a, b) => a.t - b.t);
  }

  // One line for each run of answers of a hook that differ in numbers alone, with the latest of them, newest first.
  // Hooks take turns, so a run is found per hook.
  function runs(events) {
    const rows = [], open = new Map();
    for (const event of events) {
      const wording = (event.reason || "").replace(/[-+−]?\d[\d.,e]*/g, "0"), row = open.get(event.hook);
      const key = JSON.stringify([event.phase, event.message, event.answer, wording]);
      if (row && row.key === key) {
        Object.assign(row, { last: event.t, reason: event.reason });
      } else {
        open.set(event.hook, { ...event, key, last: event.t });
        rows.push(open.get(event.hook));
      }
    }
    return rows.reverse();
  }

  // The gate joins the sentences of several checks, `name: …; name: …`: each gets its own line.
  function lines(node, text, checks) {
    if (node.textContent === text) return;
    const begins = (part) => checks.some((check) => part.startsWith(`${check.name}: `)), said = [];
    for (const part of text.split(/(?<=; )/)) {
      if (said.length && !begins(part)) said[said.length - 1] += part;
      else said.push(part);
    }
    node.replaceChildren(...said.map((part) => el("span", {}, part)));
  }

  function versions() {
    const before = el("b"), now = el("b");
    const node = el("p", { class: "versions" }, el("span", { class: "primary" }, el("small", {}, "primary"), before),
      el("span", { class: "arrow", "aria-label": "to" }, "→"), el("span", { class: "canary" }, el("small", {}, "canary"), now));
    return { node, update(rollout) { say(before, image(rollout.primary_image).version); say(now, image(rollout.image).version); } };
  }

  function trafficBar() {
    const share = el("b"), canary = el("span"), primary = el("span", { class: "rest" }), meter = el("progress", { max: "100" });
    const node = el("div", { class: "traffic" }, el("p", {}, el("span", { class: "mine" }, share, canary), primary), meter);
    return {
      node,
      update(rollout) {
        const state = words.traffic(rollout);
        say(share, `${count(state.share)} %`);
        say(canary, state.canary);
        say(primary, rollout.state === "active" && known(state.share) ? `${count(100 - state.share)} % ${state.primary}` : state.primary);
        meter.value = state.share || 0;
        attribute(meter, "aria-label", `share of traffic: ${state.share} percent, ${state.canary}`);
      },
    };
  }

  function log() {
    const body = el("ol"), title = el("summary"), node = el("details", { class: "card log" }, title, body);
    let shown = -1, rollout = { events: [] };
    function draw() {
      const events = rollout.events || [], since = (t) => clock(t - rollout.started);
      if (!node.open || shown === events.length) return;
      shown = events.length;
      body.replaceChildren(...runs(events).map((row) => el("li", {},
        el("span", { class: "when", title: moment(row.t) }, since(row.t) + (row.last > row.t ? ` to ${since(row.last)}` : "")),
        el("code", {}, row.hook),
        el("span", { class: "answer", "data-answer": row.answer }, row.answer === 200 ? "yes 200" : `no ${row.answer}`),
        el("span", { class: "phase" }, row.phase || ""),
        el("span", { class: "why" }, [row.message, row.reason].filter(Boolean).join(": ")))));
    }
    node.addEventListener("toggle", draw);
    return {
      node,
      update(next) {
        rollout = next;
        say(title, `What was asked, and the gate's answers (${count((rollout.events || []).length)})`);
        draw();
      },
    };
  }

  // A held rollout waits for a person, who says a name and decides; one under way can be rejected. Where the gate wants
  // a token it says so, and the token says who decides.
  function decision(root) {
    const field = (name, attributes) => el("label", {}, capital(name), el("input", { name, ...attributes }));
    const by = field("your name", { name: "by", required: "", maxlength: 128, autocomplete: "name" });
    const note = field("why", { name: "note", maxlength: 1024, autocomplete: "off" });
    const token = access.field();
    const buttons = { approve: el("button", { type: "button", "data-kind": "good" }, "Approve"), reject: el("button", { type: "button", "data-kind": "bad" }, "Reject") };
    const said = el("span", { role: "status" }), form = el("form", {}, by, note, token.node, buttons.approve, buttons.reject, said);
    const title = el("summary"), node = el("details", { class: "decision", hidden: "" }, title, form), value = (label) => label.lastElementChild.value.trim();
    let id = "", asked = false;
    const wants = (wanted) => { token.node.hidden = !wanted; by.hidden = wanted || access.held(); };
    wants(false);
    async function decide(word) {
      if (!by.hidden && !value(by)) return by.lastElementChild.focus();
      if (!token.node.hidden) {
        const problem = token.take();
        if (problem) { say(said, problem); return token.input.focus(); }
      }
      say(said, "…");
      const refused = access.held();
      try {
        const answer = await access.ask(`${root}api/v1/rollouts/${encodeURIComponent(id)}/approval`, {
          method: "POST", headers: { "content-type": "application/json" },
          body: JSON.stringify({ decision: word, note: value(note), ...(by.hidden ? {} : { by: value(by) }) }),
        });
        if (answer.status === 422) access.forget(); // it says nobody's name: there are no tokens any more
        wants(answer.status === 401);
        if (answer.status === 401) token.input.focus();
        const problem = answer.status !== 401 ? (await answer.text()).trim() : refused ? "The gate does not know this token" : "To decide, write your token";
        say(said, answer.ok ? "" : problem);
        if (answer.ok) node.hidden = true;
      } catch {
        say(said, "The gate does not answer");
      }
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const word of Object.keys(buttons)) buttons[word].addEventListener("click", () => decide(word));
    return {
      node,
      update(rollout) {
        const held = rollout.verdict === "hold";
        id = rollout.id;
        node.hidden = rollout.state !== "active" || rollout.verdict === "reject" || known(rollout.ended);
        buttons.approve.hidden = !held;
        if (token.node.hidden && access.held()) by.hidden = true;
        say(title, held ? "This rollout waits for a person: approve or reject it" : "Reject this rollout");
        if (held !== asked) { // a person may close it after that, and is not interrupted in it
          asked = held;
          node.open = held || form.contains(document.activeElement);
        }
      },
    };
  }

  // The commit that named this version, as its chain of origin tells.
  function commit(rollout) {
    const steps = (rollout.lineage && Array.isArray(rollout.lineage.steps) && rollout.lineage.steps) || [];
    const found = steps.filter((step) => step && step.kind === "commit").pop();
    return found ? String(found.title) : words.NONE;
  }

  modelpack.rolloutView = function (main, links, saved) {
    const name = el("h1"), place = el("p", { class: "place" }), line = versions(), mark = badge("big"), reason = el("p", { class: "reason" });
    const next = el("span"), waiting = el("p", { class: "waiting" }, el("b", {}, "Waiting for "), next);
    const asked = links === null ? null : decision(links);
    const bar = trafficBar(), chips = el("ul", { class: "chips", "aria-label": "checks" }), list = el("dl", { class: "facts" });
    const facts = Object.fromEntries(["Phase", "State", "Verdict", "Time", "Canary digest", "Primary digest", "Horizon", "Commit", "Rollout"].map((title) => [title, fact(list, title)]));
    const digests = [digest(), digest()], note = el("p", { class: "note" }), report = el("a", {}, "Save as a report"), data = el("a", {}, "its data as JSON"), unsaved = el("span", { role: "status" });
    for (const link of [report, data]) {
      link.addEventListener("click", async (event) => {
        if (!access.held()) return; // then the link does by itself
        event.preventDefault();
        say(unsaved, await access.save(link.href, link.download));
      });
    }
    facts["Canary digest"].append(digests[0].node);
    facts["Primary digest"].append(digests[1].node);
    const hero = el("section", { class: "card hero" }, el("div", { class: "title" }, el("div", {}, place, name), line.node),
      el("div", { class: "verdict" }, el("div", { role: "status" }, mark.node), el("div", { class: "why" }, waiting, reason)), asked && asked.node, bar.node, chips, note, list, links ? el("p", { class: "more" }, report, ", ", data, " ", unsaved) : null);
    const plot = el("div", { class: "plot" }), story = el("ol", { class: "story" }), chart = timeChart(plot);
    const cards = el("div", { class: "checks" }), origin = lineageCard(), events = log(), promise = el("p", { class: "promise" }), basis = saved ? modelpack.basisCard(saved) : null;
    main.replaceChildren(hero, el("section", { class: "card" }, el("h2", {}, "Canary traffic"), plot, story), el("h2", { class: "apart" }, "Checks"), promise, cards, origin.node, events.node, ...(basis ? [basis] : []));
    const made = new Map();
    let told = "";

    function timeline(rollout, end, happened) {
      const points = (rollout.weights || []).map((step) => ({ ...step, t: step.t - rollout.started }));
      if (points.length === 0 || points[0].t > 0) points.unshift({ t: 0, weight: 0 });
      chart({
        label: `Share of traffic that the canary gets over ${duration(end)}: ${happened.map((event) => `${clock(event.t)} ${event.text}`).join(", ") || "nothing yet"}.`,
        height: 130, end, y: [0, 100], step: 25, steps: true, until: end, points, value: (point) => point.weight, band: () => [],
        format: (y) => `${y} %`, describe: (point) => `canary gets ${count(point.weight)} %`,
        now: "Share of requests the canary answers, by time since the start",
        rules: [], marks: happened.filter((event) => event.chart),
      });
      if (told === JSON.stringify(happened)) return;
      told = JSON.stringify(happened);
      story.replaceChildren(...happened.map((event) => el("li", { "data-kind": event.kind }, el("time", {}, clock(event.t)), " ", event.text)));
    }

    function checks(rollout, end) {
      const examples = (check) => (rollout.golden || []).filter((row) => row.check === check.name);
      for (const check of rollout.checks || []) {
        if (!made.has(check.name)) {
          const chip = badge(), card = checkCard(check);
          chips.append(el("li", {}, el("a", { href: `#check-${encodeURIComponent(check.name)}` }, chip.node)));
          cards.append(card.node);
          made.set(check.name, { chip, card });
        }
        const { chip, card } = made.get(check.name);
        const [kind, word] = words.verdict(check.verdict, rollout.state, check.n);
        chip.update(kind, `${check.name}: ${word.toLowerCase()}`);
        card.update(check, rollout, end, examples(check));
      }
    }

    return function update(rollout, now) {
      const [kind, word] = words.outcome(rollout), end = Math.max(1, lastMoment(rollout, now) - rollout.started);
      const [canary, primary] = [image(rollout.image), image(rollout.primary_image)];
      attribute(hero, "data-kind", kind);
      say(name, rollout.model);
      say(place, `${rollout.namespace}/${rollout.name}`);
      line.update(rollout);
      mark.update(kind, word);
      lines(reason, rollout.reason || "", rollout.checks || []);
      bar.update(rollout);
      say(next, words.waiting(rollout));
      waiting.hidden = !next.textContent;
      say(facts.Phase, rollout.phase || words.NONE);
      say(facts.State, words.STATES[rollout.state] || String(rollout.state));
      say(facts.Verdict, words.verdict(rollout.verdict, rollout.state)[1]);
      say(facts.Time, `${rollout.state === "active" ? "running for" : "took"} ${duration(end).replaceAll(" ", "\u00a0")}`);
      const under = known(rollout.traffic_started) ? `${duration(Math.min(rollout.started + end - rollout.traffic_started, rollout.horizon))} of ` : "";
      say(facts.Horizon, known(rollout.horizon) ? `${under}${duration(rollout.horizon)} under traffic` : words.NONE);
      attribute(facts.Time, "title", `since ${moment(rollout.started)}`);
      digests[0].update(canary);
      digests[1].update(primary);
      say(facts.Commit, commit(rollout));
      say(facts.Rollout, rollout.id);
      say(note, rollout.settled_note ? `Settled: ${rollout.settled_note}` : "");
      note.hidden = !rollout.settled_note;
      attribute(report, "href", `${links}rollouts/${encodeURIComponent(rollout.id)}/report.html`);
      attribute(report, "download", `${rollout.model}-${canary.version}.html`);
      attribute(data, "href", `${links}rollouts/${encodeURIComponent(rollout.id)}/report.json`);
      attribute(data, "download", `${rollout.model}-${canary.version}.json`);
      timeline(rollout, end, marks(rollout));
      checks(rollout, end);
      say(promise, `${rollout.budget || ""} Intervals stay valid however often they are looked at.`);
      origin.update(rollout);
      events.update(rollout);
      if (asked) asked.update(rollout);
      document.title = `${word}: ${rollout.model} ${primary.version} → ${canary.version}`;
    };
  };
})((window.modelpack = window.modelpack || {}));
