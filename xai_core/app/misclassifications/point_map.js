// The points of a map on a canvas, the outlines drawn over them, and the keys. See point_map.py for what is sent and received.

const QUIET = "#7b8794"; // of outlines and of the cross: at least 3:1 on light and on dark
const EDGE = { left: 34, right: 12, top: 12, bottom: 24 }; // pixels around the points, where the axes' numbers are
const NEAR = 10; // pixels from a point within which it is meant
const CLICK = 4; // pixels: what moves less is no drag
const STEP = 12; // pixels that an arrow key moves the cross
const FARTHEST = 1, CLOSEST = 20; // zoom
const VERTICES = 48, ALL_VERTICES = 240; // of one outline, and of all: they are part of the address
const UNIT = 10000; // steps of an outline's coordinates in one unit of the map
const maps = new WeakMap();

// Outlines as text: the coordinates of one joined by "_", outlines by "~".
const written = outlines => outlines.map(outline => outline.flat().join("_")).join("~");
const read = text => text ? text.split("~").map(outline => {
  const numbers = outline.split("_").map(Number);
  return numbers.filter((_, place) => place % 2 === 0).map((x, place) => [x, numbers[2 * place + 1]]);
}) : [];

// Whether a place is inside an outline: a ray from it crosses the outline an odd number of times.
function inside(x, y, outline) {
  let odd = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [ax, ay] = outline[i], [bx, by] = outline[j];
    if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

// Douglas and Peucker (1973): the vertices of a line that are needed to stay within `most` of it.
function simplified(line, most) {
  const [first, last] = [line[0], line.at(-1)];
  const length = Math.hypot(last[0] - first[0], last[1] - first[1]);
  let far = 0, where = 0;
  for (let i = 1; i < line.length - 1; i++) {
    const [x, y] = line[i];
    const distance = length
      ? Math.abs((last[0] - first[0]) * (first[1] - y) - (first[0] - x) * (last[1] - first[1])) / length
      : Math.hypot(x - first[0], y - first[1]);
    if (distance > far) [far, where] = [distance, i];
  }
  if (far <= most) return [first, last];
  return [...simplified(line.slice(0, where + 1), most).slice(0, -1), ...simplified(line.slice(where), most)];
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties); // texts become text, never HTML
  made.append(...children);
  return made;
}

