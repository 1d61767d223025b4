// Panels of a picture and its maps, drawn together. See picture_viewer.py for what is sent and received.

const CLOSEST = 16; // zoom
const CLICK = 4; // pixels: what moves less is no drag
const KEPT = 80; // loaded maps
const PAINT = [213, 94, 0, 140]; // Okabe and Ito's vermilion
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TOOLS = { move: "Move", box: "Box", brush: "Brush" };
const KEYS = [
  [["+", "−", "0"], "zoom in, out, the whole picture"],
  [["Ctrl + wheel", "two fingers"], "zoom"],
  [["←", "→", "↑", "↓"], "move the part that is seen"],
  [["Shift + arrows"], "move the cross whose value is read; Ctrl as well: finely"],
];
const DRAWING_KEYS = [
  [["Shift + drag"], "draw a box"],
  [["Space"], "at the cross: begin and end a box, or paint with the brush"],
  [["Esc"], "give the drawing up, or clear it"],
];
const viewers = new WeakMap();
// Streamlit may load this file once for each viewer; what they share is kept by the window.
const shared = window.pictureViewers ??= { groups: new Map(), files: new Map() };

const base = () => location.origin + location.pathname.replace(/\/+$/, "");
const between = (low, value, high) => Math.min(high, Math.max(low, value));
const short = (value, digits = 4) => String(Number(value.toPrecision(digits)));

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties); // texts become text, never HTML
  made.append(...children);
  return made;
}

// What an address holds, loaded once; `read` makes of the answer what is kept.
function loaded(address, read) {
  const known = shared.files.get(address) ?? fetch(new URL(`.${address}`, base()).href).then(answer => {
    if (!answer.ok) throw new Error("not there");
    return read(answer);
  });
  shared.files.delete(address);
  shared.files.set(address, known);
  known.catch(() => shared.files.delete(address));
  for (const old of shared.files.keys()) {
    if (shared.files.size <= KEPT) break;
    shared.files.delete(old);
  }
  return known;
}
const pictureAt = address => loaded(address, async answer => createImageBitmap(await answer.blob()));
const valuesAt = address => loaded(address, async answer => {
  const view = new DataView(await answer.arrayBuffer());
  const values = Float32Array.from({ length: view.byteLength / 4 }, (_, place) => view.getFloat32(4 * place, true));
  return { values, sorted: values.slice().sort() };
});

// ---- what linked panels share ----
function groupOf(name) {
  if (!shared.groups.has(name)) {
    shared.groups.set(name, {
      members: new Set(), id: "", view: { zoom: 1, x: 0.5, y: 0.5 }, cross: null, split: 0, brush: 0.05,
      shares: {}, told: {}, wrote: {}, box: null, painted: null, sent: 0, planned: false,
    });
  }
  return shared.groups.get(name);
}

function drawAll(group, all = true) {
  group.all ||= all;
  if (group.planned) return;
  group.planned = true;
  requestAnimationFrame(() => {
    const everything = group.all;
    group.planned = group.all = false;
    for (const member of group.members) {
      if (member.root.isConnected) member.draw(everything);
      else group.members.delete(member);
    }
  });
}

// Runs of cells, the first of cells that are not painted.
function runsOf(cells) {
  const runs = [];
  let now = 0, length = 0;
  for (const cell of cells) {
    if (cell !== now) { runs.push(length); now = cell; length = 0; }
    length++;
  }
  return [...runs, length];
}
function paintedFrom(sent) {
  if (!sent) return null;
  const cells = new Uint8Array(sent.size[0] * sent.size[1]);
  let place = 0;
  sent.runs.forEach((run, number) => { cells.fill(number % 2, place, place + run); place += run; });
  return { size: sent.size, cells };
}
const painting = painted => painted && painted.cells.includes(1) ? { size: painted.size, runs: runsOf(painted.cells) } : null;

