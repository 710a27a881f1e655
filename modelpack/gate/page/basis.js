"use strict";
// In a saved report: what the decision rests on, so that it can be made again.
(function (modelpack) {
  const { el, grid, words } = modelpack;
  const { NONE, count } = words;

  modelpack.basisCard = function (report) {
    const versions = el("dl", { class: "facts" }), files = Object.entries(report.files || {}), basis = Object.entries(report.basis || {});
    for (const [name, version] of Object.entries(report.versions || {})) versions.append(el("div", {}, el("dt", {}, name), el("dd", {}, String(version))));
    const frozen = files.map(([name, file]) => el("details", {}, el("summary", {}, `${name} `, el("code", {}, file.digest)),
      el("pre", { tabindex: "0" }, file.text ?? "not text: see the data as JSON")));
    const sums = (slices, role) => {
      const cells = {};
      for (const slice of slices) for (const [name, value] of Object.entries(slice[role])) cells[name] = (cells[name] || 0) + value;
      return Object.entries(cells).map(([name, value]) => `${name} ${count(value)}`).join(", ");
    };
    const kinds = Object.fromEntries((report.rollout.checks || []).map((check) => [check.name, check]));
    const answered = (pairs, role) => `${count(pairs.filter((pair) => !pair[role].error).length)} answered`;
    const told = ({ predictions, labels, known }) => {
      const lost = predictions - known.predictions, changed = labels - known.labels;
      const since = [lost > 0 ? `${count(lost)} predictions are forgotten since` : "", changed > 0 ? `${count(changed)} labels are forgotten or corrected since` : ""].filter(Boolean);
      return [`${count(predictions)} predictions, ${count(labels)} labels`, ...since].join("; ");
    };
    const rows = basis.flatMap(([name, seen]) => {
      const counted = Object.entries(seen.slices).map(([segment, slices]) => [segment ? `${name}, ${segment}` : name, `${count(slices.length)} slices`, sums(slices, "canary"), sums(slices, "primary")]);
      if (seen.values.length) counted.push([name, `${count(seen.values.length)} values`, NONE, NONE]);
      if (seen.predictions) counted.push([name, told(seen), NONE, NONE]);
      if (seen.pairs) counted.push([name, `${count(seen.pairs.length)} examples`, answered(seen.pairs, "canary"), answered(seen.pairs, "primary")]);
      else if (kinds[name] && kinds[name].type === "golden" && kinds[name].n) counted.push([name, "the answers were too long to keep", NONE, NONE]);
      return counted;
    });
    const table = grid("what was counted", ["check", "counted", "canary", "primary"], 9);
    table.update("What each check had seen when it last changed, all slices of the horizon together", rows);
    return el("section", { class: "card basis" }, el("h2", {}, "To make the decision again"),
      el("p", {}, "These files were frozen when the rollout began; with what was counted, answered and told they give the same numbers again. The report's JSON has all of it."), versions, ...frozen, table.node);
  };
})((window.modelpack = window.modelpack || {}));
