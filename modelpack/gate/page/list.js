"use strict";
// All rollouts, newest first. A page of rows at a time, so that a thousand rollouts stay light.
(function (modelpack) {
  const { el, say, attribute, badge, words } = modelpack;
  const PAGE = 50;

  function row() {
    const mark = badge(), name = el("b"), version = el("span"), reason = el("span", { class: "why" }), share = el("progress", { max: "100", "aria-label": "canary weight" });
    const percent = el("span", { class: "percent" }), when = el("time");
    const link = el("a", {}, el("span", { class: "what" }, name, version), mark.node, el("span", { class: "share" }, share, percent), reason, when);
    return {
      node: el("li", {}, link),
      update(rollout, now) {
        const [before, after] = [words.image(rollout.primary_image).version, words.image(rollout.image).version];
        attribute(link, "href", `rollouts/${encodeURIComponent(rollout.id)}`);
        say(name, rollout.model);
        say(version, `${before} → ${after}`);
        mark.update(...words.outcome(rollout));
        attribute(link, "data-active", String(rollout.state === "active"));
        share.value = rollout.weight || 0;
        say(percent, rollout.state === "active" ? `${words.count(rollout.weight)} %` : "");
        say(reason, rollout.reason || "");
        say(when, `${words.duration(Math.max(0, now - rollout.started)).split(" ").slice(0, 2).join(" ")} ago`);
        attribute(when, "title", words.moment(rollout.started));
      },
    };
  }

  function choice(title, all) {
    const select = el("select", {}, el("option", { value: "" }, all));
    return {
      node: el("label", {}, title, " ", select),
      select,
      offer(names) {
        for (const name of names) {
          if (![...select.options].some((option) => option.value === name)) select.append(el("option", { value: name }, words.STATES[name] || name));
        }
      },
    };
  }

  modelpack.listView = function (main) {
    const model = choice("Model", "all models"), state = choice("State", "all states");
    const total = el("p", { class: "total", role: "status" }), rows = el("ol", { class: "rollouts" });
    const more = el("button", { type: "button", class: "more" }, "Show more");
    const empty = el("section", { class: "card empty" }, el("h2", {}, "No rollouts yet"),
      el("p", {}, "A rollout appears here as soon as a canary starts: name a new model version in Git and let Flagger see it, or rehearse one on this machine."),
      el("pre", {}, el("code", {}, "modelpack bump REGISTRY/MODEL:VERSION --repo PATH\nmodelpack rehearse --repo PATH")));
    const list = el("section", {}, el("div", { class: "filters" }, el("h1", {}, "Rollouts"), model.node, state.node), total, rows, more);
    const made = new Map(), query = new URLSearchParams(location.search);
    let rollouts = [], shown = PAGE, now = 0;
    empty.hidden = list.hidden = true;
    main.replaceChildren(list, empty);
    state.offer(Object.keys(words.STATES));

    function draw() {
      const wanted = rollouts.filter((rollout) =>
        (!model.select.value || rollout.model === model.select.value) && (!state.select.value || rollout.state === state.select.value));
      const nodes = wanted.slice(0, shown).map((rollout) => {
        if (!made.has(rollout.id)) made.set(rollout.id, row());
        made.get(rollout.id).update(rollout, now);
        return made.get(rollout.id).node;
      });
      // Moves only what is out of place: focus and scroll stay where they are.
      nodes.forEach((node, i) => { if (rows.children[i] !== node) rows.insertBefore(node, rows.children[i] || null); });
      while (rows.children.length > nodes.length) rows.lastElementChild.remove();
      more.hidden = wanted.length <= shown;
      say(total, wanted.length === 0 ? "No rollout fits this filter." : `${words.count(wanted.length)} ${wanted.length === 1 ? "rollout" : "rollouts"}` + (wanted.length > shown ? `, the newest ${shown} shown` : ""));
    }

    function filter() {
      const next = new URLSearchParams([["model", model.select.value], ["state", state.select.value]].filter(([, value]) => value));
      history.replaceState(null, "", next.size ? `?${next}` : location.pathname);
      shown = PAGE;
      draw();
    }
    for (const { select } of [model, state]) select.addEventListener("change", filter);
    more.addEventListener("click", () => { shown += PAGE; draw(); });

    return function update(answer, at) {
      [rollouts, now] = [answer.rollouts, at];
      empty.hidden = rollouts.length > 0;
      list.hidden = !rollouts.length;
      model.offer([...new Set(rollouts.map((rollout) => rollout.model))].sort());
      for (const [name, { select }] of [["model", model], ["state", state]]) {
        if (query.has(name)) { select.value = query.get(name); query.delete(name); }
      }
      draw();
      const active = rollouts.filter((rollout) => rollout.state === "active").length;
      document.title = active ? `${active} active: modelpack gate` : "modelpack gate";
    };
  };
})((window.modelpack = window.modelpack || {}));