function made(parent) {
  const root = parent.querySelector(".picture-viewer");
  const part = name => root.querySelector(`.${name}`);
  let data = null, group = null, send = () => {};
  let panels = []; // elements and loaded files of each
  let tool = "move", builtTools = "";
  let drag = null, corner = null; // of the keyboard's box
  const fingers = new Map();
  const sizes = new ResizeObserver(() => group && drawAll(group));
  let picture = null, shown = ""; // the loaded picture, and its digest
  const say = words => { part("status").textContent = words; };

  // ---- places: shares of the whole picture, and pixels of a panel ----
  function seen(panel) {
    const [left, top, right, bottom] = panel.frame, [width, height] = data.size, { zoom, x, y } = group.view;
    const across = (right - left) / zoom, down = (bottom - top) / zoom;
    return [
      between(left, x * width - across / 2, right - across) / width, between(top, y * height - down / 2, bottom - down) / height,
      across / width, down / height,
    ];
  }
  function placeOf(event, one) {
    const box = one.frame.getBoundingClientRect(), [x, y, across, down] = seen(one.panel);
    return [x + (event.clientX - box.left) / box.width * across, y + (event.clientY - box.top) / box.height * down];
  }

  function setView(zoom, x, y) {
    zoom = between(1, zoom, CLOSEST);
    const half = 0.5 / zoom;
    group.view = { zoom, x: between(half, x, 1 - half), y: between(half, y, 1 - half) };
    drawAll(group);
  }
  function zoomAt(place, factor, panel) {
    const zoom = between(1, group.view.zoom * factor, CLOSEST), by = group.view.zoom / zoom;
    const [x, y, across, down] = panel ? seen(panel) : [0, 0, 0, 0];
    const middle = panel ? [x + across / 2, y + down / 2] : [group.view.x, group.view.y];
    setView(zoom, place[0] + (middle[0] - place[0]) * by, place[1] + (middle[1] - place[1]) * by);
  }
  const fit = () => setView(1, 0.5, 0.5);
  const middle = () => group.cross ?? [group.view.x, group.view.y];

  // ---- drawing ----
  function position(map, value) {
    const { low, high, signed } = map;
    value = between(low, value, high);
    return signed ? 0.5 + 0.5 * value / Math.max(Math.abs(low), Math.abs(high)) : (value - low) / (high - low);
  }

  function drawn(canvas, frame) {
    const scale = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(frame.clientWidth * scale), height = Math.round(frame.clientHeight * scale);
    if (!width || !height) return null;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    return canvas.getContext("2d", { willReadFrequently: true });
  }

  // As `rendering.overlay` draws it, for each pixel of the panel.
  function paint(one) {
    const pen = picture && drawn(one.canvas, one.frame);
    if (!pen || one.panel.map && !one.values) return;
    const { panel, canvas: { width, height } } = one, { map } = panel;
    const [x0, y0, across, down] = seen(panel);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, x0 * picture.width, y0 * picture.height, across * picture.width, down * picture.height, 0, 0, width, height);
    if (map) {
      const image = pen.getImageData(0, 0, width, height), pixels = image.data;
      const [rows, columns] = map.grid, [left, top, right, bottom] = map.box, { values } = one.values;
      const { opacity, threshold } = group.shares, onlyMap = panel.kind === "map", [pictureWidth, pictureHeight] = data.size;
      const bare = Math.round(group.split * width);
      for (let y = 0; y < height; y++) {
        const v = ((y0 + (y + 0.5) / height * down) * pictureHeight - top) / (bottom - top);
        for (let x = bare; x < width; x++) {
          const u = ((x0 + (x + 0.5) / width * across) * pictureWidth - left) / (right - left), at = 4 * (y * width + x);
          const grey = Math.round(0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2]);
          if (u < 0 || u >= 1 || v < 0 || v >= 1) {
            pixels[at] = pixels[at + 1] = pixels[at + 2] = 0.25 * grey + 180;
            continue;
          }
          let value;
          if (data.smooth) {
            const i = between(0, v * rows - 0.5, rows - 1), j = between(0, u * columns - 0.5, columns - 1);
            const i0 = Math.floor(i), j0 = Math.floor(j), i1 = Math.min(rows - 1, i0 + 1), j1 = Math.min(columns - 1, j0 + 1);
            const upper = values[i0 * columns + j0] * (1 - j + j0) + values[i0 * columns + j1] * (j - j0);
            const lower = values[i1 * columns + j0] * (1 - j + j0) + values[i1 * columns + j1] * (j - j0);
            value = upper * (1 - i + i0) + lower * (i - i0);
          } else value = values[Math.floor(v * rows) * columns + Math.floor(u * columns)];
          const place = position(map, value || 0), colour = 3 * Math.min(255, Math.floor(256 * place));
          const strength = map.signed ? Math.abs(2 * place - 1) : place;
          const alpha = onlyMap ? 1 : strength >= threshold ? Math.sqrt(strength) * opacity : 0;
          for (let k = 0; k < 3; k++) pixels[at + k] = grey + alpha * (one.colours[colour + k] - grey);
        }
      }
      pen.putImageData(image, 0, 0);
    }
    one.frame.setAttribute("aria-busy", "false");
  }

  // The line of before and after, what is drawn, and the cross.
  function mark(one) {
    const pen = drawn(one.marks, one.frame);
    if (!pen) return;
    const { width, height } = one.marks, [x0, y0, across, down] = seen(one.panel), [pictureWidth, pictureHeight] = data.size;
    const scale = width / one.frame.clientWidth;
    const X = share => (share - x0) / across * width, Y = share => (share - y0) / down * height;
    pen.clearRect(0, 0, width, height);
    const line = path => {
      for (const [colour, thick] of [["#000", 3], ["#fff", 1.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = thick * scale;
        pen.stroke(path);
      }
    };
    if (group.painted) {
      const { size: [columns, rows], cells } = group.painted;
      const image = new ImageData(columns, rows), stamp = element("canvas", { width: columns, height: rows });
      cells.forEach((cell, place) => { if (cell) image.data.set(PAINT, 4 * place); });
      stamp.getContext("2d").putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(stamp, x0 * columns, y0 * rows, across * columns, down * rows, 0, 0, width, height);
    }
    const box = drag?.box ?? group.box;
    if (box) {
      const path = new Path2D(), [left, top, right, bottom] = box;
      path.rect(X(left / pictureWidth), Y(top / pictureHeight), (right - left) / pictureWidth / across * width, (bottom - top) / pictureHeight / down * height);
      line(path);
    }
    if (one.panel.map && group.split > 0) {
      const path = new Path2D();
      path.moveTo(group.split * width, 0);
      path.lineTo(group.split * width, height);
      line(path);
    }
    if (group.cross) {
      const [x, y] = [X(group.cross[0]), Y(group.cross[1])], arm = 7 * scale, path = new Path2D();
      for (const [dx, dy] of [[arm, 0], [0, arm]]) { path.moveTo(x - dx, y - dy); path.lineTo(x + dx, y + dy); }
      line(path);
    }
  }

  // ---- the value at the cross ----
  function valueOf(one) {
    const { map } = one.panel;
    if (!map || !one.values || !group.cross) return "";
    const [left, top, right, bottom] = map.box, [rows, columns] = map.grid, [width, height] = data.size;
    const u = (group.cross[0] * width - left) / (right - left), v = (group.cross[1] * height - top) / (bottom - top);
    if (u < 0 || u >= 1 || v < 0 || v >= 1) return "the network did not see this place";
    const row = Math.floor(v * rows), column = Math.floor(u * columns), { values, sorted } = one.values;
    const value = values[row * columns + column];
    let low = 0, high = sorted.length;
    while (low < high) {
      const half = (low + high) >> 1;
      if (sorted[half] < value) low = half + 1; else high = half;
    }
    return `${short(value)} in row ${row + 1}, column ${column + 1}; above ${Math.round(100 * low / sorted.length)}% of the cells`;
  }
  const pixel = () => group.cross && data.size.map((length, axis) => Math.min(length - 1, Math.floor(group.cross[axis] * length)));

  function read() {
    for (const one of panels) if (one.value) one.value.textContent = valueOf(one);
    const at = pixel();
    part("place").textContent = data.bar ? at ? `Pixel ${at[0]}, ${at[1]} of ${data.size[0]} x ${data.size[1]}` : "\u00a0" : "";
  }
  function tell() {
    const values = [];
    for (const member of group.members) if (member.root.isConnected) values.push(...member.values());
    say([`Pixel ${pixel().join(", ")}.`, ...new Set(values)].join(" "));
  }
  function look(place, aloud) {
    group.cross = place && [between(0, place[0], 1 - 1e-9), between(0, place[1], 1 - 1e-9)];
    drawAll(group, false);
    if (aloud && place) tell();
  }

  // ---- drawing by the visitor ----
  const changes = () => {
    group.sent = Math.max(Date.now(), group.sent + 1);
    send("drawn", { picture: data.id, number: group.sent, box: group.box, painted: painting(group.painted) });
    drawAll(group, false);
  };
  function boxOf(from, to) {
    const edges = [0, 1].map(axis => [from[axis], to[axis]].sort((a, b) => a - b).map(share => between(0, Math.round(share * data.size[axis]), data.size[axis])));
    return [edges[0][0], edges[1][0], edges[0][1], edges[1][1]];
  }
  function takeBox(box) {
    if (box[0] >= box[2] || box[1] >= box[3]) return drawAll(group, false);
    group.box = box;
    say(`Box from ${box[0]}, ${box[1]} to ${box[2]}, ${box[3]}.`);
    changes();
  }
  // Paint the cells within the brush's radius of a line.
  function stroke(from, to) {
    const [columns, rows] = data.mask;
    group.painted ??= { size: data.mask, cells: new Uint8Array(columns * rows) };
    const radius = Math.max(0.75, group.brush * Math.max(columns, rows)), { cells } = group.painted;
    const [ax, ay, bx, by] = [from[0] * columns, from[1] * rows, to[0] * columns, to[1] * rows];
    const length = (bx - ax) ** 2 + (by - ay) ** 2;
    const [low, high] = [Math.floor(Math.min(ay, by) - radius), Math.ceil(Math.max(ay, by) + radius)];
    for (let row = Math.max(0, low); row < Math.min(rows, high); row++) {
      for (let column = 0; column < columns; column++) {
        const x = column + 0.5 - ax, y = row + 0.5 - ay;
        const along = length ? between(0, (x * (bx - ax) + y * (by - ay)) / length, 1) : 0;
        if ((x - along * (bx - ax)) ** 2 + (y - along * (by - ay)) ** 2 <= radius ** 2) cells[row * columns + column] = 1;
      }
    }
    drawAll(group, false);
  }
  function clear() {
    group.box = group.painted = null;
    say("Nothing is drawn.");
    changes();
  }

  // ---- pointer ----
  function listen(one) {
    const { frame } = one;
    frame.addEventListener("pointerdown", event => {
      if (event.button) return;
      const box = event.shiftKey && data.tools.includes("box"), does = box ? "box" : tool;
      if (does !== "move" || group.view.zoom > 1) frame.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      frame.focus({ preventScroll: true });
      if (fingers.size > 1) return void (drag = { does: "pinch" });
      const place = placeOf(event, one);
      drag = { does, from: place, last: place, x: event.clientX, y: event.clientY };
      if (does === "brush") stroke(place, place);
    });
    frame.addEventListener("pointermove", event => {
      const place = placeOf(event, one), before = fingers.get(event.pointerId);
      if (!drag || !before) return look(place);
      const at = [event.clientX, event.clientY], { width, height } = frame.getBoundingClientRect();
      const [, , across, down] = seen(one.panel);
      const move = share => setView(
        group.view.zoom, group.view.x - share * (at[0] - before[0]) / width * across, group.view.y - share * (at[1] - before[1]) / height * down,
      );
      fingers.set(event.pointerId, at);
      if (drag.does === "pinch") {
        const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
        if (!other) return;
        const spread = from => Math.hypot(from[0] - other[0], from[1] - other[1]) || 1;
        zoomAt(placeOf({ clientX: (at[0] + other[0]) / 2, clientY: (at[1] + other[1]) / 2 }, one), spread(at) / spread(before), one.panel);
        return move(0.5);
      }
      if (drag.does === "move") return move(1);
      if (drag.does === "brush") stroke(drag.last, place);
      else if (Math.hypot(at[0] - drag.x, at[1] - drag.y) >= CLICK) drag.box = boxOf(drag.from, place);
      drag.last = place;
      look(place);
    });
    const end = event => {
      fingers.delete(event.pointerId);
      const done = drag;
      if (!fingers.size) drag = null;
      if (done?.does === "brush") changes();
      else if (done?.box) takeBox(done.box);
    };
    frame.addEventListener("pointerup", end);
    frame.addEventListener("pointercancel", event => { fingers.delete(event.pointerId); drag = null; drawAll(group, false); });
    frame.addEventListener("pointerleave", () => { if (!drag) look(null); });
    frame.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey) return; // without, the page is scrolled
      event.preventDefault();
      zoomAt(placeOf(event, one), Math.exp(-event.deltaY / 300), one.panel);
    }, { passive: false });
  }

  // ---- keyboard: wherever the focus is in the viewer, but on a slider ----
  root.addEventListener("keydown", event => {
    const on = event.target, { key } = event;
    if (!group || event.altKey || event.metaKey || on.matches("input, [role=radio]") && ARROWS[key]) return;
    const step = ARROWS[key];
    if (step && event.shiftKey) {
      const far = event.ctrlKey ? 1 / Math.max(...data.size) : 0.03 / group.view.zoom, [x, y] = middle();
      look([x + step[0] * far, y + step[1] * far], true);
    } else if (event.ctrlKey) return;
    else if (step) setView(group.view.zoom, group.view.x + 0.15 / group.view.zoom * step[0], group.view.y + 0.15 / group.view.zoom * step[1]);
    else if (key === "+" || key === "=") zoomAt(middle(), 1.5);
    else if (key === "-") zoomAt(middle(), 1 / 1.5);
    else if (key === "0") fit();
    else if (key === " " && on.matches(".frame") && data.tools.length) {
      if (tool === "brush") { stroke(middle(), middle()); changes(); }
      else if (data.tools.includes("box") && corner) { takeBox(boxOf(corner, middle())); corner = null; }
      else if (data.tools.includes("box")) {
        corner = middle();
        look(corner);
        say("A box begins here. Move with Shift and the arrow keys, then press Space again.");
      }
    } else if (key === "Escape" && (drag || corner || data.tools.length && (group.box || group.painted))) {
      if (drag || corner) { drag = corner = null; fingers.clear(); drawAll(group, false); } else clear();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // ---- controls ----
  part("closer").addEventListener("click", () => zoomAt(middle(), 1.5));
  part("farther").addEventListener("click", () => zoomAt(middle(), 1 / 1.5));
  part("fit").addEventListener("click", fit);
  part("clear").addEventListener("click", clear);
  for (const name of ["split", "brush"]) {
    part(name).addEventListener("input", () => { group[name] = Number(part(name).value); drawAll(group); });
  }
  for (const name of ["opacity", "threshold"]) {
    part(name).addEventListener("input", () => { group.shares[name] = Number(part(name).value); drawAll(group); });
    part(name).addEventListener("change", () => {
      (group.wrote[name] ??= new Set()).add(group.shares[name]);
      address();
      send("shares", { ...group.shares });
    });
  }

  // The page's address holds how the maps are shown. The server is told when a slider is let go: files and reports need it.
  function address() {
    const here = new URL(location.href);
    for (const name of Object.keys(group.wrote)) here.searchParams.set(name, String(group.shares[name]));
    if (here.href !== location.href) history.replaceState(history.state, "", here.href);
  }

  function controls() {
    part("bar").hidden = !data.bar;
    for (const label of root.querySelectorAll(".of-maps")) label.hidden = !data.sliders;
    const names = data.tools.length ? ["move", ...data.tools] : [];
    if (builtTools !== names.join()) {
      builtTools = names.join();
      tool = data.tool;
      part("tools").replaceChildren(...names.map(name => {
        const button = element("button", { type: "button", textContent: TOOLS[name] });
        button.setAttribute("role", "radio");
        button.dataset.tool = name;
        button.addEventListener("click", () => { tool = name; corner = null; drawAll(group, false); });
        button.addEventListener("keydown", event => {
          const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
          if (!step || event.shiftKey) return;
          event.preventDefault();
          const next = part("tools").children[(names.indexOf(name) + step + names.length) % names.length];
          next.click();
          next.focus();
        });
        return button;
      }));
      const lines = [...KEYS, ...names.length ? DRAWING_KEYS : []];
      part("keys").replaceChildren(...lines.map(([keys, words]) => element(
        "li", {}, ...keys.flatMap(key => [element("kbd", { textContent: key }), " "]), words,
      )));
    }
    part("tools").hidden = !names.length;
    part("clear").hidden = !names.length || !group.box && !group.painted;
    part("of-brush").hidden = tool !== "brush";
    for (const button of part("tools").children) {
      button.setAttribute("aria-checked", String(button.dataset.tool === tool));
      button.tabIndex = button.dataset.tool === tool ? 0 : -1;
    }
    const shown = { ...group.shares, split: group.split, brush: group.brush };
    for (const [name, value] of Object.entries(shown)) {
      const input = part(name);
      if (Number(input.value) !== value) input.value = value;
      input.nextElementSibling.textContent = name === "opacity" ? value.toFixed(2) : `${Math.round(100 * value)}%`;
    }
    for (const { frame } of panels) {
      frame.classList.toggle("draws", tool !== "move");
      frame.classList.toggle("moves", tool === "move" && group.view.zoom > 1);
    }
  }

  function draw(all) {
    if (!data) return;
    controls();
    for (const one of panels) {
      if (all) paint(one);
      mark(one);
    }
    read();
    root.dataset.view = [group.view.zoom, group.view.x, group.view.y].map(number => short(number)).join(" ");
  }

  const values = () => panels.filter(one => one.value && one.panel.kind === "overlay").map(
    one => `${one.panel.said}: ${valueOf(one)}.`,
  );
  const member = { root, draw, values };

  // ---- what comes from the page ----
  function build() {
    panels = data.panels.map((panel, number) => {
      const old = panels[number];
      const one = old ?? {
        frame: element("div", { className: "frame" }), canvas: element("canvas"), marks: element("canvas"), name: element("p", { className: "name" }),
        scale: element("div", { className: "scale" }), low: element("span"), high: element("span"), value: element("p", { className: "value" }),
      };
      const [left, top, right, bottom] = panel.frame;
      if (!old) {
        one.frame.append(one.canvas, one.marks);
        one.frame.setAttribute("role", "img");
        one.ends = element("div", { className: "ends" }, one.low, one.high);
        one.figure = element("figure", {}, one.name, one.frame, one.scale, one.ends, one.value);
        one.panel = panel;
        listen(one);
        sizes.observe(one.frame);
      }
      if (!old || one.panel.map?.values !== panel.map?.values) {
        one.values = null;
        one.frame.setAttribute("aria-busy", "true");
      }
      one.panel = panel;
      one.name.textContent = panel.name;
      one.name.hidden = !panel.name;
      one.frame.setAttribute("aria-label", panel.alt);
      one.frame.tabIndex = data.bar && !number ? 0 : -1;
      one.frame.style.aspectRatio = `${right - left} / ${bottom - top}`;
      one.figure.style.width = `${data.width}px`;
      one.value.style.minHeight = data.width < 280 ? "2.5em" : ""; // lines of the longest value
      const { map } = panel;
      one.scale.hidden = one.ends.hidden = one.value.hidden = !map;
      if (map) {
        one.colours = Uint8Array.from(atob(map.colours), letter => letter.charCodeAt(0));
        one.low.textContent = short(map.low, 3);
        one.high.textContent = short(map.high, 3);
        const ends = [map.low, map.high].map(value => position(map, value));
        const stops = Array.from({ length: 17 }, (_, step) => {
          const at = 3 * Math.min(255, Math.floor(256 * (ends[0] + (ends[1] - ends[0]) * step / 16)));
          return `rgb(${one.colours.slice(at, at + 3).join(" ")})`;
        });
        one.scale.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      }
      return one;
    });
    // Elements that stay are not moved, which would take the focus from them.
    if (part("panels").childElementCount !== panels.length) part("panels").replaceChildren(...panels.map(one => one.figure));
  }

  async function receive(next) {
    data = next;
    const linked = groupOf(data.linked);
    if (group && group !== linked) group.members.delete(member);
    group = linked;
    group.members.add(member);
    for (const name of ["opacity", "threshold"]) {
      if (group.told[name] === data[name]) continue;
      group.told[name] = data[name];
      if (!group.wrote[name]?.has(data[name])) group.shares[name] = data[name];
    }
    if (shown !== data.id) picture = null;
    shown = data.id;
    if (group.id !== data.id) {
      Object.assign(group, { id: data.id, view: { zoom: 1, x: 0.5, y: 0.5 }, cross: null, box: null, painted: null });
    }
    if (data.number >= group.sent) { // nothing was drawn that the page does not know
      group.sent = data.number;
      group.box = data.box ?? group.box;
      group.painted = paintedFrom(data.painted) ?? group.painted;
    }
    build();
    address();
    const files = [data.picture && pictureAt(data.picture), ...data.panels.map(panel => panel.map && valuesAt(panel.map.values))];
    try {
      const [image, ...maps] = await Promise.all(files);
      if (data !== next) return; // newer ones have come meanwhile
      picture = image;
      panels.forEach((one, number) => { one.values = maps[number]; });
    } catch {
      if (data === next) part("place").textContent = "The picture has not come. Load the page again.";
      return;
    }
    drawAll(group);
  }

  return { receive, connect: sends => { send = sends; } };
}

export default function ({ data, parentElement, setStateValue }) {
  if (!viewers.has(parentElement)) viewers.set(parentElement, made(parentElement));
  const viewer = viewers.get(parentElement);
  viewer.connect(setStateValue);
  viewer.receive(data);
}
