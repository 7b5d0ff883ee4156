// The page of `facever gallery serve`: asks the API and shows what it answers.

const $ = (selector, root = document) => root.querySelector(selector);
const SVG = "http://www.w3.org/2000/svg";
const panels = ["who", "same", "people"];
let gallery = null;

// --- asking the server -------------------------------------------------------------

/** Of a request that was answered with a reason in place of an answer. */
class Refused extends Error {}

if (location.hash.startsWith("#token=")) {
  sessionStorage.setItem("token", decodeURIComponent(location.hash.slice(7)));
  history.replaceState(null, "", location.pathname);
}

async function ask(method, address, fields) {
  let body;
  if (fields) {
    body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
  }
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(`api/${address}`, { method, body, headers });
  } catch {
    throw new Refused("The server does not answer. Is it still running?");
  }
  if (response.status === 401) {
    await askForToken();
    return ask(method, address, fields);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(sentence(answer.error ?? `HTTP ${response.status}`));
  return answer;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

let tokenAsked = null;
function askForToken() {
  tokenAsked ??= new Promise((resolve) => {
    const dialog = $("#token");
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", $("#token-text").value.trim());
      tokenAsked = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return tokenAsked;
}

function confirmed(question) {
  const dialog = $("#ask");
  $("p", dialog).textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// --- making what is shown ----------------------------------------------------------

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A path as text that goes on in the next line after a slash or underscore. */
const breakable = (text) => text.split(/(?<=[/_])/).flatMap((part) => [part, element("wbr")]);

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
const percent = (rate) => `${Number((100 * rate).toPrecision(3))} %`;

function say(panel, problem) {
  const place = $(`#${panel} .problem`);
  place.textContent = problem ?? "";
  place.hidden = !problem;
}

/** Run what asks the server, and show in the panel why it failed, if it did. */
async function attempt(panel, work) {
  say(panel);
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(panel, error.message);
  }
}

function ruleInWords(rule) {
  if (rule.threshold === null) {
    return "No threshold is set, so nobody can be ruled out: these are the nearest, whoever it is.";
  }
  const words = `Same person: cosine above ${rule.threshold.toFixed(3)}, the ${rule.threshold_from}'s threshold`;
  if (rule.threshold_far) return `${words}, set so that ${percent(rule.threshold_far)} of pairs of two people pass for one.`;
  if (rule.threshold_fpir) return `${words}, set so that ${percent(rule.threshold_fpir)} of unknown people pass for somebody.`;
  return `${words}.`;
}

/** A cosine on a line from 0 to 1, with the threshold across it. */
function gauge(cosine, threshold) {
  const fill = element("div", { className: "fill" });
  fill.style.setProperty("--at", `${100 * Math.max(0, cosine)}%`);
  const made = element("div", { className: "gauge" }, element("div", { className: "track" }, fill));
  made.setAttribute("aria-hidden", "true");
  if (threshold !== null) made.append(atThreshold(element("div", { className: "line" }), threshold));
  return made;
}

function atThreshold(made, threshold) {
  made.style.setProperty("--threshold", `${100 * Math.min(1, Math.max(0, threshold))}%`);
  return made;
}

const verdict = (same) => (same === null ? "" : same ? "same" : "other");

// --- a place for a photo -----------------------------------------------------------

/** A place to drop a photo, which then shows it with its faces. */
class Slot {
  constructor(panel, onChange) {
    this.panel = panel;
    this.onChange = onChange;
    this.file = null;
    this.face = 0;
    this.root = $("#slot").content.cloneNode(true).firstElementChild;
    this.input = $("input", this.root);
    $(".limits", this.root).textContent = "JPEG, PNG, WebP, AVIF, GIF or BMP";
    this.input.addEventListener("change", () => {
      if (this.input.files.length) this.take(this.input.files[0]);
      this.input.value = "";
    });
    $(".again", this.root).addEventListener("click", () => this.input.click());
  }

  take(file) {
    if (gallery && file.size > gallery.max_bytes) {
      const megabytes = (bytes) => `${Math.round(bytes / 1e5) / 10} MB`;
      say(this.panel, `${file.name} has ${megabytes(file.size)}; ${megabytes(gallery.max_bytes)} are taken at most.`);
      return;
    }
    this.file = file;
    this.face = 0;
    const whole = $(".whole", this.root);
    URL.revokeObjectURL(whole.src);
    whole.src = URL.createObjectURL(file);
    whole.alt = `The photo ${file.name}`;
    $(".drop", this.root).hidden = true;
    $(".photo", this.root).hidden = false;
    this.forget();
    this.onChange();
  }

  /** Show no faces, as none are known of this photo. */
  forget() {
    $(".faces", this.root).replaceChildren();
    $(".crop", this.root).hidden = true;
    $(".facts", this.root).textContent = this.file.name;
  }

  set busy(busy) {
    this.root.classList.toggle("busy", busy);
    this.root.setAttribute("aria-busy", busy);
  }

  show(answer) {
    const faces = $(".faces", this.root);
    faces.setAttribute("viewBox", `0 0 ${answer.width} ${answer.height}`);
    faces.replaceChildren(...answer.faces.map((face, index) => this.mark(face, index, answer)));
    const crop = $(".crop", this.root);
    crop.src = answer.crop;
    crop.hidden = false;
    const number = answer.faces.length;
    const which = number === 1 ? "Its only face" : answer.face === 0
      ? `The largest of ${number} faces` : `Face ${answer.face + 1} of ${number}, by size`;
    const sure = answer.faces[answer.face].score.toFixed(3);
    const others = number === 1 ? "" : " Choose another on the photo.";
    $(".facts", this.root).textContent =
      `${this.file.name}, ${answer.width} × ${answer.height} pixels. ${which}, detected with a score of ${sure}.${others}`;
  }

  mark(face, index, answer) {
    const [left, top, right, bottom] = face.box;
    const box = { x: left, y: top, width: right - left, height: bottom - top, rx: (right - left) / 14 };
    const chosen = index === answer.face;
    const made = drawn("g", { class: chosen ? "face chosen" : "face" },
      drawn("rect", { class: "shade", ...box }), drawn("rect", { class: "edge", ...box }),
      ...face.landmarks.map(([cx, cy]) => drawn("circle", { cx, cy, r: (right - left) / 45 })));
    if (chosen) return made;
    made.setAttribute("role", "button");
    made.setAttribute("tabindex", "0");
    made.setAttribute("aria-label", `Look at face ${index + 1} of ${answer.faces.length}`);
    const choose = () => {
      this.face = index;
      this.onChange();
    };
    made.addEventListener("click", choose);
    made.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
    return made;
  }
}

// --- who is this? ------------------------------------------------------------------

const who = new Slot("who", lookUp);
$("#who .slots").append(who.root);
const enrollForm = $("#who .enroll");
let latest = 0;

async function lookUp() {
  const turn = ++latest;
  const place = $("#who .answer");
  enrollForm.hidden = true;
  who.busy = true;
  await attempt("who", async () => {
    try {
      const answer = await ask("POST", "search", { photo: who.file, face: who.face, k: 6, by: "best" });
      if (turn !== latest) return;
      who.show(answer);
      place.replaceChildren(...matchesOf(answer));
      prepareEnrolling(answer);
    } catch (error) {
      if (turn !== latest) return;
      who.forget();
      place.replaceChildren();
      throw error;
    }
  });
  if (turn === latest) who.busy = false;
}

function matchesOf(answer) {
  const headline = element("h2", { className: "headline" });
  if (!answer.matches.length) headline.textContent = "Nobody is enrolled yet";
  else if (answer.known === null) headline.textContent = `Most like ${answer.matches[0].name}`;
  else if (answer.known) headline.textContent = `This is ${answer.name}`;
  else headline.textContent = "Nobody who is enrolled";
  if (answer.known) headline.classList.add("same");
  if (!answer.matches.length) return [headline];
  const shown = [headline, element("p", { className: "rule soft", textContent: ruleInWords(answer) })];
  const list = element("ol");
  const card = element("div", { className: "matches" });
  if (answer.threshold !== null) {
    const mark = element("span", { textContent: `threshold ${answer.threshold.toFixed(3)}` });
    const scale = element("div", { className: "scale" }, element("span"),
      element("div", { className: "mark" }, atThreshold(mark, answer.threshold)),
      element("b", { textContent: "cosine" }));
    scale.setAttribute("aria-hidden", "true");
    card.append(scale);
  }
  for (const match of answer.matches) {
    const name = element("div", { className: "who" }, element("b", { textContent: match.name }),
      element("small", {}, ...breakable(match.source)));
    const cosine = element("div", { className: "cosine", textContent: match.cosine.toFixed(3) });
    list.append(element("li", { className: verdict(match.same) }, name,
      gauge(match.cosine, answer.threshold), cosine));
  }
  card.append(list);
  return [...shown, card];
}

function prepareEnrolling(answer) {
  enrollForm.hidden = !gallery?.writable;
  $("#enroll-name").value = answer.known ? answer.name : "";
  $(".done", enrollForm).replaceChildren();
}

$("#enroll-name").addEventListener("input", (event) => attempt("who", async () => {
  const like = encodeURIComponent(event.target.value);
  const { people } = await ask("GET", `people?limit=8&like=${like}`);
  $("#known-names").replaceChildren(...people.map(({ name }) => element("option", { value: name })));
}));

enrollForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const done = $(".done", enrollForm);
  const button = $("button.main", enrollForm);
  button.disabled = true;
  attempt("who", async () => {
    const name = $("#enroll-name").value;
    const answer = await ask("POST", "photos", { photo: who.file, face: who.face, name })
      .finally(() => { button.disabled = false; });
    if (answer.was_known) {
      done.textContent = `This photo of ${answer.name} was enrolled already.`;
    } else {
      const undo = element("button", { type: "button", className: "small", textContent: "Undo" });
      undo.addEventListener("click", () => attempt("who", async () => {
        await ask("DELETE", `photos/${encodeURIComponent(answer.id)}`);
        done.textContent = "Undone.";
        await refresh();
      }));
      done.replaceChildren(`Enrolled as ${answer.name}. `, undo);
    }
    await refresh();
  });
});

// --- same person? ------------------------------------------------------------------

const pair = [new Slot("same", compare), new Slot("same", compare)];
$("#same .slots").append(...pair.map((slot) => slot.root));
let latestPair = 0;

async function compare() {
  const turn = ++latestPair;
  const place = $("#same .answer");
  const [first, second] = pair;
  if (!first.file || !second.file) {
    place.replaceChildren(...sameHint(first.file || second.file));
    return;
  }
  for (const slot of pair) slot.busy = true;
  await attempt("same", async () => {
    try {
      const answer = await ask("POST", "verify", {
        first: first.file, second: second.file, first_face: first.face, second_face: second.face,
      });
      if (turn !== latestPair) return;
      first.show(answer.first);
      second.show(answer.second);
      place.replaceChildren(...comparisonOf(answer));
    } catch (error) {
      if (turn !== latestPair) return;
      for (const slot of pair) slot.forget();
      place.replaceChildren();
      throw error;
    }
  });
  if (turn === latestPair) for (const slot of pair) slot.busy = false;
}

function sameHint(hasOne) {
  const text = hasOne
    ? "And another photo, to compare it with."
    : "Give me two photos, and I say whether their largest faces are of one person.";
  return [element("p", { className: "hint soft", textContent: text })];
}
$("#same .answer").append(...sameHint(false));

function comparisonOf(answer) {
  const words = answer.same === null ? "No threshold is set" : answer.same ? "The same person" : "Different people";
  const headline = element("h2", { className: `headline ${verdict(answer.same)}`, textContent: words });
  const scale = element("div", { className: `single ${verdict(answer.same)}` }, gauge(answer.cosine, answer.threshold),
    element("div", { className: "cosine", textContent: answer.cosine.toFixed(3) }));
  const rule = answer.threshold === null
    ? "The cosine says how alike the two faces are; nobody has set where one person ends."
    : ruleInWords(answer);
  return [headline, scale, element("p", { className: "rule soft", textContent: rule })];
}

// --- people ------------------------------------------------------------------------

const like = $("#like");
like.addEventListener("input", () => attempt("people", listPeople));

async function listPeople() {
  const asked = like.value;
  const { num_people, people } = await ask("GET", `people?limit=100&like=${encodeURIComponent(asked)}`);
  if (asked !== like.value) return;
  const more = num_people > people.length ? `, of which the first ${people.length} are shown` : "";
  $("#people .count").textContent = count(num_people, "person", "people") + more;
  $("#people .people").replaceChildren(...people.map(personRow));
}

function personRow({ name, num_faces }) {
  const entries = element("ul", { className: "entries" });
  const row = element("details", {}, element("summary", {}, element("b", { textContent: name }),
    element("span", { textContent: count(num_faces, "face", "faces") })), entries);
  row.addEventListener("toggle", () => {
    if (row.open && !entries.children.length) attempt("people", () => listPhotos(name, entries));
  });
  return element("li", {}, row);
}

async function listPhotos(name, place) {
  const entries = await ask("GET", `photos?name=${encodeURIComponent(name)}`);
  place.replaceChildren(...entries.map((entry) => {
    const added = new Date(entry.added).toLocaleDateString(undefined, { dateStyle: "medium" });
    const known = Object.entries(entry.fields).map(([key, value]) => ` · ${key}: ${value}`).join("");
    const row = element("li", {}, element("div", {}, ...breakable(entry.source), element("br"),
      element("small", { textContent: `since ${added}${known}` })));
    if (gallery?.writable) {
      row.append(removing("Remove", `Remove ${entry.source} of ${name} from the gallery?`,
        `photos/${encodeURIComponent(entry.id)}`));
    }
    return row;
  }));
  if (gallery?.writable && entries.length > 1) {
    const all = `Remove all ${entries.length} faces of ${name} from the gallery?`;
    place.append(element("li", {}, element("div"),
      removing(`Remove all ${entries.length}`, all, `people?name=${encodeURIComponent(name)}`)));
  }
}

function removing(label, question, address) {
  const button = element("button", { type: "button", className: "small danger", textContent: label });
  button.addEventListener("click", () => attempt("people", async () => {
    if (!(await confirmed(question))) return;
    await ask("DELETE", address);
    await refresh();
    await listPeople();
  }));
  return button;
}

// --- the page ----------------------------------------------------------------------

async function refresh() {
  gallery = await ask("GET", "gallery");
  $("#gallery-name").textContent = gallery.name;
  document.title = `${gallery.name} · facever gallery`;
  const facts = [count(gallery.num_faces, "face", "faces") + " of " + count(gallery.num_people, "person", "people")];
  if (gallery.threshold !== null) facts.push(`threshold ${gallery.threshold.toFixed(3)}`);
  if (!gallery.writable) facts.push("only looked at");
  $("#gallery-facts").textContent = facts.join(" · ");
  for (const place of document.querySelectorAll(".limits")) {
    place.textContent = `JPEG, PNG, WebP, AVIF, GIF or BMP, up to ${gallery.max_bytes / 1e6} MB and ${(gallery.max_pixels / 1e6).toLocaleString("en")} million pixels`;
  }
}

const shown = () => panels.find((panel) => !$(`#${panel}`).hidden);

function open(panel) {
  for (const other of panels) {
    const chosen = other === panel;
    const tab = $(`#tab-${other}`);
    $(`#${other}`).hidden = !chosen;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  if (panel === "people") attempt("people", listPeople);
}

for (const panel of panels) {
  const tab = $(`#tab-${panel}`);
  tab.addEventListener("click", () => open(panel));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = panels[(panels.indexOf(panel) + step + panels.length) % panels.length];
    open(next);
    $(`#tab-${next}`).focus();
  });
}

/** Put files where they were dropped, or into the first place that is free. */
function receive(files, target) {
  const slots = { who: [who], same: pair, people: [] }[shown()];
  if (!slots.length || !files.length) return;
  const under = slots.findIndex((slot) => slot.root.contains(target));
  const free = slots.findIndex((slot) => !slot.file);
  const start = files.length > 1 ? 0 : Math.max(0, under >= 0 ? under : free);
  [...files].slice(0, slots.length - start).forEach((file, index) => slots[start + index].take(file));
}

addEventListener("dragover", (event) => {
  event.preventDefault();
  for (const slot of [who, ...pair]) {
    slot.root.classList.toggle("over", slot === who || slot.root.contains(event.target));
  }
});
function leave() {
  for (const slot of [who, ...pair]) slot.root.classList.remove("over");
}
addEventListener("dragleave", (event) => { if (!event.relatedTarget) leave(); });
addEventListener("drop", (event) => {
  event.preventDefault();
  leave();
  receive(event.dataTransfer.files, event.target);
});
addEventListener("paste", (event) => receive(event.clipboardData.files, null));

attempt("who", refresh);
