"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const [picture, canvas, slider, now, cursor, play, screen, plot] =
    ["picture", "heat", "slider", "now", "cursor", "play", "screen", "plot"].map(find);
  const last = data.x.length - 1;
  const state = { current: data.start, playing: 0, due: 0, shown: 0 };

  // Windows: the pictures hold levels, and a filter of the browser turns levels into grey. No pixel is ever read.
  const view = { level: 0, width: 0, name: "", plate: 0, turn: 0 };
  const valueAt = (knots, level) => {
    let end = knots.findIndex((knot) => knot[1] >= level);
    end = Math.max(1, end < 0 ? knots.length - 1 : end);
    const [low, high] = [knots[end - 1], knots[end]];
    return low[0] + ((high[0] - low[0]) * (level - low[1])) / (high[1] - low[1]);
  };
  const sourceOf = (place, plate) => "data:image/jpeg;base64," + data.plates[plate].files[place];
  const setWindow = (level, width, name = "") => {
    if (!data.presets.length || !Number.isFinite(level) || !(width > 0)) return;
    Object.assign(view, { level, width, name });
    const low = level - width / 2, high = level + width / 2;
    const covers = data.plates.findIndex(({ knots }) => knots[0][0] <= low && high <= knots[knots.length - 1][0]);
    view.plate = covers < 0 ? data.plates.length - 1 : covers;
    const greys = [];
    for (let step = 0; step < 256; step += 1) {
      const grey = Math.min(1, Math.max(0, (valueAt(data.plates[view.plate].knots, step) - low) / width));
      greys.push((data.inverted ? 1 - grey : grey).toFixed(4));
    }
    view.turn = 1 - view.turn; // another filter each time: some browsers keep what they made of the old one
    find("window" + view.turn).querySelectorAll("[tableValues]").forEach((one) => one.setAttribute("tableValues", greys.join(" ")));
    document.querySelectorAll("#picture, [data-thumb]").forEach((one) => { one.style.filter = `url(#window${view.turn})`; });
    document.querySelectorAll("[data-preset]").forEach((one) => one.setAttribute("aria-pressed", String(data.presets[one.dataset.preset].name === name)));
    const [short, shortWidth] = [level, width].map((one) => String(Number(one.toPrecision(4))));
    find("level").value = short;
    find("width").value = shortWidth;
    find("on-window").textContent = `${name ? name + "\n" : ""}L ${short} W ${shortWidth}`;
    drawPictures();
  };
  const usePreset = (number) => {
    const preset = data.presets[number];
    if (preset) setWindow(preset.level, preset.width, preset.name);
  };
  const drawPictures = () => {
    picture.src = sourceOf(state.current, view.plate);
    document.querySelectorAll("[data-thumb]").forEach((one) => {
      const wanted = sourceOf(data.marks[one.dataset.thumb], view.plate);
      if (one.src !== wanted) one.src = wanted;
    });
  };

  // Heat
  const unpack = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  let paint = () => {};
  if (data.heats.length) {
    const heats = data.heats.map((one) => ({ ...one, cells: unpack(one.values) })), colours = unpack(data.colours);
    const context = canvas.getContext("2d");
    paint = () => {
      const heat = heats[find("method") ? Number(find("method").value) : 0], at = heat.places[state.current];
      canvas.hidden = at === undefined || !find("overlay").checked;
      canvas.style.opacity = find("opacity").value / 100;
      find("no-heat").textContent = at === undefined ? "none was made for this one" : "";
      find("overlay-told").textContent = heat.told;
      find("overlay-low").textContent = heat.ends[0];
      find("overlay-high").textContent = heat.ends[1];
      if (canvas.hidden) return;
      canvas.width = heat.columns; canvas.height = heat.rows;
      const count = heat.rows * heat.columns, cells = context.createImageData(heat.columns, heat.rows);
      for (let cell = 0; cell < count; cell += 1) {
        const colour = 4 * heat.cells[at * count + cell];
        cells.data.set(colours.subarray(colour, colour + 4), 4 * cell);
      }
      context.putImageData(cells, 0, 0);
    };
    for (const id of ["overlay", "method", "opacity"]) if (find(id)) find(id).addEventListener("input", () => paint());
  }

  // Going through the series
  const isAt = (mark) => data.spans[mark][0] <= state.current && state.current <= data.spans[mark][1];
  const show = (wanted) => {
    state.current = Math.min(last, Math.max(0, wanted));
    const place = state.current, marks = data.marks.map((_, mark) => mark).filter(isAt);
    picture.src = sourceOf(place, view.plate);
    const numbered = marks.length ? ` · ${data.kind} ${marks.map((mark) => data.names[mark]).join(", ")}` : "";
    const told = data.told[place] + numbered;
    picture.alt = told;
    now.textContent = told;
    find("on-slice").textContent = data.corner[place];
    find("place").textContent = data.places[place];
    find("uid").textContent = data.uids[place];
    find("copied").textContent = "";
    slider.value = place;
    slider.setAttribute("aria-valuetext", told);
    cursor.style.left = 100 * data.x[place] + "%";
    document.querySelectorAll("[data-track]").forEach((one) => { one.textContent = data.values[one.dataset.track][place]; });
    document.querySelectorAll("tr[id^=mark], .numbers [data-mark]").forEach((one) => one.setAttribute("aria-current", String(marks.includes(Number(one.dataset.mark ?? one.id.slice(4))))));
    if (find("before")) {
      find("before").disabled = !data.marks.some((mark) => mark < place);
      find("after").disabled = !data.marks.some((mark) => mark > place);
    }
    paint();
  };
  const stop = () => {
    cancelAnimationFrame(state.playing);
    state.playing = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
    now.setAttribute("aria-live", "polite");
  };
  const go = (wanted) => { stop(); show(wanted); };
  const pause = () => (1000 * data.seconds[state.current]) / Number(find("speed").value);
  const tick = (time) => {
    if (time - state.due > 1000) state.due = time; // the page was hidden meanwhile
    while (time >= state.due) {
      show(state.current === last ? 0 : state.current + 1);
      state.due += pause();
    }
    state.playing = requestAnimationFrame(tick);
  };
  const toggle = () => {
    if (state.playing) { stop(); return; }
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    now.setAttribute("aria-live", "off"); // nobody can listen to thirty frames a second
    state.due = performance.now() + pause();
    state.playing = requestAnimationFrame(tick);
  };
  const before = () => { const earlier = data.marks.filter((mark) => mark < state.current); go(earlier.length ? Math.max(...earlier) : state.current); };
  const after = () => { const later = data.marks.filter((mark) => mark > state.current); go(later.length ? Math.min(...later) : state.current); };

  slider.addEventListener("input", () => go(Number(slider.value)));
  play.addEventListener("click", toggle);
  if (find("before")) { find("before").addEventListener("click", before); find("after").addEventListener("click", after); }
  document.querySelectorAll("[data-mark]").forEach((one) => one.addEventListener("click", () => go(data.marks[Number(one.dataset.mark)])));
  document.querySelectorAll("[data-preset]").forEach((one) => one.addEventListener("click", () => usePreset(Number(one.dataset.preset))));
  for (const id of ["level", "width"]) if (find(id)) find(id).addEventListener("change", () => setWindow(Number(find("level").value), Number(find("width").value)));

  // Wheel, mouse and touch over the image
  let wheeled = 0;
  screen.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;
    event.preventDefault();
    wheeled += event.deltaMode ? 100 * event.deltaY : event.deltaY;
    const steps = Math.trunc(wheeled / 40);
    if (steps) { wheeled -= 40 * steps; go(state.current + Math.sign(steps)); }
  }, { passive: false });
  let drag = null;
  screen.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 && event.button !== 2) return;
    drag = { x: event.clientX, y: event.clientY, from: state.current, level: view.level, width: view.width, windows: event.button === 2, touch: event.pointerType === "touch", moved: false };
    screen.setPointerCapture(event.pointerId);
  });
  screen.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const across = event.clientX - drag.x, down = event.clientY - drag.y, size = screen.clientWidth;
    drag.moved = drag.moved || Math.hypot(across, down) > 4;
    if (drag.windows) {
      setWindow(drag.level + (drag.width * down) / size, drag.width * Math.exp((2 * across) / size));
    } else {
      const way = drag.touch ? across : across + down, reach = Math.max(6, Math.min(24, (0.8 * size) / (last + 1)));
      const wanted = drag.from + Math.trunc(way / reach);
      if (wanted !== state.current && drag.moved) go(wanted);
    }
  });
  const drop = () => { drag = null; };
  screen.addEventListener("pointerup", drop);
  screen.addEventListener("pointercancel", drop);
  screen.addEventListener("contextmenu", (event) => { if (data.presets.length) event.preventDefault(); });

  // The curves
  const follow = (event) => {
    const box = plot.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    go(data.x.reduce((best, x, place) => Math.abs(x - share) < Math.abs(data.x[best] - share) ? place : best, 0));
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    plot.setPointerCapture(event.pointerId);
    follow(event);
  });
  plot.addEventListener("pointermove", (event) => { if (event.buttons & 1 && !event.target.closest("button")) follow(event); });

  // Keys: those of a control that has the focus stay its own
  const keys = {
    ArrowLeft: () => go(state.current - 1), ArrowRight: () => go(state.current + 1), ArrowUp: () => go(state.current - 1), ArrowDown: () => go(state.current + 1),
    PageUp: () => go(state.current - 10), PageDown: () => go(state.current + 10), Home: () => go(0), End: () => go(last),
    n: after, p: before, " ": toggle, h: () => { if (data.heats.length) { find("overlay").checked = !find("overlay").checked; paint(); } },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, at = event.target;
    if (at.closest("select, input[type=number], input[type=range]:not(#slider)")) return;
    if (key === " " && at.closest("button, summary, [type=checkbox]")) return;
    if (/^Arrow(Up|Down)$/.test(key) && !at.closest("#screen, #slider")) return;
    const own = at.matches(".list, .figures"), sideways = /^Arrow(Left|Right)$/.test(key);
    if (own && key.length > 1 && (!sideways || at.scrollWidth > at.clientWidth)) return; // what is cut off moves
    const act = key >= "1" && key <= "9" ? () => usePreset(Number(key) - 1) : keys[key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  find("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(data.uids[state.current]);
      find("copied").textContent = "copied";
    } catch { // no clipboard here: leave it selected
      getSelection().selectAllChildren(find("uid"));
      find("copied").textContent = document.execCommand("copy") ? "copied" : "press Ctrl+C";
    }
  });
  find("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  if (document.fullscreenEnabled) {
    find("full").hidden = false;
    find("full").addEventListener("click", () => { if (document.fullscreenElement) document.exitFullscreen(); else find("viewer").requestFullscreen(); });
  }
  if (data.pixel_mm) {
    const wide = data.size[1] * data.pixel_mm, length = [100, 50, 20, 10, 5, 2, 1].find((one) => one < 0.3 * wide);
    if (length) {
      const bar = find("bar");
      bar.hidden = false;
      bar.style.width = (100 * length) / wide + "%";
      bar.firstElementChild.textContent = length >= 10 ? length / 10 + " cm" : length + " mm";
    }
  }
  if (data.presets.length) usePreset(0); else drawPictures();
  show(data.start);
})();
