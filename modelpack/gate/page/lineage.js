"use strict";
// Where an image comes from, step by step: data, code, run, evaluation, image, commit, rollout, verdict.
(function (modelpack) {
  const { el } = modelpack;
  const KINDS = { good: "good", bad: "bad" };
  const list = (value) => (Array.isArray(value) ? value : []);
  const safe = (address) => /^https?:\/\//i.test(String(address));

  function step(entry) {
    const facts = list(entry.facts).filter(Array.isArray).flatMap(([label, text]) => [el("dt", {}, String(label)), el("dd", {}, String(text))]);
    const links = list(entry.links).filter((link) => link && safe(link.url))
      .map((link) => el("a", { href: link.url, rel: "noreferrer noopener" }, String(link.title || link.url)));
    return el("li", { "data-kind": KINDS[entry.state] || "none" }, el("small", {}, String(entry.kind || "")), el("b", {}, String(entry.title || "")),
      facts.length ? el("dl", {}, ...facts) : null, ...links);
  }

  modelpack.lineageCard = function () {
    const steps = el("ol", { class: "lineage" });
    const node = el("section", { class: "card", hidden: "" }, el("h2", {}, "Where the canary's model comes from"), steps);
    let told = "";
    return {
      node,
      update(rollout) {
        const found = list(rollout.lineage && rollout.lineage.steps).filter((entry) => entry && typeof entry === "object").slice(0, 50);
        node.hidden = found.length === 0;
        if (told === JSON.stringify(found)) return;
        told = JSON.stringify(found);
        steps.replaceChildren(...found.map(step));
      },
    };
  };
})((window.modelpack = window.modelpack || {}));
