"use strict";
// Elements, made and changed without markup: text from the gate reaches the page only as text nodes and attributes
// that cannot run, so a hostile model name stays a name.
(function (modelpack) {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // Writes only what differs: no flicker, and a screen reader hears a live region once for each change.
  function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function attribute(node, name, value) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }

  const SHAPES = {
    good: "M4 8.5 7 11.5 12.5 5",
    bad: "M4.5 4.5 11.5 11.5M11.5 4.5 4.5 11.5",
    hold: "M6 4.5V11.5M10 4.5V11.5",
    wait: "M8 4V8.2L10.8 10",
    none: "M4.5 8H11.5",
  };

  const icon = (kind) => svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("circle", { cx: 8, cy: 8, r: 7 }), svg("path", { d: SHAPES[kind] }));

  // A badge is colour, shape and word together; `update` keeps the node.
  function badge(size) {
    const word = el("span");
    const node = el("span", { class: `badge ${size || ""}` }, word);
    return {
      node,
      update(kind, text) {
        if (node.dataset.kind !== kind) {
          node.dataset.kind = kind;
          node.replaceChildren(icon(kind), word);
        }
        say(word, text);
      },
    };
  }

  // A short digest that hands out the full one.
  function digest() {
    const node = el("button", { class: "digest", type: "button" });
    let full = "", short = "";
    node.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(full);
        say(node, "copied");
        setTimeout(() => say(node, short), 1200);
      } catch {
        say(node, full); // no clipboard without https: show all of it instead
      }
    });
    return {
      node,
      update(image) {
        if (image.digest === full) return;
        full = image.digest;
        short = image.short || "none";
        node.disabled = !full;
        attribute(node, "title", full ? `${full} (click to copy)` : "the image is not named by digest");
        say(node, short);
      },
    };
  }

  Object.assign(modelpack, { el, svg, say, attribute, badge, digest });
})((window.modelpack = window.modelpack || {}));
