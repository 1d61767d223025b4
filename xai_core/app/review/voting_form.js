// One picture with its maps, the buttons of the verdicts, and the keys. See voting_form.py for what is sent and received.

const SEVERITY_KEYS = ["A", "S", "D", "F"];
const LATE = 10000; // milliseconds without the next picture, after which the person may ask for it again
const KEPT = 60; // loaded pictures
const INSTANCE = `${performance.timeOrigin}-${Math.random()}`;
const forms = new WeakMap();
let sent = 0; // events of this page; a number is never used twice

// An element with properties; texts become text, never HTML.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function keyed(key, words, press, name = "") {
  const button = element(
    "button", { type: "button", className: name, "aria-keyshortcuts": key },
    element("kbd", { "aria-hidden": "true" }, key === "ArrowLeft" ? "←" : key === "ArrowRight" ? "→" : key),
    element("span", {}, words),
  );
  button.addEventListener("click", event => {
    if (event.detail) button.blur(); // clicked, not pressed by a key: Enter goes on then, it does not press it again
    press(key);
  });
  return button;
}

function made(parent) {
  const root = parent.querySelector(".voting");
  const part = name => root.querySelector(`.${name}`);
  const pictures = new Map(); // by address: pictures that are loaded or being loaded
  let send = () => {};
  let shown = null; // what the person sees; every key counts for its picture
  let latest = null; // what the server has sent last
  let waits = true; // for a picture that is not painted yet
  let since = 0;
  let waiting = []; // events that the server has not confirmed
  let buttons = [];
  let builtFor = "";

  const say = words => { part("status").textContent = words; };

  function picture(address) {
    const known = pictures.get(address) ?? element("img", { src: new URL(`.${address}`, base()).href, decoding: "sync" });
    pictures.delete(address);
    pictures.set(address, known);
    for (const old of pictures.keys()) {
      if (pictures.size <= KEPT) break;
      pictures.delete(old);
    }
    return known;
  }

  // The page's address without its name: the app may be served below a path.
  const base = () => location.origin + location.pathname.replace(/\/+$/, "");

  function push(event) {
    waiting.push({ number: ++sent, position: shown.position, version: shown.version, ...event });
    send({ instance: INSTANCE, events: waiting });
  }

  function change(name, value, key) {
    if (waits) return say(`The picture is being loaded: key ${key} was not counted.`);
    push({ [name]: value });
    say(name === "verdict" || shown.saved ? "Saving…" : "");
    update();
  }

  function go(to) {
    const late = performance.now() - since > LATE;
    if (waits && !late) return say("The picture is being loaded.");
    if (shown.movedBy) { // the page does not show it yet
      if (late) send({ instance: INSTANCE, events: waiting });
      return say("The next picture is being loaded.");
    }
    if (!shown.to[to]) return;
    push({ go: to });
    const next = shown.ahead;
    if (next?.by.includes(to) && next.pictures.every(entry => isLoaded(picture(entry.address)))) showAhead(next);
    else wait();
  }

  // The next picture before the page shows it. Its verdict counts; the fields below are those of the picture before, and hide.
  function showAhead(next) {
    since = performance.now();
    shown = { ...shown, ...next, ahead: null, movedBy: sent, to: { previous: false, next: false, on: false } };
    part("pictures").replaceChildren(...shown.pictures.map(figure));
    document.body.classList.add("voting-ahead");
    update();
    say("");
  }

  const isLoaded = image => image.complete && image.naturalWidth;

  function wait() {
    waits = true;
    since = performance.now();
    root.setAttribute("aria-busy", "true");
    const from = since;
    setTimeout(() => { if (waits && since === from) say("The picture has not come yet. Go on again, or load the page again."); }, LATE);
  }

  function build(data) {
    builtFor = JSON.stringify([data.verdicts, data.severities]);
    const verdicts = data.verdicts.map(([id, title, definition], number) => {
      const key = String(number + 1);
      const button = keyed(key, title, () => change("verdict", id, key), `verdict-${number + 1}`);
      button.title = definition;
      return ["verdict", id, button];
    });
    const severities = data.severities.map((name, number) => {
      const key = SEVERITY_KEYS[number];
      return ["severity", number, keyed(key, name, () => change("severity", number, key), "small")];
    });
    const helped = [["Y", "Yes", true], ["N", "No", false]].map(
      ([key, words, value]) => ["map_helped", value, keyed(key, words, () => change("map_helped", value, key), "small")],
    );
    buttons = [...verdicts, ...severities, ...helped];
    part("verdicts").replaceChildren(...verdicts.map(entry => entry[2]));
    part("severities").replaceChildren(...severities.map(entry => entry[2]));
    part("helped").replaceChildren(...helped.map(entry => entry[2]));
    part("definitions").replaceChildren(...data.verdicts.map(([, title, definition], number) => element(
      "tr", {}, element("td", {}, element("kbd", {}, String(number + 1))),
      element("td", {}, element("strong", {}, title), definition ? `: ${definition}` : ""),
    )));
  }

  // The buttons and lines of what is shown, with what was pressed and is not confirmed yet.
  function update() {
    const now = { ...shown };
    for (const event of waiting) if (event.position === shown.position) Object.assign(now, event);
    for (const [name, value, button] of buttons) button.setAttribute("aria-pressed", String(now[name] === value));
    for (const to of ["previous", "next", "on"]) part(to).disabled = !shown.to[to];
    part("heading").textContent = shown.heading;
    part("label").textContent = shown.label;
    part("predicted").textContent = shown.predicted;
    part("of-predicted").hidden = !shown.predicted;
    part("notes").replaceChildren(...shown.notes.map(words => element("p", {}, words)));
    part("how").hidden = !shown.how.length;
    part("how-lines").replaceChildren(...shown.how.map(words => element("p", {}, words)));
    part("helped-group").hidden = !shown.has_maps;
  }

  function figure({ address, alt, caption }) {
    const image = picture(address);
    image.alt = alt;
    const open = element("button", { type: "button", title: "Enlarge" }, image);
    open.addEventListener("click", () => enlarge(image));
    return element("figure", {}, open, element("figcaption", {}, caption));
  }

  function enlarge(image) {
    const dialog = part("large");
    const close = () => { dialog.close(); dialog.replaceChildren(); };
    const button = element("button", { type: "button" }, element("img", { src: image.src, alt: image.alt }));
    button.addEventListener("click", close);
    button.title = "Close";
    dialog.addEventListener("close", () => dialog.replaceChildren(), { once: true });
    dialog.replaceChildren(button);
    dialog.showModal();
  }

  async function receive(data) {
    latest = data;
    if (data.instance === INSTANCE) waiting = waiting.filter(event => event.number > data.done);
    else if (waiting.length) send({ instance: INSTANCE, events: waiting }); // the server has started again
    const isOther = data.position !== shown?.position;
    if (isOther && waiting.some(event => event.number === shown?.movedBy)) return; // of the picture before: it comes late
    if (isOther && !waits) wait();
    const images = data.pictures.map(entry => picture(entry.address));
    const ready = images.every(isLoaded);
    if (!ready) await Promise.all(images.map(image => image.decode().catch(() => {})));
    if (latest !== data) return; // something newer has come meanwhile
    if (builtFor !== JSON.stringify([data.verdicts, data.severities])) build(data);
    if (isOther || JSON.stringify(data.pictures) !== JSON.stringify(shown.pictures))
      part("pictures").replaceChildren(...data.pictures.map(figure));
    const missed = part("status").textContent.includes("not counted");
    shown = data;
    document.body.classList.remove("voting-ahead");
    update();
    if (!waiting.length) {
      waits = false;
      root.removeAttribute("aria-busy");
      if (!missed || !isOther) say("");
    }
    for (const entry of data.ahead?.pictures ?? []) picture(entry.address);
  }

  function pressed(event) {
    if (!root.isConnected) return document.removeEventListener("keydown", pressed, true);
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !shown) return;
    const target = event.target instanceof Element ? event.target : document.body;
    const radio = target.closest("input[type=radio], input[type=checkbox]");
    const field = !radio && target.closest("input, textarea, select, [contenteditable=true]");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (document.querySelector("[role=dialog], dialog[open]")) return;
    const act = action(event, target, radio);
    if (radio && /^[a-z1-9]$/i.test(event.key)) { // a section that was clicked keeps the focus, not the keys
      radio.blur();
      const { key, code } = event;
      if (!act) document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code, bubbles: true }));
    }
    if (!act) return;
    event.preventDefault();
    if (!event.repeat || event.key.startsWith("Arrow")) act();
  }

  // What a key does; nothing where the element that has the focus uses it.
  function action(event, target, radio) {
    const { key } = event;
    if (key === "Enter") return target.closest("button, a, summary, [role=button]") ? null : () => go("on");
    if (key === "ArrowLeft" || key === "ArrowRight") return radio ? null : () => go(key === "ArrowLeft" ? "previous" : "next");
    if (key === "?") return () => part("keys").showModal();
    const [name, value] = buttons.find(([, , button]) =>
      button.getAttribute("aria-keyshortcuts") === key.toUpperCase() && !button.closest("[hidden]")) ?? [];
    return name && (() => change(name, value, key.toUpperCase()));
  }

  part("move").prepend(
    keyed("ArrowLeft", "Previous", () => go("previous"), "previous"), keyed("ArrowRight", "Next", () => go("next"), "next"),
    keyed("Enter", "Go on", () => go("on"), "on"), keyed("?", "Keys", () => part("keys").showModal(), "list"),
  );
  part("on").title = "The next picture without your vote";
  part("keys").querySelector("button").addEventListener("click", () => part("keys").close());
  document.addEventListener("keydown", pressed, true);
  return { receive, connect: sends => { send = sends; } };
}

export default function ({ data, parentElement, setTriggerValue }) {
  if (!forms.has(parentElement)) forms.set(parentElement, made(parentElement));
  const form = forms.get(parentElement);
  form.connect(message => setTriggerValue("events", message));
  form.receive(data);
}
