"use strict";

const $ = (id) => document.getElementById(id);
const uploadBytes = Number(document.body.dataset.uploadBytes);

let file = null;      // of the last search
let answer = null;    // of the last search that succeeded
let selected = 0;     // index into answer.matches
let running = null;   // AbortController of the search under way
let timer = null;

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function pictureAddress(name, size) {
  return `/pictures/${size}/${name.split("/").map(encodeURIComponent).join("/")}`;
}

function score(match) {
  return answer.measure === "Hamming distance" ? String(match.score) : match.score.toFixed(4);
}

function fillFrame(frame, address, text, boxes) {
  const content = address
    ? element("img", { src: address, alt: text, decoding: "async" })
    : element("span", { className: "none", textContent: "no picture" });
  const drawn = boxes.map((box, number) => {
    const made = element("span", { className: `box pair-${number + 1}` }, element("b", { textContent: number + 1 }));
    const share = (value) => `${100 * value}%`;
    Object.assign(made.style, { left: share(box.left), top: share(box.top), width: share(box.width), height: share(box.height) });
    return made;
  });
  frame.replaceChildren(content, ...(address ? drawn : []));
}

function caption(match) {
  return `${match.rank}. ${match.name}, ${answer.measure} ${score(match)}`;
}

function swatch(pair) {
  const made = element("b", { textContent: pair });
  made.style.background = `var(--pair-${pair})`;
  return made;
}

function select(number, focus) {
  selected = number;
  const match = answer.matches[number];
  [...$("matches").querySelectorAll("button")].forEach((button, at) => {
    button.setAttribute("aria-pressed", at === number);
    button.tabIndex = at === number ? 0 : -1;
    if (at === number && focus) button.focus();
  });
  fillFrame($("query"), answer.query.preview, "your photograph", match.regions.map((pair) => pair.query));
  const large = match.has_picture && pictureAddress(match.name, "large");
  fillFrame($("match"), large, match.name, match.regions.map((pair) => pair.match));
  $("match").disabled = !large;
  $("match-caption").textContent = caption(match);
  const lines = match.regions.map((pair, at) => element("li", {},
    swatch(at + 1), ` agreement ${pair.agreement.toFixed(2)}`));
  if (!lines.length) lines.push(element("li", { textContent: "no regions were compared for this match" }));
  $("agreements").replaceChildren(...lines);
  if ($("large").open) fillLarge();
}

function fillLarge() {
  const match = answer.matches[selected];
  fillFrame($("large-frame"), match.has_picture && pictureAddress(match.name, "large"), match.name,
    match.regions.map((pair) => pair.match));
  $("large-caption").textContent = caption(match);
}

function openLarge() {
  if (!answer.matches[selected].has_picture) return;
  fillLarge();
  $("large").showModal();
}

function show() {
  $("matches").replaceChildren(...answer.matches.map((match, number) => {
    const picture = match.has_picture
      ? element("img", { src: pictureAddress(match.name, "small"), alt: "", loading: "lazy", decoding: "async" })
      : element("span", { className: "none", textContent: "no picture" });
    const button = element("button", { type: "button" }, picture,
      element("span", { className: "score" }, element("b", { textContent: match.rank }), element("span", { textContent: score(match) })),
      element("span", { className: "name", textContent: match.name }));
    button.addEventListener("click", () => select(number, true));
    return element("li", {}, button);
  }));
  $("found").hidden = $("comparison").hidden = answer.matches.length === 0;
  if (answer.matches.length) select(0, false);
}

function tell(text) { $("status").textContent = text; }

function refuse(text) {
  $("problem").textContent = text;
  $("problem").hidden = false;
  tell("");
}

function wait() {
  const start = performance.now();
  const chip = document.querySelector("input[name=engine]:checked").value === "rtl";
  const slow = chip ? " The chip is simulated cycle by cycle; its simulator is built before the first photograph." : "";
  const tick = () => tell(`Searching, ${Math.round((performance.now() - start) / 1000)} s.${slow}`);
  tick();
  timer = setInterval(tick, 1000);
  document.body.classList.add("working");
}

function summary() {
  const seconds = (answer.describing_seconds + answer.searching_seconds).toFixed(2);
  const chip = answer.cycles === null ? "" :
    ` The chip took ${answer.cycles.toLocaleString("en")} cycles in ${answer.frames} ${answer.frames === 1 ? "frame" : "frames"}.`;
  const remarks = answer.query.remarks.map((remark) => ` ${remark}.`).join("");
  return `${answer.matches.length} matches for ${answer.query.name} in ${seconds} s.${chip}${remarks}`;
}

async function search() {
  if (running) running.abort();
  clearInterval(timer);
  $("problem").hidden = true;
  if (file.size > uploadBytes) {
    refuse(`${file.name}: upload too large; allowed: at most ${(uploadBytes / 1048576).toFixed(0)} MiB`);
    return;
  }
  const mine = running = new AbortController();
  wait();
  const form = new FormData($("ask"));
  form.append("preview", "1");
  form.append("regions", "100"); // of all matches, as any may be looked at
  form.append("picture", file, file.name);
  try {
    const reply = await fetch("/api/search", { method: "POST", body: form, signal: mine.signal });
    const found = await reply.json();
    if (mine !== running) return;
    clearInterval(timer);
    if (!reply.ok) {
      refuse(found.error);
    } else {
      answer = found;
      show();
      tell(summary());
    }
  } catch (error) {
    if (mine === running) {
      clearInterval(timer);
      refuse(`The server gave no answer (${error.message}).`);
    }
  } finally {
    if (mine === running) {
      running = null;
      document.body.classList.remove("working");
    }
  }
}

function take(given) {
  const found = [...given].find((item) => item instanceof File);
  if (!found) {
    refuse("That was no file; drop a photograph from a folder.");
    return;
  }
  file = found;
  $("chosen").textContent = file.name;
  search();
}

$("ask").addEventListener("submit", (event) => event.preventDefault());
$("file").addEventListener("change", () => { if ($("file").files.length) take($("file").files); });
document.querySelectorAll("fieldset input").forEach((input) => input.addEventListener("change", () => { if (file) search(); }));
// Anywhere on the page, as a near miss would otherwise make the browser leave it.
window.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
window.addEventListener("dragleave", () => $("drop").classList.remove("over"));
window.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
window.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function step(event, focus) {
  const last = answer.matches.length - 1;
  let to = null;
  if (event.key in STEPS) to = Math.min(last, Math.max(0, selected + STEPS[event.key]));
  else if (event.key === "Home") to = 0;
  else if (event.key === "End") to = last;
  else return;
  event.preventDefault();
  select(to, focus);
}

$("matches").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    openLarge();
  } else {
    step(event, true);
  }
});
$("match").addEventListener("click", openLarge);
$("large").addEventListener("keydown", (event) => step(event, false));
$("close").addEventListener("click", () => $("large").close());
$("large").addEventListener("click", (event) => { if (event.target === $("large")) $("large").close(); });
