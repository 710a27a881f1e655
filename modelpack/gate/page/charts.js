"use strict";
// Small SVG charts over time, and a ruler for values beside their limits. Drawn in real pixels at the width they
// have, so text keeps its size on a phone; redrawn in place when data or width change.
(function (modelpack) {
  const { el, svg, say, attribute } = modelpack;
  const { clock, known } = modelpack.words;
  const LETTER = 6.6; // pixels of an average letter of the 12 px labels
  const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  let charts = 0;

  function niceStep(span, most) {
    const rough = span / most, power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  }

  function ticks(low, high, step) {
    const found = [];
    for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6; i++) found.push(i * step);
    return found;
  }

  // At most `most` of the points, evenly, the last one always.
  function thin(points, most = 400) {
    const stride = Math.ceil(points.length / most);
    return stride < 2 ? points : points.filter((_, i) => (points.length - 1 - i) % stride === 0);
  }

  // Texts at `x`, each in the first lane where it fits; those that fit nowhere go without (the page lists them all).
  function lanes(marks, x, right) {
    const ends = [-Infinity, -Infinity, -Infinity];
    return marks.map((mark) => {
      const width = mark.text.length * LETTER + 10, flip = x(mark.t) + width > right;
      const from = flip ? x(mark.t) - width : x(mark.t);
      const lane = ends.findIndex((end) => from >= end);
      if (lane >= 0 && from >= 0) ends[lane] = from + width;
      return { ...mark, lane: from >= 0 ? lane : -1, flip };
    });
  }

  // spec: {label, height, end, y: [low, high], format(y, step), points: [{t, …}], value(point), describe(point), now,
  //        band(point) -> [low, high], null for an open side, step?: of the y axis, steps?: bool, until?: where the last step ends,
  //        rules: [{y, text, kind, below}], marks: [{t, text, kind}], zones?: [{value, side}], bad above (1) or below (-1)}
  function timeChart(holder) {
    const readout = el("p", { class: "readout", "aria-live": "off" });
    const drawing = svg("svg", { class: "chart", role: "img", tabindex: "0" });
    const clip = `clip-${++charts}`;
    let spec = null, drawn = "", at = null, frame = null;
    holder.append(readout, drawing);

    function draw() {
      const width = Math.floor(holder.clientWidth);
      if (!spec || !width) return;
      const { end, height, y: [low, high] } = spec;
      const step = spec.step || niceStep(high - low, 5);
      const values = ticks(low, high, step).map((value) => [value, spec.format(value, step)]);
      const left = Math.max(...values.map(([, text]) => text.length)) * LETTER + 12;
      const x = (t) => left + (Math.min(Math.max(t, 0), end) / end) * (width - 14 - left);
      const marks = lanes(spec.marks, x, width);
      const top = 10 + 16 * (1 + Math.max(-1, ...marks.map((mark) => mark.lane)));
      const bottom = top + height;
      const y = (value) => bottom - ((value - low) / (high - low)) * height;
      frame = { x, y, top, bottom, width };
      attribute(drawing, "viewBox", `0 0 ${width} ${bottom + 24}`);
      attribute(drawing, "width", String(width));
      attribute(drawing, "height", String(bottom + 24));
      attribute(drawing, "aria-label", spec.label);

      const every = TIMES.find((seconds) => end / seconds <= (width - left) / 70) || Math.ceil(end / 86400 / 6) * 86400;
      const axes = svg("g", { class: "axes" },
        ...values.flatMap(([value, text]) => [
          svg("line", { x1: left, x2: width - 14, y1: y(value), y2: y(value) }),
          svg("text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, text)]),
        ...ticks(0, end, every).map((t) => svg("text", { x: x(t), y: bottom + 18, "text-anchor": "middle" }, clock(t))));

      const points = thin(spec.points), plot = svg("g", { "clip-path": `url(#${clip})` });
      const path = (kind, d) => plot.append(svg("path", { class: kind, d }));
      const p = (t, value) => `${x(t).toFixed(1)},${y(Math.min(Math.max(value, low - (high - low)), high + (high - low))).toFixed(1)}`;
      for (const { value, side } of spec.zones || []) {
        const edge = Math.min(Math.max(y(value), top), bottom), [from, to] = side > 0 ? [top, edge] : [edge, bottom];
        plot.append(svg("rect", { class: "zone", x: left, width: width - 14 - left, y: from, height: to - from }));
      }
      if (points.length && spec.steps) {
        const line = points.map((point, i) => (i ? `H${x(point.t).toFixed(1)}V${y(spec.value(point)).toFixed(1)}` : `M${p(point.t, spec.value(point))}`)).join("") + `H${x(spec.until).toFixed(1)}`;
        path("area", `${line}V${y(0)}H${x(points[0].t).toFixed(1)}Z`);
        path("line", line);
      } else if (points.length) {
        const banded = points.filter((point) => spec.band(point).some(known)), far = high - low;
        if (banded.length) {
          const side = (point, i) => p(point.t, spec.band(point)[i] ?? (i ? high + far : low - far));
          path("band", `M${banded.map((point) => side(point, 1)).join("L")}L${[...banded].reverse().map((point) => side(point, 0)).join("L")}Z`);
        }
        const lined = points.filter((point) => known(spec.value(point)));
        if (lined.length) path("line", `M${lined.map((point) => p(point.t, spec.value(point))).join("L")}`);
      }
      const rules = svg("g", {}, ...spec.rules.flatMap((rule) => [
        svg("line", { class: `rule ${rule.kind}`, x1: left, x2: width - 14, y1: y(rule.y), y2: y(rule.y) }),
        svg("text", { class: `rule ${rule.kind}`, x: left + 6, y: y(rule.y) + (rule.below ? 15 : -6) }, rule.text)]));
      const flags = svg("g", { class: "marks" },
        ...marks.map((mark) => svg("line", { "data-kind": mark.kind, x1: x(mark.t), x2: x(mark.t), y1: mark.lane < 0 ? top : 6 + 16 * mark.lane, y2: bottom })),
        ...marks.filter((mark) => mark.lane >= 0).map((mark) => svg("text", { "data-kind": mark.kind, x: x(mark.t) + (mark.flip ? -5 : 5), y: 16 * mark.lane + 16, "text-anchor": mark.flip ? "end" : "start" }, mark.text)));
      drawing.replaceChildren(
        svg("clipPath", { id: clip }, svg("rect", { x: left, y: top - 3, width: width - 11 - left, height: height + 6 })),
        axes, plot, rules, flags, svg("g", { class: "cursor" }));
      cursor();
    }

    function cursor() {
      const group = drawing.lastElementChild, points = spec.points;
      const point = at === null ? points[points.length - 1] : points[Math.min(at, points.length - 1)];
      group.replaceChildren();
      say(readout, point && at !== null ? `${clock(point.t)}  ${spec.describe(point)}` : spec.now);
      if (!point) return;
      const { x, y, top, bottom } = frame, when = at === null && spec.steps ? spec.until : point.t;
      if (at !== null) group.append(svg("line", { x1: x(when), x2: x(when), y1: top, y2: bottom }));
      const height = Math.min(Math.max(y(spec.value(point)), top), bottom);
      if (known(spec.value(point))) group.append(svg("circle", { cx: x(when), cy: height, r: 4.5 }));
    }

    function move(index) {
      at = index === null || !spec.points.length ? null : Math.min(Math.max(index, 0), spec.points.length - 1);
      if (frame) cursor();
    }

    drawing.addEventListener("pointermove", (event) => {
      if (!frame) return;
      const x = event.clientX - drawing.getBoundingClientRect().left;
      const far = spec.points.map((point) => Math.abs(frame.x(point.t) - x));
      const next = spec.points.findIndex((point) => frame.x(point.t) > x); // a step holds until the next one
      move(spec.steps ? (next < 0 ? spec.points.length : next) - 1 : far.indexOf(Math.min(...far)));
    });
    drawing.addEventListener("pointerleave", () => move(null));
    drawing.addEventListener("focus", () => attribute(readout, "aria-live", "polite"));
    drawing.addEventListener("blur", () => { attribute(readout, "aria-live", "off"); move(null); });
    drawing.addEventListener("keydown", (event) => {
      const last = spec.points.length - 1, from = at === null ? last + 1 : at;
      const index = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: null }[event.key];
      if (index === undefined) return;
      event.preventDefault();
      move(index);
    });
    new ResizeObserver(draw).observe(holder);

    return (next) => {
      spec = next;
      const shape = JSON.stringify(next); // functions fall out: only what is drawn counts
      if (shape !== drawn) {
        drawn = shape;
        draw();
      }
    };
  }

  // Values and limits on one horizontal axis, a row each. spec: {label, low, high, format, zone: [from, to],
  // dots: [{value, text}], rules: [{value, text}]}
  function ruler(holder) {
    const drawing = svg("svg", { class: "chart ruler", role: "img" });
    let spec = null;
    holder.append(drawing);

    function draw() {
      const width = Math.floor(holder.clientWidth);
      if (!spec || !width) return;
      const { low, high, dots, rules } = spec, entries = [...dots, ...rules];
      const left = Math.max(...entries.map((entry) => entry.text.length)) * LETTER + 20, right = width - 16;
      const x = (value) => left + ((value - low) / (high - low)) * (right - left);
      const y = (i) => 16 + 24 * i, bottom = y(entries.length - 1) + 16;
      const step = niceStep(high - low, Math.max(2, (right - left) / 70));
      attribute(drawing, "viewBox", `0 0 ${width} ${bottom + 24}`);
      attribute(drawing, "width", String(width));
      attribute(drawing, "height", String(bottom + 24));
      attribute(drawing, "aria-label", spec.label);
      drawing.replaceChildren(
        svg("rect", { class: "zone", x: x(spec.zone[0]), width: Math.max(0, x(spec.zone[1]) - x(spec.zone[0])), y: 2, height: bottom - 2 }),
        svg("g", { class: "axes" }, svg("line", { x1: left, x2: right, y1: bottom, y2: bottom }),
          ...ticks(low, high, step).map((value) => svg("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, spec.format(value, step)))),
        ...rules.map((rule) => svg("line", { class: "rule limit", x1: x(rule.value), x2: x(rule.value), y1: 2, y2: bottom })),
        ...entries.flatMap((entry, i) => {
          const kind = i < dots.length ? entry.text : "limit", size = 5;
          return [
            svg("text", { class: kind, x: 0, y: y(i) + 4 }, entry.text),
            svg("line", { class: "lead", x1: left, x2: x(entry.value), y1: y(i), y2: y(i) }),
            kind === "limit" ? svg("rect", { class: "dot limit", x: x(entry.value) - size, y: y(i) - size, width: 2 * size, height: 2 * size, transform: `rotate(45 ${x(entry.value)} ${y(i)})` })
              : svg("circle", { class: `dot ${kind}`, cx: x(entry.value), cy: y(i), r: 6 })];
        }));
    }

    new ResizeObserver(draw).observe(holder);
    return (next) => {
      if (JSON.stringify(next) === JSON.stringify(spec)) return;
      spec = next;
      draw();
    };
  }

  Object.assign(modelpack, { timeChart, ruler, niceStep, ticks, LETTER });
})((window.modelpack = window.modelpack || {}));
