"use strict";
// One card per check: what it measures, canary beside primary, how sure it is, and against which limit.
(function (modelpack) {
  const { el, say, badge, timeChart, ruler, words } = modelpack;
  const { NONE, known, fixed, signed, count, decimals, plain } = words;

  function fact(list, name) {
    const value = el("dd");
    list.append(el("div", {}, el("dt", {}, name), value));
    return value;
  }

  // A difference and, smaller, its interval.
  function difference(list) {
    const value = el("span"), interval = el("small"), place = fact(list, "Difference");
    place.append(value, " ", interval);
    return (measured, check) => [value, interval].forEach((node, i) => say(node, measured.difference(check)[i]));
  }

  const digitsOf = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9)); // decimals of a round step

  function head(check) {
    const mark = badge(), measures = el("p", { class: "measures" }), reason = el("p", { class: "reason" });
    const node = el("article", { class: "card check", id: `check-${check.name}`, tabindex: "-1" },
      el("header", {}, el("h3", {}, check.name), mark.node), measures, reason);
    return {
      node,
      update(next, state) {
        mark.update(...words.verdict(next.verdict, state));
        const text = words.measure(next).text;
        say(measures, text.charAt(0).toUpperCase() + text.slice(1));
        say(reason, next.reason || "");
      },
    };
  }

  // Enough of the band to see it close in on the margin; the wide start, before a quarter of the sample, is cut off.
  function scale(points, margin) {
    const last = points[points.length - 1];
    const seen = points.filter((point) => point.n >= last.n / 4);
    const all = [0, margin, ...seen.flatMap((point) => [point.low, point.high, point.estimate])].filter(known);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const room = (high - low || 0.01) * 0.08;
    return [low - room, Math.max(high + room, known(margin) ? margin * 1.4 : high)];
  }

  function comparison(check) {
    const card = head(check), list = el("dl", { class: "facts" });
    const canary = fact(list, "Canary"), primary = fact(list, "Primary"), differs = difference(list), margin = fact(list, "Allowed");
    const meter = el("progress"), sample = el("span"), plot = el("div", { class: "plot" });
    const chart = timeChart(plot);
    card.node.append(list, el("p", { class: "sample" }, meter, sample), plot);
    return {
      node: card.node,
      update(next, rollout, end) {
        card.update(next, rollout.state);
        const measured = words.measure(next), { factor, points, text } = measured;
        const sentence = (point) => measured.difference(point).filter(Boolean).join(", ");
        const allowed = known(next.margin) ? `+${plain(next.margin * factor)}${points}` : NONE;
        say(canary, measured.value(next.canary));
        say(primary, measured.value(next.primary));
        differs(measured, next);
        say(margin, allowed);
        meter.max = Math.max(1, next.min_sample || 1);
        meter.value = Math.min(next.n || 0, meter.max);
        const counted = `canary ${next.counts || "requests"}`;
        meter.setAttribute("aria-label", `${counted}, of the least it needs to accept`);
        say(sample, known(next.min_sample)
          ? `${count(next.n || 0)} ${counted}, at least ${count(next.min_sample)} needed to accept`
          : `${count(next.n || 0)} ${counted}`);
        const history = (next.history || []).filter((point) => known(point.estimate))
          .map((point) => ({ ...point, t: point.t - rollout.started }));
        plot.hidden = !history.length;
        if (!history.length) return;
        chart({
          label: `${check.name}: canary minus primary, ${text}, over time. Now ${sentence(next)}; allowed is up to ${allowed}. ${words.verdict(next.verdict, rollout.state)[1]}.`,
          height: 150, end, y: scale(history, next.margin), zone: next.margin,
          format: (y, step) => signed(y * factor, digitsOf(step * factor)),
          points: history, value: (point) => point.estimate, band: (point) => [point.low, point.high],
          describe: (point) => `${sentence(point)}, n ${count(point.n)}, weight ${count(point.weight)} %`,
          now: `Canary minus primary${factor === 100 ? ", in percentage points," : ""} with its interval`,
          rules: [{ y: 0, text: "no difference", kind: "zero", below: true },
            ...(known(next.margin) ? [{ y: next.margin, text: "worse than allowed", kind: "limit" }] : [])],
          marks: [],
        });
      },
    };
  }

  // Which values pass: the floor, and the primary with its margin; the stricter of the two decides.
  function limits(check, higherIsBetter) {
    const worst = known(check.primary) && known(check.margin) ? check.primary + (higherIsBetter ? -1 : 1) * check.margin : null;
    return [{ value: check.limit, text: "floor" }, { value: worst, text: "primary + margin" }].filter((rule) => known(rule.value));
  }

  function table() {
    const body = el("tbody"), caption = el("caption");
    const titles = ["id", "segment", "expected", "primary", "canary", "error"];
    const node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "worst examples" },
      el("table", {}, caption, el("thead", {}, el("tr", {}, ...titles.map((title) => el("th", { scope: "col" }, title)))), body));
    let shown = "";
    return {
      node,
      update(rows) {
        node.hidden = !rows.length;
        if (shown === JSON.stringify(rows)) return;
        shown = JSON.stringify(rows);
        say(caption, `The canary's ${rows.length === 1 ? "worst example" : `${rows.length} worst examples`}`);
        const digits = titles.map((key) => { // one number of decimals a column, so that they stand below each other
          const numbers = rows.map((row) => row[key]).filter(known);
          return numbers.every(Number.isInteger) ? 0 : decimals(Math.max(...numbers.map(Math.abs))) + 1;
        });
        const text = (value, i) => (known(value) ? fixed(value, digits[i]) : String(value ?? NONE));
        body.replaceChildren(...rows.map((row) => el("tr", {},
          ...titles.map((key, i) => (i ? el("td", { class: i > 1 ? "number" : null }, text(row[key], i)) : el("th", { scope: "row" }, String(row[key])))))));
      },
    };
  }

  function golden(check) {
    const card = head(check), list = el("dl", { class: "facts" }), plot = el("div", { class: "plot" });
    const canary = fact(list, "Canary"), primary = fact(list, "Primary"), differs = difference(list);
    const floor = fact(list, "Floor"), margin = fact(list, "Allowed"), n = fact(list, "Examples");
    const draw = ruler(plot), worst = table();
    card.node.classList.add("wide");
    card.node.append(el("div", { class: "halves" }, el("div", {}, list, plot), worst.node));
    return {
      node: card.node,
      update(next, rollout, end, examples) {
        card.update(next, rollout.state);
        const measured = words.measure(next), { factor, value, points, higherIsBetter, text } = measured;
        say(canary, value(next.canary));
        say(primary, value(next.primary));
        differs(measured, next);
        say(floor, known(next.limit) ? `${higherIsBetter ? "at least" : "at most"} ${value(next.limit)}` : NONE);
        say(margin, known(next.margin) ? `${plain(next.margin * factor)}${points} worse` : NONE);
        say(n, known(next.min_sample) ? `${count(next.n)} of ${count(next.min_sample)}` : count(next.n));
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

  modelpack.checkCard = (check) => (check.type === "golden" ? golden(check) : comparison(check));
  modelpack.fact = fact;
})((window.modelpack = window.modelpack || {}));
