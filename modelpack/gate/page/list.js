"use strict";
// All rollouts, newest first, a page at a time. The gate searches, so that any number of rollouts stays light here; the
// address of the page says what is shown.
(function (modelpack) {
  const { el, say, attribute, badge, words } = modelpack;
  const PAGE = 50, PAUSE = 250; // rows; milliseconds after the last key
  const KEYS = ["text", "model", "state", "before"];

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
          if (name && ![...select.options].some((option) => option.value === name)) select.append(el("option", { value: name }, words.STATES[name] || name));
        }
      },
    };
  }

  // `changed` is called when another page of rollouts is wanted; `view.query()` says which.
  modelpack.listView = function (main, changed) {
    const model = choice("Model", "all models"), state = choice("State", "all states");
    const search = el("input", { type: "search", maxlength: 253, placeholder: "model, version, id", autocomplete: "off" });
    const total = el("p", { class: "total", role: "status" }), rows = el("ol", { class: "rollouts" });
    const newest = el("a", {}, "‹ Newest"), older = el("a", { rel: "next" }, "Older ›"), pages = el("nav", { class: "pages", "aria-label": "pages" }, newest, older);
    const empty = el("section", { class: "card empty" }, el("h2", {}, "No rollouts yet"),
      el("p", {}, "A rollout appears here as soon as a canary starts: name a new model version in Git and let Flagger see it, or rehearse one on this machine."),
      el("pre", {}, el("code", {}, "modelpack bump REGISTRY/MODEL:VERSION --repo PATH\nmodelpack rehearse --repo PATH")));
    const filters = el("form", { class: "filters", role: "search" }, el("h1", {}, "Rollouts"), el("label", {}, "Search ", search), model.node, state.node);
    const list = el("section", {}, filters, total, rows, pages), made = new Map();
    let asked = Object.fromEntries(KEYS.map((key) => [key, new URLSearchParams(location.search).get(key) || ""])), timer = 0;
    empty.hidden = list.hidden = true;
    main.replaceChildren(list, empty);
    state.offer(Object.keys(words.STATES));
    model.offer([asked.model]);
    [search.value, model.select.value, state.select.value] = [asked.text, asked.model, asked.state];

    const address = (wanted) => {
      const query = new URLSearchParams(KEYS.map((key) => [key, wanted[key]]).filter(([, value]) => value));
      return query.size ? `?${query}` : location.pathname;
    };
    function filter() {
      const next = { text: search.value.trim(), model: model.select.value, state: state.select.value, before: "" };
      clearTimeout(timer);
      if (address(next) === address(asked)) return;
      asked = next;
      history.replaceState(null, "", address(asked));
      changed();
    }
    for (const { select } of [model, state]) select.addEventListener("change", filter);
    filters.addEventListener("submit", (event) => { event.preventDefault(); filter(); });
    search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, PAUSE); });

    function update(answer, now) {
      const { rollouts } = answer, filtered = KEYS.some((key) => asked[key]);
      empty.hidden = rollouts.length > 0 || filtered;
      list.hidden = !empty.hidden;
      model.offer(answer.models || []);
      const nodes = rollouts.map((rollout) => {
        if (!made.has(rollout.id)) made.set(rollout.id, row());
        made.get(rollout.id).update(rollout, now);
        return made.get(rollout.id).node;
      });
      // Moves only what is out of place: focus and scroll stay where they are.
      nodes.forEach((node, i) => { if (rows.children[i] !== node) rows.insertBefore(node, rows.children[i] || null); });
      while (rows.children.length > nodes.length) rows.lastElementChild.remove();
      for (const id of made.keys()) if (!rollouts.some((rollout) => rollout.id === id)) made.delete(id);
      newest.hidden = !asked.before;
      attribute(newest, "href", address({ ...asked, before: "" }));
      older.hidden = !answer.next;
      attribute(older, "href", address({ ...asked, before: answer.next || "" }));
      const all = `${words.count(answer.total)} ${answer.total === 1 ? "rollout" : "rollouts"}`;
      say(total, answer.total === 0 ? "No rollout fits this filter." : rollouts.length === answer.total ? all : `${all}, ${asked.before ? `${rollouts.length} older ones` : `the newest ${rollouts.length}`} shown`);
      const active = rollouts.filter((rollout) => rollout.state === "active").length;
      document.title = active ? `${active} active: modelpack gate` : "modelpack gate";
    }

    const query = () => new URLSearchParams([["limit", String(PAGE)], ...KEYS.map((key) => [key, asked[key]]).filter(([, value]) => value)]);
    return { update, query };
  };
})((window.modelpack = window.modelpack || {}));
