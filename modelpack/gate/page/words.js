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

  const verdict = (name, state) =>
    (name === "pending" && state !== "active" ? ["none", "Not reached"] : VERDICTS[name] || ["none", String(name)]);

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

  // What a check measures and how its numbers are written. Shares are shown in percent, their differences in points,
  // which are percentage points.
  function measure(check) {
    const factor = check.share ? 100 : 1;
    const unit = check.share ? " %" : check.unit ? ` ${check.unit}` : "";
    return {
      factor,
      higherIsBetter: check.better === "higher",
      text: String(check.measures || check.statistic),
      points: check.share ? " points" : unit,
      value: (value) => (known(value) ? `${plain(value * factor)}${unit}` : NONE),
      // [estimate, interval] of a difference, with the decimals that the interval's width deserves
      difference({ estimate, low, high }) {
        if (!known(estimate)) return [NONE, ""];
        const sure = known(low) && known(high), size = Math.max(sure ? high - low : 0, Math.abs(estimate) / 10);
        const digits = Math.max(1, decimals(size * factor));
        const text = (value) => signed(value * factor, digits);
        return [text(estimate) + (check.share ? " points" : unit), sure ? `${text(low)} to ${text(high)}` : ""];
      },
    };
  }

  Object.assign(modelpack, {
    words: { NONE, known, fixed, signed, count, decimals, plain, duration, clock, moment, image, verdict, outcome, waiting, traffic, measure, STATES },
  });
})((window.modelpack = window.modelpack || {}));