function made(parent) {
  const root = parent.querySelector(".point-map");
  const part = name => root.querySelector(`.${name}`);
  const plot = part("plot"), tip = part("tip");
  const pictures = new Map(); // by path: the small picture of a point, once it has been asked for
  let send = {};
  let address = ""; // of the points that are shown
  let points = null;
  let outlines = [], chosen = null; // whether each point is in an outline; null where there is none
  let sent = 0; // events; the page repeats the number of the last one that it knows
  let view = null; // the part of the map that is seen: left, right, bottom, top
  let size = { width: 0, height: 0 };
  let tool = "lasso";
  let drag = null; // what is being drawn or moved
  let fingers = new Map();
  let cross = null, corner = null; // of the keyboard, in pixels and on the map
  let shown = -1; // the point whose tooltip is seen
  let asking = 0;

  const base = () => location.origin + location.pathname.replace(/\/+$/, "");
  const say = words => { part("status").textContent = words; };
  const across = x => EDGE.left + (x - view.left) / (view.right - view.left) * (size.width - EDGE.left - EDGE.right);
  const up = y => size.height - EDGE.bottom - (y - view.bottom) / (view.top - view.bottom) * (size.height - EDGE.top - EDGE.bottom);
  const onMap = ([x, y]) => [
    view.left + (x - EDGE.left) / (size.width - EDGE.left - EDGE.right) * (view.right - view.left),
    view.bottom + (size.height - EDGE.bottom - y) / (size.height - EDGE.top - EDGE.bottom) * (view.top - view.bottom),
  ];
  const whole = () => ({ left: points.limits[0][0], right: points.limits[0][1], bottom: points.limits[1][0], top: points.limits[1][1] });
  const zoom = () => (points.limits[0][1] - points.limits[0][0]) / (view.right - view.left);

  // ---- drawing ----
  const stamps = new Map(); // by colour, shape and size: a small canvas
  function stamp(colour, wrong, radius, scale) {
    const key = `${colour} ${wrong} ${radius} ${scale}`;
    if (stamps.has(key)) return stamps.get(key);
    const side = Math.ceil((2 * radius + 3) * scale);
    const canvas = element("canvas", { width: side, height: side });
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.translate(side / scale / 2, side / scale / 2);
    pen.beginPath();
    if (wrong) {
      pen.moveTo(0, -radius * 1.2);
      pen.lineTo(radius * 1.1, radius * 0.85);
      pen.lineTo(-radius * 1.1, radius * 0.85);
      pen.closePath();
    } else pen.arc(0, 0, radius, 0, 2 * Math.PI);
    pen.fillStyle = colour;
    pen.fill();
    pen.lineWidth = 0.5;
    pen.strokeStyle = QUIET;
    pen.stroke();
    stamps.set(key, canvas);
    return canvas;
  }

  let planned = false;
  function draw() {
    if (planned || !points || !size.width) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; drawPoints(); drawOutlines(); drawTicks(); });
  }

  function prepared(name) {
    const canvas = part(name), scale = devicePixelRatio || 1;
    const width = Math.round(size.width * scale), height = Math.round(size.height * scale);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, size.width, size.height);
    return [pen, scale];
  }

  function drawPoints() {
    const [pen, scale] = prepared("points");
    const radius = points.x.length > 3000 ? 2.7 : 3.7;
    for (const inChoice of chosen ? [false, true] : [true]) { // what is chosen lies above; points come with the wrong ones last
      pen.globalAlpha = inChoice ? 0.85 : 0.18;
      for (let i = 0; i < points.x.length; i++) {
        if (chosen && Boolean(chosen[i]) !== inChoice) continue;
        const x = across(points.x[i]), y = up(points.y[i]);
        if (x < -9 || y < -9 || x > size.width + 9 || y > size.height + 9) continue;
        const image = stamp(points.colours[points.colour[i]] ?? QUIET, points.wrong[i], radius, scale);
        pen.drawImage(image, x - image.width / scale / 2, y - image.height / scale / 2, image.width / scale, image.height / scale);
      }
    }
  }

  function drawOutlines() {
    const [pen] = prepared("drawn");
    pen.lineWidth = 2;
    pen.strokeStyle = QUIET;
    pen.setLineDash([5, 4]);
    const shapes = outlines.map(outline => outline.map(([x, y]) => [across(x / UNIT), up(y / UNIT)]));
    if (drag?.line && drag.moved) shapes.push(drag.tool === "box" ? rectangle(drag.line[0], drag.line.at(-1)) : drag.line);
    if (corner && cross) shapes.push(rectangle([across(corner[0]), up(corner[1])], cross));
    for (const shape of shapes) {
      pen.beginPath();
      shape.forEach(([x, y], place) => place ? pen.lineTo(x, y) : pen.moveTo(x, y));
      pen.closePath();
      pen.stroke();
    }
    pen.setLineDash([]);
    if (cross && plot.matches(":focus")) {
      const [x, y] = cross;
      pen.beginPath();
      pen.moveTo(x - 12, y); pen.lineTo(x + 12, y); pen.moveTo(x, y - 12); pen.lineTo(x, y + 12);
      pen.stroke();
    }
    if (shown >= 0) {
      pen.beginPath();
      pen.arc(across(points.x[shown]), up(points.y[shown]), 7, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  const rectangle = ([a, b], [c, d]) => [[a, b], [c, b], [c, d], [a, d]];

  // Round numbers within an axis' part that is seen, or the names of its values.
  function ticksOf(axis, from, to) {
    if (axis.ticks) return axis.ticks.filter(([at]) => at >= from && at <= to);
    const value = at => axis.low + (at + 1) / 2 * (axis.high - axis.low);
    const [low, high] = [value(from), value(to)];
    if (!(high > low)) return [];
    const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find(times => times * power >= rough);
    const ticks = [];
    for (let number = Math.ceil(low / step) * step; number <= high + step / 1e6; number += step)
      ticks.push([2 * (number - axis.low) / (axis.high - axis.low) - 1, String(Number(number.toPrecision(4)) || 0)]);
    return ticks;
  }

  function drawTicks() {
    const spans = [];
    const [first, second] = points.axes;
    for (const [at, text] of ticksOf(first, view.left, view.right))
      spans.push(element("span", { className: "across", style: `left: ${across(at)}px`, textContent: text }));
    for (const [at, text] of ticksOf(second, view.bottom, view.top))
      spans.push(element("span", { className: "up", style: `top: ${up(at)}px`, textContent: text }));
    spans.push(element("span", { className: "title", style: "right: 14px; bottom: 20px", textContent: first.title && `${first.title} →` }));
    spans.push(element("span", { className: "title", style: "left: 36px; top: 4px", textContent: second.title && `↑ ${second.title}` }));
    part("ticks").replaceChildren(...spans);
  }

  // ---- the choice ----
  function mark() {
    chosen = null;
    if (outlines.length && points) {
      chosen = new Uint8Array(points.x.length);
      for (let i = 0; i < chosen.length; i++)
        chosen[i] = outlines.some(outline => inside(points.x[i] * UNIT, points.y[i] * UNIT, outline));
    }
    part("clear").disabled = !outlines.length;
    plot.dataset.chosen = chosen ? chosen.reduce((sum, one) => sum + one, 0) : "";
    draw();
  }

  function choose(next, words = "") {
    outlines = next;
    mark();
    say(words || (chosen ? `${plot.dataset.chosen} of the ${chosen.length} points chosen.` : "Nothing is chosen."));
    send.chosen({ outlines: written(outlines), number: ++sent });
  }

  function add(line, box, more) {
    let outline = box ? rectangle(line[0], line.at(-1)) : line;
    for (let most = 1; !box && (outline = simplified([...line, line[0]], most).slice(0, -1)).length > VERTICES; most *= 1.5);
    outline = outline.map(onMap).map(place => place.map(number => Math.round(number * UNIT)));
    const next = more ? [...outlines, outline] : [outline];
    if (next.flat().length > ALL_VERTICES) return say("The choice has too many outlines. Clear it, or begin a new one without Shift.");
    choose(next);
  }

  // ---- looking at a point ----
  function nearest(x, y) {
    let best = -1, least = NEAR ** 2;
    for (let i = 0; i < points.x.length; i++) {
      const distance = (across(points.x[i]) - x) ** 2 + (up(points.y[i]) - y) ** 2;
      if (distance <= least) [best, least] = [i, distance];
    }
    return best;
  }

  function look(place, speak = false) {
    if (place === shown) return;
    shown = place;
    plot.classList.toggle("over", place >= 0);
    clearTimeout(asking);
    drawOutlines();
    tip.hidden = place < 0;
    if (place < 0) return;
    const [path, verdict] = [points.path[place], points.wrong[place] ? "✗ wrong" : "✓ right"];
    const lines = [
      path, `${verdict}, true: ${points.true[place]}`,
      `predicted: ${points.predicted[place]} ${Math.round(100 * points.confidence[place])}%`,
      `${points.title}: ${points.value[place] ?? "(unknown)"}`,
    ];
    tip.replaceChildren(...(pictures.get(path) ? [pictures.get(path)] : []), ...lines.map(text => element("div", { textContent: text })));
    put();
    if (speak) say(lines.join(", "));
    if (!pictures.has(path)) asking = setTimeout(() => send.asked(path), 120);
  }

  function put() {
    const x = across(points.x[shown]), y = up(points.y[shown]);
    tip.style.left = `${x > size.width / 2 ? Math.max(2, x - tip.offsetWidth - 12) : Math.min(x + 12, size.width - tip.offsetWidth - 2)}px`;
    tip.style.top = `${Math.max(2, Math.min(y - tip.offsetHeight / 2, size.height - tip.offsetHeight - 2))}px`;
  }

  function open(place) {
    if (place >= 0) send.opened(points.path[place]);
  }

  // ---- zoom and pan ----
  function zoomAt(x, y, times) {
    const target = Math.min(CLOSEST, Math.max(FARTHEST, zoom() * times)), factor = zoom() / target;
    const [mx, my] = onMap([x, y]);
    view = within({
      left: mx - (mx - view.left) * factor, right: mx + (view.right - mx) * factor,
      bottom: my - (my - view.bottom) * factor, top: my + (view.top - my) * factor,
    });
    look(-1);
    draw();
  }

  // A part of the map that does not lie outside it.
  function within(part) {
    const all = whole();
    const shift = (low, high, least, most) => Math.max(0, least - low) - Math.max(0, high - most);
    const dx = shift(part.left, part.right, all.left, all.right), dy = shift(part.bottom, part.top, all.bottom, all.top);
    return { left: part.left + dx, right: part.right + dx, bottom: part.bottom + dy, top: part.top + dy };
  }

  function move(dx, dy) {
    const x = dx / (size.width - EDGE.left - EDGE.right) * (view.right - view.left);
    const y = dy / (size.height - EDGE.top - EDGE.bottom) * (view.top - view.bottom);
    view = within({ left: view.left - x, right: view.right - x, bottom: view.bottom + y, top: view.top + y });
    draw();
  }

  // ---- pointer ----
  const place = event => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left - plot.clientLeft, event.clientY - box.top - plot.clientTop];
  };

  plot.addEventListener("pointerdown", event => {
    if (!points || event.button) return;
    plot.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    look(-1);
    drag = fingers.size > 1 ? { tool: "pinch" } : { tool, line: [place(event)], moved: false, more: event.shiftKey };
  });
  plot.addEventListener("pointermove", event => {
    if (!points) return;
    const at = place(event);
    if (!drag) return look(nearest(...at));
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (drag.tool === "pinch") {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(entry => entry[1]);
      fingers.set(event.pointerId, at);
      if (!other) return;
      const spread = from => Math.hypot(from[0] - other[0], from[1] - other[1]) || 1;
      zoomAt((at[0] + other[0]) / 2, (at[1] + other[1]) / 2, spread(at) / spread(before));
      move((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
      return;
    }
    if (Math.hypot(at[0] - drag.line[0][0], at[1] - drag.line[0][1]) >= CLICK) drag.moved = true;
    if (drag.tool === "move") {
      fingers.set(event.pointerId, at);
      if (drag.moved) move(at[0] - before[0], at[1] - before[1]);
      return;
    }
    const last = drag.line.at(-1);
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) < 2) return;
    drag.line = drag.tool === "box" ? [drag.line[0], at] : [...drag.line, at];
    drawOutlines();
  });
  plot.addEventListener("pointerup", event => {
    fingers.delete(event.pointerId);
    const done = drag;
    if (!fingers.size) drag = null;
    if (!done || done.tool === "pinch") return;
    if (!done.moved) open(nearest(...done.line[0]));
    else if (done.tool !== "move") add(done.line, done.tool === "box", done.more || event.shiftKey);
    draw();
  });
  plot.addEventListener("pointercancel", event => { fingers.delete(event.pointerId); drag = null; draw(); });
  plot.addEventListener("pointerleave", () => { if (!drag && points) look(-1); });
  plot.addEventListener("wheel", event => {
    if (!points || !(event.ctrlKey || event.metaKey)) return; // without, the page is scrolled
    event.preventDefault();
    zoomAt(...place(event), Math.exp(-event.deltaY / 300));
  }, { passive: false });

  // ---- keyboard ----
  const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
  const middle = () => [size.width / 2, size.height / 2];

  function cancel() {
    if (drag) {
      drag = null;
      fingers.clear();
    } else if (corner) corner = null;
    else if (outlines.length) return choose([]);
    draw();
  }

  function act({ key, shiftKey }) {
    if (ARROWS[key]) {
      const [dx, dy] = ARROWS[key], [x, y] = cross ?? middle();
      cross = [Math.min(size.width, Math.max(0, x + dx)), Math.min(size.height, Math.max(0, y + dy))];
      look(nearest(...cross), true);
      return drawOutlines();
    }
    cross ??= middle();
    if (key === "Enter") return open(nearest(...cross));
    if (key === "+" || key === "=") return zoomAt(...cross, 1.5);
    if (key === "-") return zoomAt(...cross, 1 / 1.5);
    if (key === "0") return fit();
    if (!corner) {
      corner = onMap(cross);
      say("A box begins here. Move with the arrow keys, then press Space again.");
    } else {
      const from = [across(corner[0]), up(corner[1])];
      corner = null;
      add([from, cross], true, shiftKey);
    }
    drawOutlines();
  }

  plot.addEventListener("keydown", event => {
    if (!points || event.altKey || event.metaKey || event.ctrlKey) return;
    if (!ARROWS[event.key] && !["Enter", " ", "+", "=", "-", "0"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    act(event);
  });
  root.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !points) return;
    event.stopPropagation();
    cancel();
  });
  // A drag does not give the focus to an element that is captured; Escape and the keys then count for the map.
  plot.addEventListener("pointerdown", () => plot.focus({ preventScroll: true }));
  plot.addEventListener("blur", () => { if (points) drawOutlines(); });

  function fit() {
    view = whole();
    look(-1);
    draw();
  }

  const tools = [...root.querySelectorAll("[data-tool]")];
  function take(button, focus) {
    tool = button.dataset.tool;
    for (const one of tools) {
      one.setAttribute("aria-checked", String(one === button));
      one.tabIndex = one === button ? 0 : -1;
    }
    plot.classList.toggle("move", tool === "move");
    if (focus) button.focus();
  }
  for (const button of tools) {
    button.addEventListener("click", () => take(button));
    button.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      take(tools[(tools.indexOf(button) + step + tools.length) % tools.length], true);
    });
  }
  part("closer").addEventListener("click", () => points && zoomAt(...middle(), 1.5));
  part("farther").addEventListener("click", () => points && zoomAt(...middle(), 1 / 1.5));
  part("whole").addEventListener("click", () => points && fit());
  part("clear").addEventListener("click", () => { choose([]); plot.focus(); });

  new ResizeObserver(() => {
    size = { width: plot.clientWidth, height: plot.clientHeight };
    cross = corner = null;
    draw();
  }).observe(plot);

  // ---- what comes from the page ----
  function legend() {
    const swatch = (colour, text) => element("span", {}, element("i", { style: `background: ${colour}` }), text);
    const entries = [element("span", {}, element("strong", { textContent: points.title }))];
    if (points.texts) entries.push(...points.texts.map((text, place) => swatch(points.colours[place], text)));
    else {
      const bar = element("i", { className: "bar", style: `background: linear-gradient(to right, ${points.colours.join(",")})` });
      entries.push(element("span", {}, points.ends[0], bar, points.ends[1]));
      if (points.colour.includes(-1)) entries.push(swatch(QUIET, "unknown"));
    }
    entries.push(element("span", { textContent: "● right" }), element("span", { textContent: "▲ wrong" }));
    part("legend").replaceChildren(...entries);
  }

  async function receive(data) {
    if (data.number >= sent) {
      sent = data.number;
      if (written(outlines) !== data.outlines) outlines = read(data.outlines);
    }
    for (const [path, picture] of Object.entries(data.pictures)) {
      if (pictures.get(path)) continue;
      const image = element("img", { src: new URL(`.${picture}`, base()).href, alt: "" });
      pictures.set(path, image);
      image.decode().then(() => {
        if (!points || points.path[shown] !== path) return;
        tip.prepend(image);
        put();
      }, () => pictures.delete(path));
    }
    if (address !== data.points) {
      address = data.points;
      plot.setAttribute("aria-busy", "true");
      const answer = await fetch(new URL(`.${address}`, base()).href);
      if (!answer.ok) {
        address = "";
        return say("The points have not come. Load the page again.");
      }
      const next = await answer.json();
      if (address !== data.points) return; // newer ones have come meanwhile
      const same = points && written(points.limits) === written(next.limits);
      points = next;
      if (!same || !view) view = whole();
      shown = -1;
      tip.hidden = true;
      plot.setAttribute("aria-label", points.label);
      plot.setAttribute("aria-busy", "false");
      legend();
    }
    mark();
  }

  return { receive, connect: sends => { send = sends; } };
}

export default function ({ data, parentElement, setTriggerValue }) {
  if (!maps.has(parentElement)) maps.set(parentElement, made(parentElement));
  const map = maps.get(parentElement);
  map.connect(Object.fromEntries(["chosen", "opened", "asked"].map(name => [name, value => setTriggerValue(name, value)])));
  map.receive(data);
}
