"use strict";
// Two distributions over the same bins, side by side: the canary's bars are filled, the other's are outlined.
(function (modelpack) {
  const { el, svg, say, attribute, grid, once, niceStep, ticks, LETTER, words } = modelpack;
  const { fixed, plain } = words;
  const HEIGHT = 150;

  const percent = (share) => `${fixed(100 * share, 1)} %`;

  // Names of the bins; edges are one more than there are bins, or the names.
  function names(bins) {
    if (bins.edges.length === bins.canary.length) return bins.edges.map(String);
    return bins.canary.map((_, i) => `${plain(bins.edges[i])} to ${plain(bins.edges[i + 1])}`);
  }

  modelpack.histogram = function (holder) {
    const readout = el("p", { class: "readout", "aria-live": "off" });
    const drawing = svg("svg", { class: "chart histogram", role: "img", tabindex: "0" });
    const key = el("p", { class: "key" }, el("span", { class: "mine" }, "canary"), el("span", { class: "other" }));
    const table = grid("shares by bin", ["bin", "canary", "other"], 1);
    holder.append(key, readout, drawing, el("details", {}, el("summary", {}, "The shares as a table"), table.node));
    let bins = null, labels = [], at = null, place = null;

    function draw() {
      const width = Math.floor(holder.clientWidth);
      if (!bins || !width) return;
      const most = Math.max(0.01, ...bins.canary, ...bins.against), step = niceStep(100 * most, 4), top = 8, bottom = top + HEIGHT;
      const left = 48, slot = (width - left - 4) / labels.length, bar = Math.max(1, Math.min(26, slot * 0.42));
      const y = (share) => bottom - (share / most) * HEIGHT, middle = (i) => left + slot * (i + 0.5);
      place = { left, slot, middle, top, bottom };
      for (const [name, value] of [["viewBox", `0 0 ${width} ${bottom + 24}`], ["width", width], ["height", bottom + 24]]) attribute(drawing, name, String(value));
      const longest = Math.max(...labels.map((label) => label.length)) * LETTER + 10, every = Math.max(1, Math.ceil(Math.min(longest, 130) / slot));
      const fits = Math.max(3, Math.floor((slot * every) / LETTER) - 1), cut = (text) => (text.length > fits ? `${text.slice(0, fits - 1)}…` : text);
      // the last name that is written has to end before the edge
      const named = labels.map((_, i) => i).filter((i) => i % every === 0 && middle(i) + (Math.min(labels[i].length, fits) * LETTER) / 2 <= width);
      drawing.replaceChildren(
        svg("g", { class: "axes" }, ...ticks(0, 100 * most, step).flatMap((value) => [
          svg("line", { x1: left, x2: width - 4, y1: y(value / 100), y2: y(value / 100) }),
          svg("text", { x: left - 7, y: y(value / 100) + 4, "text-anchor": "end" }, `${plain(value)} %`)]),
          ...named.map((i) => svg("text", { x: Math.max(middle(i), (Math.min(labels[i].length, fits) * LETTER) / 2), y: bottom + 18, "text-anchor": "middle" }, cut(labels[i])))),
        svg("g", {}, ...labels.flatMap((_, i) => [
          svg("rect", { class: "bar canary", x: middle(i) - bar, width: bar, y: y(bins.canary[i]), height: bottom - y(bins.canary[i]) }),
          svg("rect", { class: "bar other", x: middle(i), width: bar, y: y(bins.against[i]), height: bottom - y(bins.against[i]) })])),
        svg("g", { class: "cursor" }));
      cursor();
    }

    function cursor() {
      const group = drawing.lastElementChild;
      group.replaceChildren();
      if (at === null) return say(readout, `Shares of the ${bins.name} by bin`);
      group.append(svg("line", { x1: place.middle(at), x2: place.middle(at), y1: place.top, y2: place.bottom }));
      say(readout, `${labels[at]}: canary ${percent(bins.canary[at])}, ${bins.against_name} ${percent(bins.against[at])}`);
    }

    function move(index) {
      at = index === null ? null : Math.min(Math.max(index, 0), labels.length - 1);
      if (place) cursor();
    }

    drawing.addEventListener("pointermove", (event) => {
      if (place) move(Math.floor((event.clientX - drawing.getBoundingClientRect().left - place.left) / place.slot));
    });
    drawing.addEventListener("pointerleave", () => move(null));
    drawing.addEventListener("focus", () => attribute(readout, "aria-live", "polite"));
    drawing.addEventListener("blur", () => { attribute(readout, "aria-live", "off"); move(null); });
    drawing.addEventListener("keydown", (event) => {
      const index = { ArrowLeft: (at ?? labels.length) - 1, ArrowRight: (at ?? -1) + 1, Home: 0, End: labels.length - 1, Escape: null }[event.key];
      if (index === undefined) return;
      event.preventDefault();
      move(index);
    });
    new ResizeObserver(draw).observe(holder);

    return once((next) => {
      [bins, labels, at] = [next, names(next), at !== null && at < next.canary.length ? at : null];
      say(key.lastElementChild, bins.against_name);
      const apart = labels.map((label, i) => ({ label, i, by: Math.abs(bins.canary[i] - bins.against[i]) })).sort((a, b) => b.by - a.by).slice(0, 3);
      attribute(drawing, "aria-label", `Histogram of the ${bins.name}, canary and ${bins.against_name}, ${labels.length} bins. Furthest apart: ${apart.map(({ label, i }) => `${label}: ${percent(bins.canary[i])} and ${percent(bins.against[i])}`).join("; ")}.`);
      table.update(`${bins.name}: canary and ${bins.against_name}`, labels.map((label, i) => [label, percent(bins.canary[i]), percent(bins.against[i])]));
      draw();
    });
  };
})((window.modelpack = window.modelpack || {}));
