"use strict";
// Starts the page: a saved report draws its own data once; a live page asks the gate again and again, less often when
// nothing runs or the gate does not answer, and not at all while nobody looks or after the end.
(function (modelpack) {
  const { say, attribute, words } = modelpack;
  const { rollout: id, root } = document.body.dataset;
  const main = document.getElementById("main"), link = document.getElementById("link"), saved = document.getElementById("rollout");
  const TIMEOUT = 5000, LONGEST_WAIT = 30; // milliseconds, seconds

  function status(kind, text) {
    attribute(link, "data-kind", kind);
    say(link, text);
  }

  // Seconds until the next look, 0 for never.
  function pace(answer) {
    if (id === undefined) return answer.rollouts.some((rollout) => rollout.state === "active") ? 2 : 10;
    if (answer.state === "active") return 1;
    return answer.state === "failed" && !answer.settled ? 5 : 0;
  }

  function live(update, address) {
    let timer = 0, failures = 0, seen = null, done = false, asking = null;

    async function ask() {
      clearTimeout(timer);
      if (document.hidden || asking || done) return; // asked again once somebody looks
      asking = new AbortController();
      const begun = performance.now(), abort = setTimeout(() => asking.abort(), TIMEOUT);
      let wait;
      try {
        const response = await fetch(address, { signal: asking.signal, headers: { accept: "application/json" }, cache: "no-store" });
        if (response.status === 404) {
          done = true;
          return status("down", "The gate knows no such rollout");
        }
        if (!response.ok) throw new Error(`status ${response.status}`);
        const answer = await response.json();
        [failures, seen] = [0, new Date()];
        wait = pace(answer);
        update(answer, seen / 1000);
        done = wait === 0;
        status(done ? "ended" : "live", done ? "Ended" : "Live");
      } catch (error) {
        failures += 1;
        wait = Math.min(LONGEST_WAIT, 2 ** (failures - 1));
        const last = seen ? `; this is from ${seen.toLocaleTimeString("en-GB")}` : "";
        status("down", `The gate does not answer, next try in ${wait} s${last}`);
        console.info("the gate does not answer", error);
      } finally {
        clearTimeout(abort);
        asking = null;
      }
      // an answer that is slow to make is asked for less often
      if (wait) timer = setTimeout(ask, Math.max(wait * 1000, 4 * (performance.now() - begun)));
    }

    document.addEventListener("visibilitychange", ask);
    window.addEventListener("online", ask);
    status("wait", "Connecting");
    ask();
  }

  if (saved) {
    const rollout = JSON.parse(saved.textContent);
    modelpack.rolloutView(main, null)(rollout, 0);
    status("saved", "Saved report");
  } else if (id === undefined) {
    live(modelpack.listView(main), `${root}api/v1/rollouts`);
  } else {
    main.replaceChildren();
    let update = null; // the view is made with the first answer: an unknown rollout shows no empty frames
    live((rollout, now) => (update ||= modelpack.rolloutView(main, root))(rollout, now), `${root}api/v1/rollouts/${encodeURIComponent(id)}`);
  }
})(window.modelpack);
