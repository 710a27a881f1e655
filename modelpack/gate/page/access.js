"use strict";
// Asks the gate, with a token where it wants one. A person is asked for it once a tab: the list and every rollout are
// documents of their own, so a variable would be empty again at the next click. The tab's session storage ends with it,
// belongs to this origin alone, and nothing of it is sent unasked, as a cookie would be; the policy lets no script of
// anybody else's run here.
(function (modelpack) {
  const { el, say } = modelpack;
  const key = `modelpack gate ${new URL(document.body.dataset.root || "./", location.href).pathname}`;
  let token = "";
  try { token = sessionStorage.getItem(key) || ""; } catch { /* a browser that stores nothing asks at each page */ }

  function keep(next) {
    token = next;
    try { sessionStorage.setItem(key, next); } catch { /* as above */ }
  }

  const held = () => token !== "", forget = () => keep("");

  // `fetch`, with the token. One that is refused is forgotten.
  async function ask(address, options) {
    const given = token, authorization = given ? { authorization: `Bearer ${given}` } : {};
    const response = await fetch(address, { ...options, headers: { ...options.headers, ...authorization } });
    if (response.status === 401 && given && given === token) forget();
    return response;
  }

  // A field for the token, and what is wrong with what was written: "" if nothing is, and then it is kept.
  function field() {
    const input = el("input", { name: "token", type: "password", required: "", autocomplete: "off", spellcheck: "false" });
    function take() {
      const given = input.value.trim();
      if (!/^[\x21-\x7e]+$/.test(given)) return given ? "A token has no blanks, and none but ASCII characters." : "A token is needed.";
      input.value = "";
      keep(given);
      return "";
    }
    return { node: el("label", {}, "Token", input), input, take };
  }

  // Asks for a token at the top of the page until `again` gets an answer; `show` may be called at each refusal.
  function prompt(main, again) {
    const token = field(), said = el("p", { role: "alert" });
    const form = el("form", {}, token.node, el("button", { "data-kind": "wait" }, "Go on"));
    const node = el("section", { class: "card token" }, el("h1", {}, "This gate asks for a token"),
      el("p", {}, "Who runs the gate gives it to you. This tab keeps it until it is closed."), form, said);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      say(said, token.take());
      if (held()) again();
      else token.input.focus();
    });
    return {
      show(refused) {
        if (refused || !node.isConnected) say(said, refused ? "The gate does not know this token." : "");
        if (node.isConnected) return;
        main.prepend(node);
        token.input.focus();
      },
      hide: () => node.remove(),
    };
  }

  // Has an address saved as a file: a link alone sends no token. Gives what went wrong, "" if nothing did.
  async function save(address, name) {
    try {
      const response = await ask(address, { cache: "no-store" });
      if (!response.ok) return response.status === 401 ? "The gate does not know this token any more." : (await response.text()).trim();
      const url = URL.createObjectURL(await response.blob());
      el("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60000);
      return "";
    } catch {
      return "The gate does not answer.";
    }
  }

  modelpack.access = { ask, field, forget, held, prompt, save };
})((window.modelpack = window.modelpack || {}));
