"use strict";
// Asks the model behind this page's own host, shows which version answered, and sends back what turned out to be true.
const MODEL = "/v1/models/mpg";
const car = document.getElementById("car"), answer = document.getElementById("answer"), truth = document.getElementById("truth");
const told = truth.querySelector("output");
let asked = "";

async function ask(path, body) {
  const reply = await fetch(MODEL + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const value = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(value.error || `the server answered ${reply.status}`);
  return value;
}

function show(kind, ...parts) {
  answer.dataset.kind = kind;
  answer.replaceChildren(...parts);
}

function text(tag, words) {
  const node = document.createElement(tag);
  node.textContent = words;
  return node;
}

// Runs the work while the form's button is off; whatever goes wrong is said, and the button comes back.
async function working(form, work, failed) {
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await work(Object.fromEntries(new FormData(form)));
  } catch (error) {
    failed(error instanceof TypeError ? "The server cannot be reached: try again" : error.message);
  } finally {
    button.disabled = false;
  }
}

car.addEventListener("submit", (event) => {
  event.preventDefault();
  truth.hidden = true;
  working(car, async ({ origin, ...numbers }) => {
    const values = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, Number(value)]));
    const { predictions: [miles], ids: [id] = [""], version } = await ask(":predict", { instances: [{ ...values, origin }] });
    asked = id;
    show("good", text("b", `${miles.toFixed(1)} miles per gallon`), text("small", version ? `answered by version ${version}` : "the server does not say which version it is"));
    told.textContent = "";
    truth.hidden = !id;
  }, (problem) => show("bad", problem));
});

truth.addEventListener("submit", (event) => {
  event.preventDefault();
  working(truth, async (values) => {
    await ask(":feedback", { labels: [{ id: asked, truth: Number(values.truth) }] });
    told.textContent = "Thank you, it was kept";
  }, (problem) => { told.textContent = problem; });
});
