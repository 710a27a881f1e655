"use strict";
// Starts the page: a saved report draws its own data once; a live page listens to the gate, which sends what changed.
// Where it cannot (too many listen, something between holds the stream back) it is asked again and again. Nothing is
// asked while nobody looks, nor after the end.
(function (modelpack) {
  const { say, attribute, access } = modelpack;
  const { rollout: id, root } = document.body.dataset;
  const main = document.getElementById("main"), link = document.getElementById("link"), saved = document.getElementById("rollout");
  const TIMEOUT = 5000, SILENCE = 40000, LONGEST_WAIT = 30; // milliseconds, milliseconds, seconds

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

  // The data of each event of a stream. `heard` is called with every piece that comes, comments included.
  async function* events(response, heard) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
    }
  }

  function live(update, address) {
    const prompt = access.prompt(main, () => again());
    let timer = 0, guard = 0, failures = 0, seen = null, done = false, asking = null, plain = false;

    function take(answer) {
      [failures, seen] = [0, new Date()];
      update(answer, seen / 1000);
      done = pace(answer) === 0;
      status(done ? "ended" : "live", done ? "Ended" : "Live");
      return pace(answer);
    }

    async function ask() {
      clearTimeout(timer);
      if (document.hidden || asking || done) return; // asked again once somebody looks
      const mine = asking = new AbortController(), begun = performance.now(), accept = plain ? "application/json" : "text/event-stream, application/json;q=0.9";
      const within = (most) => { clearTimeout(guard); guard = setTimeout(() => mine.abort(), most); };
      const refused = access.held();
      let wait = 0, told = false, streams = false;
      within(TIMEOUT);
      try {
        const response = await access.ask(address(), { signal: mine.signal, headers: { accept }, cache: "no-store" });
        if (response.status === 401) {
          status("wait", "A token is needed");
          return prompt.show(refused);
        }
        prompt.hide();
        if (response.status === 404) {
          done = true;
          return status("down", id === undefined ? "There are no such rollouts any more" : "The gate knows no such rollout");
        }
        if (!response.ok) throw new Error(`status ${response.status}`);
        streams = (response.headers.get("content-type") || "").startsWith("text/event-stream");
        if (!streams) wait = take(await response.json());
        else {
          for await (const answer of events(response, () => within(SILENCE))) {
            told = true;
            if (take(answer) === 0) return mine.abort();
          }
          throw new Error("the stream ended");
        }
      } catch (error) {
        if (asking !== mine) return; // somebody wants something else
        plain = streams && !told; // a stream that says nothing: something between holds it back
        failures += 1;
        wait = plain ? 0.01 : Math.min(LONGEST_WAIT, 2 ** (failures - 1));
        const last = seen ? `; this is from ${seen.toLocaleTimeString("en-GB")}` : "";
        if (!plain) status("down", `The gate does not answer, next try in ${wait} s${last}`);
        console.info("the gate does not answer", error);
      } finally {
        if (asking === mine) {
          clearTimeout(guard);
          asking = null;
          // an answer that is slow to make is asked for less often
          if (wait) timer = setTimeout(ask, told ? wait * 1000 : Math.max(wait * 1000, 4 * (performance.now() - begun)));
        }
      }
    }

    function stop() {
      const before = asking;
      asking = null;
      clearTimeout(guard);
      if (before) before.abort();
    }
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : ask()));
    window.addEventListener("online", ask);
    function again() {
      stop();
      done = false;
      ask();
    }
    status("wait", "Connecting");
    ask();
    return again;
  }

  if (saved) {
    const report = JSON.parse(saved.textContent);
    modelpack.rolloutView(main, null, report)(report.rollout, 0);
    status("saved", "Saved report");
  } else if (id === undefined) {
    const view = modelpack.listView(main, () => again());
    const again = live(view.update, () => `${root}api/v1/rollouts?${view.query()}`);
  } else {
    main.replaceChildren();
    let update = null; // the view is made with the first answer: an unknown rollout shows no empty frames
    live((rollout, now) => (update ||= modelpack.rolloutView(main, root))(rollout, now), () => `${root}api/v1/rollouts/${encodeURIComponent(id)}`);
  }
})(window.modelpack);
