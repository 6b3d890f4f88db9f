"use strict";
(() => {
  const { rows, columns } = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const body = find("table").tBodies[0], head = find("table").tHead.rows[0], step = 100;
  const sort = { key: "score", down: true };
  let kept = [], shown = 0, reason = "";
  const texts = rows.map((row) => columns.map(([key]) => (key === "thumbnail" ? "" : row[key] ?? "")).concat(row.reason).join(" ").toLowerCase());

  const make = (name, text = "", properties = {}) => Object.assign(document.createElement(name), { textContent: text }, properties);
  const tellShare = (share) => { const told = share.toFixed(3); return { "1.000": "> 0.999", "0.000": "< 0.001" }[told] ?? told; };
  const drawing = (share) => {
    const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 100 10");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const [kind, width] of [["all", 100], ["part", 100 * share]]) {
      const bar = document.createElementNS(space, "rect");
      bar.setAttribute("class", kind); bar.setAttribute("width", width); bar.setAttribute("height", 10);
      svg.append(bar);
    }
    return svg;
  };
  const cells = {
    thumbnail: (row) => {
      const cell = make("td");
      if (!row.thumbnail) return cell;
      const picture = make("img", "", { src: "data:image/webp;base64," + row.thumbnail, alt: "", decoding: "async" });
      const way = make("a", "", { href: row.page, tabIndex: -1 }); // for fingers: keys have the link of the series
      if (row.page) way.append(picture);
      cell.append(row.page ? way : picture);
      return cell;
    },
    score: (row) => {
      const cell = make("td", row.score === null ? "" : row.score >= 0 && row.score <= 1 ? tellShare(row.score) : String(Number(row.score.toPrecision(5))), { className: "score" });
      if (row.score >= 0 && row.score <= 1 && row.score !== null) cell.append(drawing(row.score));
      return cell;
    },
    status: (row) => {
      const cell = make("td"), words = make("small", row.reason ? " " + row.reason : "");
      cell.append(make("span", row.status, { className: "status " + (["refused", "failed"].includes(row.status) ? row.status : "") }), words);
      return cell;
    },
    series: (row) => {
      const cell = make("td");
      cell.append(row.page ? make("a", row.series, { href: row.page }) : make("bdi", row.series));
      if (row.picture) cell.append(" · ", make("a", "picture", { href: row.picture }));
      return cell;
    },
  };
  const draw = (row) => {
    const line = make("tr");
    for (const [key] of columns) {
      const cell = cells[key] ? cells[key](row) : make("td", row[key] ?? "");
      cell.classList.add("of-" + key);
      line.append(cell);
    }
    return line;
  };
  const more = () => {
    body.append(...kept.slice(shown, shown + step).map((at) => draw(rows[at])));
    shown = Math.min(kept.length, shown + step);
    find("more").hidden = shown >= kept.length;
  };
  const group = (text) => (text.match(/^[A-Z][A-Z_]+(?=:)/) ?? [text.length > 60 ? text.slice(0, 60) + "…" : text])[0];
  const number = (id) => (find(id).value === "" ? null : Number(find(id).value));
  const compare = (one, other) => {
    const [a, b] = [rows[one][sort.key], rows[other][sort.key]];
    const [noA, noB] = [a === null || a === "", b === null || b === ""];
    if (noA || noB) return noA === noB ? one - other : noA ? 1 : -1; // what has none comes last, either way
    const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
    return (sort.down ? -order : order) || one - other;
  };
  const update = () => {
    const words = find("text").value.toLowerCase().split(/\s+/).filter(Boolean), low = number("low"), high = number("high");
    kept = rows.map((_, at) => at).filter((at) => {
      const row = rows[at];
      return words.every((word) => texts[at].includes(word))
        && (!find("prediction")?.value || row.prediction === find("prediction").value)
        && (!find("status").value || row.status === find("status").value)
        && (low === null || (row.score !== null && row.score >= low)) && (high === null || (row.score !== null && row.score <= high))
        && (!reason || (row.reason && group(row.reason) === reason));
    }).sort(compare);
    body.replaceChildren();
    shown = 0;
    more();
    find("found").textContent = `${kept.length} of ${rows.length} series${reason ? " · " + reason : ""}`;
    for (const cell of head.cells) {
      if (cell.dataset.key === sort.key) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  };
  for (const [key, name] of columns) {
    const cell = make("th", "", { scope: "col" });
    cell.dataset.key = key;
    if (key !== "thumbnail") {
      const button = make("button", name, { type: "button" });
      button.addEventListener("click", () => { sort.down = sort.key === key ? !sort.down : key === "score"; sort.key = key; update(); });
      cell.append(button);
    }
    head.append(cell);
  }
  find("filters").addEventListener("input", update);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("reset", () => { reason = ""; setTimeout(update); });
  document.querySelectorAll("[data-reason]").forEach((one) => one.addEventListener("click", () => { reason = one.dataset.reason; update(); }));
  find("more").addEventListener("click", more);
  new IntersectionObserver((seen) => { if (seen[0].isIntersecting && !find("more").hidden) more(); }, { rootMargin: "400px" }).observe(find("more"));
  find("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  update();
})();
