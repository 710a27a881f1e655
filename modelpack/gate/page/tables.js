"use strict";
// Tables that are filled again as numbers change: a check's segments, its worst examples, a histogram's bins.
(function (modelpack) {
  const { el, say, badge, words } = modelpack;
  const { NONE, known, fixed, count, decimals } = words;

  // `titles` are columns; those from `numbers` on hold numbers. `update(caption, rows)`: rows of texts or nodes.
  function grid(label, titles, numbers) {
    const body = el("tbody"), caption = el("caption"), kind = (i) => (i >= numbers ? "number" : null);
    const head = el("tr", {}, ...titles.map((title, i) => el("th", { scope: "col", class: kind(i) }, title)));
    const node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, el("table", {}, caption, el("thead", {}, head), body));
    return {
      node,
      update(title, rows) {
        node.hidden = !rows.length;
        say(caption, title);
        body.replaceChildren(...rows.map((row) => el("tr", {}, ...row.map((cell, i) => (i ? el("td", { class: kind(i) }, cell) : el("th", { scope: "row" }, cell))))));
      },
    };
  }

  // Does `draw` only if the value is another than last time.
  function once(draw) {
    let shown = "";
    return (value, ...rest) => {
      const text = JSON.stringify(value);
      if (text !== shown) draw(value, ...rest);
      shown = text;
    };
  }

  const RANK = { reject: 0, hold: 1, undecided: 2, pending: 3, accept: 4 };

  // Segments, classes or benchmarks of a check, the worst verdict first.
  function partsTable(check) {
    const own = words.measure(check).of !== "difference";
    const titles = ["part", "of", ...(own ? [words.measure(check).of] : ["canary", "primary", "difference"])];
    const table = grid(`${check.name}: by part`, titles, 1);
    const update = once((parts, next) => {
      const measured = words.measure(next);
      const rows = [...parts].sort((a, b) => (RANK[a.verdict] ?? 5) - (RANK[b.verdict] ?? 5)).map((part) => {
        const mark = badge("small"), [, interval, estimate] = measured.estimate(part);
        mark.update(...words.verdict(part.verdict, "active"));
        const number = (value) => (known(value) ? words.plain(value * measured.factor) : NONE), numbers = own ? [] : [number(part.canary), number(part.primary)];
        return [el("span", {}, String(part.name), " ", mark.node), count(part.n), ...numbers, el("span", {}, estimate, el("small", {}, interval))];
      });
      const by = next.segments || (next.type === "golden" ? "segment" : "part");
      table.update(`By ${by}: of how many ${next.counts || "requests"}${measured.unit ? `, in ${measured.unit}` : ""}`, rows);
    });
    return { node: table.node, update: (next) => update(next.parts || [], next) };
  }

  // The examples to look at first, of a golden set or of mirrored requests.
  function worstTable(check) {
    const titles = check.type === "golden" ? ["id", "segment", "expected", "primary", "canary", "error"] : ["id", "segment", "primary", "canary", "error"];
    const table = grid(`${check.name}: worst examples`, titles, 2);
    const update = once((rows) => {
      const digits = titles.map((key) => { // one number of decimals a column, so that they stand below each other
        const numbers = rows.map((row) => row[key]).filter(known);
        return numbers.every(Number.isInteger) ? 0 : decimals(Math.max(...numbers.map(Math.abs))) + 1;
      });
      const text = (value, i) => (known(value) ? fixed(value, digits[i]) : value && typeof value === "object" ? JSON.stringify(value) : String(value ?? NONE));
      table.update(`The canary's ${rows.length === 1 ? "worst example" : `${rows.length} worst examples`}`, rows.map((row) => titles.map((key, i) => text(row[key], i))));
    });
    return { node: table.node, update };
  }

  Object.assign(modelpack, { grid, once, partsTable, worstTable });
})((window.modelpack = window.modelpack || {}));
