"use strict";
// Numbers and states in words: pure functions from the gate's JSON to text.
(function (modelpack) {
  const NONE = "–";
  const known = (value) => typeof value === "number" && Number.isFinite(value);

  const fixed = (value, digits) =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" }).replace("-", "−");
  const signed = (value, digits) =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "exceptZero" }).replace("-", "−");
  const count = (value) => (known(value) ? fixed(value, 0) : NONE);
  // As many decimals as a quantity of this size deserves: two significant digits of it, four at most.
  const decimals = (size) => (size > 0 ? Math.max(0, Math.min(4, 1 - Math.floor(Math.log10(size)))) : 0);
  function plain(value, digits) {
    if (!known(value)) return value === null || value === undefined ? NONE : String(value);
    return fixed(value, digits ?? (value === 0 ? 0 : Math.min(4, decimals(Math.abs(value)) + 1))).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  }

  function duration(seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min` + (s % 60 ? ` ${s % 60} s` : "");
    if (s < 86400) return `${Math.floor(s / 3600)} h` + (s % 3600 >= 60 ? ` ${Math.floor((s % 3600) / 60)} min` : "");
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  }
  function clock(seconds) {
    const s = Math.max(0, Math.round(seconds)), pad = (value) => String(value).padStart(2, "0");
    return s < 3600 ? `${Math.floor(s / 60)}:${pad(s % 60)}`
      : `${Math.floor(s / 3600)}:${pad(Math.floor((s % 3600) / 60))}:${pad(s % 60)}`;
  }
  const moment = (t) => new Date(t * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

  // registry:port/name:tag@sha256:… -> what people call it, and its digest
  function image(reference) {
    const [name, digest = ""] = (reference || "").split("@");
    const colon = name.indexOf(":", name.lastIndexOf("/") + 1);
    const short = digest.replace(/^sha256:/, "").slice(0, 12);
    return { reference, digest, short, version: (colon < 0 ? "" : name.slice(colon + 1)) || short || "unknown" };
  }

  const VERDICTS = {
    pending: ["none", "Pending"], undecided: ["wait", "Undecided"], hold: ["hold", "On hold"],
    accept: ["good", "Accepted"], reject: ["bad", "Rejected"],
  };
  const STATES = { active: "Active", promoted: "Promoted", failed: "Failed", superseded: "Superseded", withdrawn: "Withdrawn" };

  // `n` is of how many a check's verdict is, where it is one: without any it was not reached before the end.
  const verdict = (name, state, n) =>
    (state !== "active" && (name === "pending" || (name === "undecided" && n === 0)) ? ["none", "Not reached"] : VERDICTS[name] || ["none", String(name)]);

  // The one badge of a rollout: its verdict while it runs, its end afterwards. -> [kind, word]
  function outcome(rollout) {
    if (rollout.state === "promoted") return ["good", "Promoted"];
    if (rollout.state === "failed") return ["bad", rollout.verdict === "reject" ? "Rolled back" : "Failed"];
    if (rollout.state !== "active") return ["none", STATES[rollout.state] || String(rollout.state)];
    return verdict(rollout.verdict, rollout.state);
  }

  function waiting(rollout) {
    if (rollout.state === "failed" && !rollout.settled) return "settle: Git still has to name what the primary serves";
    if (rollout.state !== "active") return "";
    if (rollout.verdict === "accept") return "Flagger to promote it";
    if (rollout.verdict === "reject") return "Flagger to roll it back";
    const asking = (rollout.checks || []).filter((check) => check.type === "approval" && check.verdict === "hold");
    if (rollout.verdict === "hold" && asking.length && !rollout.final) return `a person: ${asking.map((check) => check.name).join(", ")} asks for approval`;
    if (rollout.verdict === "hold") return rollout.final ? "a person: this hold does not end by itself" : "data, or a person";
    const open = (rollout.checks || []).filter((check) => check.verdict === rollout.verdict);
    if (rollout.verdict === "pending") {
      return `${open.map((check) => check.name).join(", ") || "the checks"}, before any traffic`;
    }
    return open.map((check) => known(check.n) && known(check.min_sample) && check.n < check.min_sample
      ? `${check.name}: ${count(check.min_sample - check.n)} more ${check.counts || "requests"}`
      : `${check.name}: a narrower interval`).join("; ") || "Flagger's next look";
  }

  // Who answers what, in percent: the canary's weight while it runs; afterwards it is the primary, or out.
  function traffic(rollout) {
    const [canary, primary] = [image(rollout.image), image(rollout.primary_image)];
    const [now, before] = [canary.version, primary.version];
    if (rollout.state === "promoted") return { share: 100, canary: `${now} is the primary now`, primary: `${before} is replaced` };
    if (rollout.state === "failed" && canary.digest && canary.digest === primary.digest) {
      return { share: rollout.weight, canary: `${now} failed while it was promoted`, primary: "look at what the primary serves" };
    }
    if (rollout.state !== "active") return { share: 0, canary: `${now} is out`, primary: `${before} serves` };
    return { share: rollout.weight, canary: `canary ${now}`, primary: `primary ${before}` };
  }

  // What a check's numbers are and how they are written. Shares are shown in percent, their differences in points, which
  // are percentage points. `of` is what the estimate is: canary minus primary, the canary's own value, or a distance
  // between two distributions. `bounds` are where too bad begins: {value, side: 1 above it, -1 below it}.
  function measure(check) {
    const share = check.share, factor = share ? 100 : 1, unit = share ? " %" : check.unit ? ` ${check.unit}` : "";
    const of = check.type === "drift" ? "distance" : check.type === "slo" || (check.type === "shadow" && share) ? "value" : "difference";
    const points = share && of === "difference" ? " points" : unit, side = check.better === "higher" ? -1 : 1;
    const bounds = [];
    if (of !== "difference") {
      const limit = check.type === "shadow" ? check.margin : check.limit;
      if (known(limit)) bounds.push({ value: limit, side });
    } else if (known(check.margin)) {
      bounds.push({ value: side * check.margin, side });
      if (check.type === "shadow") bounds.push({ value: -check.margin, side: -1 });
    }
    const text = of === "difference" ? signed : fixed;
    const value = (number) => (known(number) ? `${plain(number * factor)}${unit}` : NONE);
    // [estimate, interval, estimate without its unit], with the decimals that the interval's width deserves; one side
    // may not be known
    function estimate({ estimate: middle, low, high }) {
      const sides = [low, high].filter(known);
      if (!known(middle) && !sides.length) return [NONE, "", NONE];
      const size = sides.length === 2 ? Math.max(high - low, Math.abs(middle ?? 0) / 10) : Math.abs(middle ?? sides[0]);
      const digits = of === "distance" ? 3 : Math.max(1, decimals(size * factor)), write = (number) => text(number * factor, digits);
      const interval = sides.length === 2 ? `${write(low)} to ${write(high)}` : known(low) ? `${write(low)} or more` : known(high) ? `${write(high)} or less` : "";
      const bare = known(middle) ? write(middle) : NONE;
      return [known(middle) ? bare + points : NONE, interval, bare];
    }
    function allowed() {
      if (!bounds.length) return NONE;
      if (of !== "difference") return `${side < 0 ? "at least" : "at most"} ${value(bounds[0].value)}`;
      if (check.margin === 0) return "nothing worse";
      const size = `${plain(check.margin * factor)}${points}`;
      return bounds.length > 1 ? `±${size}` : `${side < 0 ? "−" : "+"}${size}`;
    }
    return { of, factor, side, bounds, unit: unit.trim(), points, value, estimate, allowed: allowed(), higherIsBetter: side < 0, text: String(check.measures || check.statistic) };
  }

  // Of how many: canary, primary, and how many are needed before anything is accepted.
  function sample(check) {
    const things = check.counts || "requests", n = `${count(check.n || 0)} canary ${things}`;
    const beside = check.n_primary > 0 && !["golden", "shadow"].includes(check.type) ? `, ${count(check.n_primary)} of the ${against(check)}` : "";
    return (known(check.min_sample) ? `${n}, at least ${count(check.min_sample)} needed to accept` : n) + beside;
  }
  const against = (check) => (check.bins && check.bins.length ? check.bins[0].against_name : "primary");

  Object.assign(modelpack, {
    words: { NONE, known, fixed, signed, count, decimals, plain, duration, clock, moment, image, verdict, outcome, waiting, traffic, measure, sample, against, STATES },
  });
})((window.modelpack = window.modelpack || {}));
