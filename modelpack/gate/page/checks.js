"use strict";
// One card per check: what it measures, canary beside primary, how sure it is, of how many, and against which limit.
(function (modelpack) {
  const { el, say, badge, timeChart, ruler, histogram, partsTable, worstTable, words } = modelpack;
  const { NONE, known, fixed, signed, count, plain } = words;

  // A number under its title; smaller below it, its interval.
  function fact(list, name) {
    const value = el("dd");
    list.append(el("div", {}, el("dt", {}, name), value));
    return value;
  }

  function interval(list, name) {
    const value = el("span"), small = el("small");
    fact(list, name).append(value, " ", small);
    return ([text, beside]) => { say(value, text); say(small, beside); };
  }

  const digitsOf = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9)); // decimals of a round step
  const sentence = (text) => (/^[a-z]+( |$)/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text); // a metric's name stays

  function head(check) {
    const mark = badge(), measures = el("p", { class: "measures" }), reason = el("p", { class: "reason" });
    const node = el("article", { class: "card check", id: `check-${check.name}`, tabindex: "-1" },
      el("header", {}, el("h3", {}, check.name), mark.node), measures, reason);
    return {
      node,
      update(next, state) {
        mark.update(...words.verdict(next.verdict, state, next.n));
        say(measures, sentence(words.measure(next).text));
        say(reason, next.reason || "");
      },
    };
  }

  // How the verdict comes about, and which part of the error budget it may use.
  function foot(check) {
    const text = el("p");
    const chance = check.alpha ? ` Its part of the chance of a wrong verdict is ${plain(check.alpha * 100)} %.` : "";
    say(text, (check.method || "") + chance);
    return check.method ? el("details", { class: "method" }, el("summary", {}, "How this is decided"), text) : null;
  }

  // Enough of the band to see it close in on the bound; the wide start, before a quarter of the sample, is cut off. What
  // has no band is seen whole.
  function scale(points, bounds, base) {
    const last = points[points.length - 1];
    const banded = points.some((point) => known(point.low) || known(point.high)), seen = points.filter((point) => !banded || point.n >= last.n / 4);
    const all = [...base, ...bounds.map((bound) => bound.value), ...seen.flatMap((point) => [point.low, point.high, point.estimate])].filter(known);
    const [low, high] = [Math.min(...all), Math.max(...all)], room = (high - low || Math.abs(high) || 0.01) * 0.16;
    return [low >= 0 && low < room ? 0 : low - room, high + room]; // what is never negative begins at 0
  }

  // Everything that is one number with its interval, closing in on a bound over time.
  function estimated(check) {
    const card = head(check), list = el("dl", { class: "facts" }), { of } = words.measure(check), mirrored = check.type === "shadow";
    const canary = of === "difference" ? fact(list, "Canary") : null;
    const own = of === "value" ? interval(list, mirrored ? "Other answers" : "Canary") : null;
    const primary = of === "distance" ? null : fact(list, "Primary");
    const estimate = own || interval(list, of === "distance" ? "Distance" : "Difference");
    const allowed = fact(list, of === "difference" ? "Allowed" : "Limit");
    const meter = el("progress"), sample = el("span"), plot = el("div", { class: "plot" }), bars = el("div", { class: "plot" });
    const chart = timeChart(plot), drawn = of === "distance" ? histogram(bars) : null, parts = partsTable(check), worst = worstTable(check);
    card.node.append(list, el("p", { class: "sample" }, meter, sample));
    card.node.append(bars, plot, parts.node, worst.node, ...[foot(check)].filter(Boolean));
    return {
      node: card.node,
      update(next, rollout, end, examples) {
        card.update(next, rollout.state);
        const measured = words.measure(next), { factor, text, bounds } = measured;
        if (canary) say(canary, measured.value(next.canary));
        if (primary) {
          say(primary, measured.value(next.primary));
          primary.parentElement.hidden = of === "value" && !known(next.primary);
        }
        estimate(measured.estimate(next));
        say(allowed, measured.allowed);
        meter.max = Math.max(1, next.min_sample || 1);
        meter.value = Math.min(next.n || 0, meter.max);
        meter.hidden = !known(next.min_sample);
        meter.setAttribute("aria-label", `canary ${next.counts || "requests"}, of the least it needs to accept`);
        say(sample, words.sample(next));
        parts.update(next);
        worst.update(examples);
        bars.hidden = !drawn || !(next.bins || []).length;
        if (!bars.hidden) drawn(next.bins[0]);
        const history = (next.history || []).filter((point) => [point.estimate, point.low, point.high].some(known))
          .map((point) => ({ ...point, t: point.t - rollout.started }));
        plot.hidden = !history.length;
        if (!history.length) return;
        const says = (point) => measured.estimate(point).slice(0, 2).filter(Boolean).join(", ");
        const what = of === "difference" ? "Canary minus primary" : of === "distance" ? `Distance between canary and ${words.against(next)}` : mirrored ? "Requests with another answer" : "The canary's own value";
        const zero = of === "difference", write = zero ? signed : fixed;
        const edge = (bound) => ({ y: bound.value, kind: "limit", below: bound.side < 0, text: zero ? "worse than allowed" : "limit" });
        chart({
          label: `${check.name}: ${what}, ${text}, over time. Now ${says(next)}; allowed is ${measured.allowed}. ${words.verdict(next.verdict, rollout.state)[1]}.`,
          height: 150, end, y: scale(history, bounds, zero ? [0] : []), zones: bounds,
          format: (y, step) => write(y * factor, digitsOf(step * factor)),
          points: history, value: (point) => point.estimate, band: (point) => [point.low, point.high],
          describe: (point) => `${says(point)}, n ${count(point.n)}, weight ${count(point.weight)} %`,
          now: `${what}${factor === 100 ? (zero ? ", in percentage points" : ", in percent") : ""}, over time${history.some((point) => known(point.low) || known(point.high)) ? ", with its interval" : ""}`,
          rules: [...(zero && !bounds.some((bound) => bound.value === 0) ? [{ y: 0, text: "no difference", kind: "zero", below: !bounds.some((bound) => bound.side < 0) }] : []), ...bounds.map(edge)],
          marks: [],
        });
      },
    };
  }

  // Which values pass: the floor, and the primary with its margin; the stricter of the two decides.
  function limits(check, higherIsBetter) {
    const worst = known(check.primary) && known(check.margin) ? check.primary + (higherIsBetter ? -1 : 1) * check.margin : null;
    return [{ value: check.limit, text: "floor" }, { value: worst, text: `primary ${higherIsBetter ? "−" : "+"} margin` }].filter((rule) => known(rule.value));
  }

  function golden(check) {
    const card = head(check), list = el("dl", { class: "facts" }), plot = el("div", { class: "plot" });
    const canary = fact(list, "Canary"), primary = fact(list, "Primary"), differs = interval(list, "Difference");
    const floor = fact(list, "Floor"), margin = fact(list, "Allowed"), n = fact(list, "Examples");
    const draw = ruler(plot), parts = partsTable(check), worst = worstTable(check);
    card.node.classList.add("wide");
    card.node.append(el("div", { class: "halves" }, el("div", {}, list, plot), worst.node), parts.node, ...[foot(check)].filter(Boolean));
    return {
      node: card.node,
      update(next, rollout, end, examples) {
        card.update(next, rollout.state);
        const measured = words.measure(next), { factor, value, points, higherIsBetter, text } = measured;
        say(canary, value(next.canary));
        say(primary, value(next.primary));
        differs(measured.estimate(next));
        say(floor, known(next.limit) ? `${higherIsBetter ? "at least" : "at most"} ${value(next.limit)}` : NONE);
        say(margin, known(next.margin) ? `${plain(next.margin * factor)}${points} worse` : NONE);
        say(n, known(next.min_sample) ? `${count(next.n)} of ${count(next.min_sample)}` : count(next.n));
        parts.update(next);
        worst.update(examples);
        const dots = [{ value: next.canary, text: "canary" }, { value: next.primary, text: "primary" }].filter((dot) => known(dot.value));
        const rules = limits(next, higherIsBetter);
        plot.hidden = !dots.length;
        if (!dots.length) return;
        const all = [...dots, ...rules].map((entry) => entry.value);
        const room = (Math.max(...all) - Math.min(...all) || 1) * 0.25, least = Math.min(...all);
        const [low, high] = [least < 0 ? least - room : Math.max(0, least - room), Math.max(...all) + room];
        const edges = rules.map((rule) => rule.value);
        draw({
          label: `${check.name}: ${text}. ${[...dots, ...rules].map((entry) => `${entry.text} ${value(entry.value)}`).join(", ")}.`,
          low, high, dots, rules,
          zone: !edges.length ? [low, low] : higherIsBetter ? [low, Math.max(...edges)] : [Math.min(...edges), high],
          format: (x, step) => fixed(x * factor, digitsOf(step * factor)),
        });
      },
    };
  }

  function approval(check) {
    const card = head(check), who = el("p");
    card.node.append(who, ...[foot(check)].filter(Boolean));
    return {
      node: card.node,
      update(next, rollout) {
        card.update(next, rollout.state);
        say(who, rollout.approved ? `Said: ${rollout.approved}` : next.verdict === "hold" && rollout.state === "active" ? "Waits for the answer above" : "Nobody has been asked yet");
      },
    };
  }

  const CARDS = { golden, approval };
  modelpack.checkCard = (check) => (CARDS[check.type] || estimated)(check);
  modelpack.fact = fact;
})((window.modelpack = window.modelpack || {}));
