"use strict";
// Drawing: elements, numbers, tables and charts. Texts become text nodes, so that none can become a tag.

const SVG = "http://www.w3.org/2000/svg";

function grow(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const el = (tag, attributes, ...children) => grow(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => grow(document.createElementNS(SVG, tag), attributes, children);

// A setting's name, with where it may be broken.
const breakable = (name) => name.split(/(?<=[./_])/).flatMap((part, place) => [place > 0 && el("wbr"), part]);

// Numbers

const NONE = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const percent = (value, digits = 2) => (isNumber(value) ? `${(100 * value).toFixed(digits)} %` : NONE);
const interval = (low, high) => (isNumber(low) ? `${(100 * low).toFixed(2)} to ${(100 * high).toFixed(2)}` : NONE);
const count = (value) => (isNumber(value) ? value.toLocaleString("en") : NONE);
function short(value) {
  if (!isNumber(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace("e-", "e−").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}
const minutes = (seconds) => (isNumber(seconds) ? (seconds < 60 ? `${seconds.toFixed(1)} s` : `${(seconds / 60).toFixed(1)} min`) : NONE);

function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

// Tables. A column: key (null: not to be sorted by), label, format(value, row) or cell(row), which gives nodes,
// text (at the left), wrap.

function table(columns, rows, { caption, sortable = false, foot, onrow, tall = false } = {}) {
  const body = el("tbody");
  const lines = rows.map((row, place) => {
    const cells = columns.map((column, index) => {
      const content = column.cell ? column.cell(row) : column.format ? column.format(row[column.key], row) : row[column.key] ?? NONE;
      const kind = [column.text && "text", column.wrap && "wrap"].filter(Boolean).join(" ");
      return index === 0 ? el("th", { scope: "row", class: kind }, content) : el("td", { class: kind || null }, content);
    });
    const line = el("tr", null, cells);
    if (onrow) {
      line.addEventListener("pointerenter", () => onrow(place, line));
      line.addEventListener("pointerleave", () => onrow(null));
    }
    return line;
  });
  const heads = columns.map((column) => {
    const head = el("th", { scope: "col", class: column.text ? "text" : null });
    const label = breakable(column.label);
    if (!sortable || column.key === null) return grow(head, null, label);
    head.classList.add("sortable");
    head.append(el("button", { type: "button", onclick: () => sort(column, head) }, label));
    return head;
  });
  function sort(column, head) {
    // The larger first at the first click, as one looks for the best; texts from A.
    const before = head.getAttribute("aria-sort");
    const isText = rows.some((row) => typeof row[column.key] === "string");
    const next = before ? (before === "ascending" ? "descending" : "ascending") : isText ? "ascending" : "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const order = rows.map((_, place) => place).sort((a, b) => {
      const [x, y] = [rows[a][column.key], rows[b][column.key]];
      const known = [x, y].map((value) => value !== null && value !== undefined);
      if (!known[0] || !known[1]) return known[1] - known[0]; // what is not known stands last
      return sign * (typeof x === "string" || typeof y === "string" ? String(x).localeCompare(String(y), "en", { numeric: true }) : x - y);
    });
    body.replaceChildren(...order.map((place) => lines[place]));
  }
  body.append(...lines);
  const whole = el("table", null, caption && el("caption", null, caption), el("thead", null, el("tr", null, heads)), body, foot);
  const box = el("div", { class: tall ? "scroll tall" : "scroll", role: "region", tabindex: 0, "aria-label": caption ?? "table" }, whole);
  return Object.assign(box, { lines });
}

// A fraction with its interval on a scale of 0 to 100 %.
function bar(value, low, high, { color = "var(--blue)", width = 110, mark = null } = {}) {
  if (!isNumber(value)) return null;
  const x = (fraction) => 5 + fraction * (width - 10);
  return svg("svg", { class: "bar", width, height: 18, "aria-hidden": "true" },
    svg("line", { x1: x(0), x2: x(1), y1: 9, y2: 9, stroke: "var(--pale)", "stroke-width": 2 }),
    isNumber(mark) && svg("line", { x1: x(mark), x2: x(mark), y1: 3, y2: 15, stroke: "var(--grey)", "stroke-width": 1.5 }),
    isNumber(low) && svg("line", { x1: x(low), x2: x(high), y1: 9, y2: 9, stroke: color, "stroke-width": 5, "stroke-opacity": 0.4 }),
    svg("circle", { cx: x(value), cy: 9, r: 4, fill: color }));
}

// Charts over a common axis. What is pointed at in one is marked in all of the same group.

const groups = new Map();

/* One chart:
   series: [{name, x, y, color, dash, low, high, marks}], bands: [{first, last, text, color}],
   areas: [{x, low, high, color}], lines: [y …], log, domain: [low, high], format(y), xFormat(x), height, label */
function chart(spec) {
  const box = el("div", { class: "chart", tabindex: 0, role: "img", "aria-label": spec.label });
  const tip = el("div", { class: "tip", "aria-live": "polite" });
  const own = { at: null };
  const xs = [...new Set(spec.series.flatMap((s) => s.x))].filter(isNumber).sort((a, b) => a - b);
  const flat = spec.series.flatMap((s) => [...s.y, ...(s.low ?? []), ...(s.high ?? [])]).filter(isNumber)
    .filter((y) => !spec.log || y > 0);
  let [low, high] = spec.domain ?? [Math.min(...flat), Math.max(...flat)];
  if (spec.log) { low = Math.log10(low); high = Math.log10(high); }
  if (low === high) { low -= spec.log ? 0.5 : Math.abs(low) / 10 || 0.5; high += spec.log ? 0.5 : Math.abs(high) / 10 || 0.5; }
  if (!spec.domain) { const room = (high - low) * 0.05; low -= room; high += room; }
  const pad = spec.bands?.length || xs.length === 1 ? 0.5 : 0;
  const [first, last] = [xs[0] - pad, xs.at(-1) + pad];
  let scaleX = null;

  function draw() {
    const width = Math.max(220, box.clientWidth || 600);
    const height = spec.height ?? 220;
    const margin = { left: spec.narrow ? 38 : 52, right: 14, top: spec.bands?.length ? 26 : 10, bottom: spec.xLabel ? 38 : 24 };
    const inner = { right: width - margin.right, bottom: height - margin.bottom };
    const X = (x) => margin.left + ((x - first) / (last - first || 1)) * (inner.right - margin.left);
    const Y = (y) => inner.bottom - (((spec.log ? Math.log10(y) : y) - low) / (high - low)) * (inner.bottom - margin.top);
    scaleX = { X, width };
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const band of spec.bands ?? []) {
      const [a, b] = [Math.max(first, band.first - 0.5), Math.min(last, band.last + 0.5)];
      if (b <= a) continue;
      const room = X(b) - X(a);
      root.append(svg("rect", { x: X(a), y: margin.top, width: room, height: inner.bottom - margin.top, fill: band.color, "fill-opacity": 0.13 }));
      root.append(svg("rect", { x: X(a), y: margin.top - 18, width: Math.max(0, room - 1), height: 15, fill: band.color, "fill-opacity": 0.45 }));
      const text = [band.text, band.text.split(" ")[0], band.text.slice(0, 4) + "."].find((words) => words.length * 6.4 < room - 4);
      if (text) root.append(svg("text", { x: (X(a) + X(b)) / 2, y: margin.top - 6.5, "text-anchor": "middle", "font-size": 11 }, text));
      if (a > first) root.append(svg("line", { x1: X(a), x2: X(a), y1: margin.top - 18, y2: inner.bottom, stroke: "var(--grey)", "stroke-dasharray": "2 2" }));
    }
    const format = spec.format ?? short;
    const marks = spec.log
      ? ticks(Math.ceil(low), Math.floor(high), 5).filter(Number.isInteger).map((power) => 10 ** power)
      : spec.ticks ?? ticks(low, high, Math.max(2, Math.floor((inner.bottom - margin.top) / 30)));
    for (const y of marks.length ? marks : [10 ** ((low + high) / 2)]) {
      root.append(svg("line", { class: "grid", x1: margin.left, x2: inner.right, y1: Y(y), y2: Y(y) }));
      root.append(svg("text", { class: "axis", x: margin.left - 6, y: Y(y) + 4, "text-anchor": "end" }, format(y, true)));
    }
    const whole = spec.xWhole !== false;
    const nx = ticks(xs[0], xs.at(-1) === xs[0] ? xs[0] + 1 : xs.at(-1), Math.max(1, Math.floor(width / 75))).filter((x) => (!whole || Number.isInteger(x)) && x <= xs.at(-1));
    for (const x of nx) root.append(svg("text", { class: "axis", x: X(x), y: inner.bottom + 16, "text-anchor": "middle" }, (spec.xFormat ?? short)(x)));
    root.append(svg("line", { x1: margin.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom, stroke: "var(--grey)" }));
    if (spec.xLabel) root.append(svg("text", { class: "axis", x: (margin.left + inner.right) / 2, y: height - 6, "text-anchor": "middle" }, spec.xLabel));
    for (const area of spec.areas ?? []) root.append(shape(area.x, area.low, area.high, area.color, 1));
    for (const y of spec.lines ?? []) root.append(svg("line", { x1: margin.left, x2: inner.right, y1: Y(y), y2: Y(y), stroke: "var(--grey)", "stroke-dasharray": "6 4" }));
    for (const s of spec.series) {
      if (s.low) root.append(shape(s.x, s.low, s.high, s.color, 0.15));
      const points = s.x.map((x, i) => [x, s.y[i]]).filter(([, y]) => isNumber(y) && (!spec.log || y > 0));
      const path = points.map(([x, y], i) => `${i ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
      root.append(svg("path", { class: "line", d: path, stroke: s.color, "stroke-dasharray": s.dash, "stroke-width": s.width ?? 2 }));
      if (points.length <= 40 && (s.marks || points.length === 1))
        for (const [x, y] of points) root.append(svg("circle", { cx: X(x), cy: Y(y), r: 3, fill: s.color }));
    }
    if (spec.best) {
      const { x, y } = spec.best;
      root.append(svg("circle", { cx: X(x), cy: Y(y), r: 4.5, fill: "#fff", stroke: "var(--ink)", "stroke-width": 2 }));
    }
    own.line = svg("line", { class: "cursor", y1: margin.top, y2: inner.bottom });
    root.append(own.line);
    box.replaceChildren(root, tip);
    function shape(x, lows, highs, fill, opacity) {
      const there = x.map((_, i) => i).filter((i) => isNumber(lows[i]) && isNumber(highs[i]));
      if (there.length === 1) return svg("rect", { x: X(x[there[0]]) - 6, width: 12, y: Y(highs[there[0]]), height: Math.max(1, Y(lows[there[0]]) - Y(highs[there[0]])), fill, "fill-opacity": opacity });
      const points = [...there.map((i) => [x[i], highs[i]]), ...there.reverse().map((i) => [x[i], lows[i]])];
      return svg("path", { d: points.map(([a, b], i) => `${i ? "L" : "M"}${X(a).toFixed(1)} ${Y(b).toFixed(1)}`).join("") + "Z", fill, "fill-opacity": opacity });
    }
  }

  function mark(x, isHere) {
    own.at = x;
    if (!own.line) return;
    const isShown = x !== null && x >= first && x <= last;
    own.line.style.visibility = isShown ? "visible" : "hidden";
    tip.style.visibility = isShown && isHere ? "visible" : "hidden";
    if (!isShown) return;
    const at = scaleX.X(x);
    own.line.setAttribute("x1", at);
    own.line.setAttribute("x2", at);
    if (!isHere) return;
    const rows = (spec.tipRows ?? spec.series).map((s) => {
      const y = s.y[s.x.indexOf(x)];
      return isNumber(y) ? el("div", null, el("span", { style: `color:${s.color}`, "aria-hidden": "true" }, "■ "), `${s.name} `, el("b", null, (spec.format ?? short)(y)),
        s.low ? ` [${(spec.format ?? short)(s.low[s.x.indexOf(x)])}, ${(spec.format ?? short)(s.high[s.x.indexOf(x)])}]` : "") : null;
    });
    const band = spec.bands?.find((each) => x >= each.first && x <= each.last);
    tip.replaceChildren(...[el("div", null, `${spec.xName ?? "epoch"} ${(spec.xFormat ?? short)(x)}`, band ? `: ${band.text}` : ""), ...rows].filter(Boolean));
    const left = (at / scaleX.width) * box.clientWidth;
    tip.style.left = left > box.clientWidth / 2 ? "" : `${left + 12}px`;
    tip.style.right = left > box.clientWidth / 2 ? `${box.clientWidth - left + 12}px` : "";
  }
  function point(x) { for (const each of groups.get(spec.group) ?? [mark]) each(x, each === mark); }
  function nearest(event) {
    const { left, width } = box.getBoundingClientRect();
    const at = ((event.clientX - left) / width) * scaleX.width;
    return xs.reduce((best, x) => (Math.abs(scaleX.X(x) - at) < Math.abs(scaleX.X(best) - at) ? x : best), xs[0]);
  }
  box.addEventListener("pointermove", (event) => point(nearest(event)));
  box.addEventListener("pointerdown", (event) => point(nearest(event)));
  box.addEventListener("pointerleave", () => point(null));
  box.addEventListener("blur", () => point(null));
  box.addEventListener("keydown", (event) => {
    const place = xs.indexOf(own.at);
    const next = { ArrowRight: Math.min(place + 1, xs.length - 1), ArrowLeft: Math.max(place - 1, 0), Home: 0, End: xs.length - 1 }[event.key];
    if (event.key === "Escape") point(null);
    if (next === undefined) return;
    event.preventDefault();
    point(xs[next]);
  });
  if (spec.group) groups.set(spec.group, [...(groups.get(spec.group) ?? []), mark]);
  let seen = 0;
  new ResizeObserver(() => requestAnimationFrame(() => { if (box.clientWidth !== seen) { seen = box.clientWidth; draw(); } })).observe(box);
  return box;
}

function key(entries) {
  return el("ul", { class: "key" }, entries.map(({ name, color, dash, area, ring, opacity = 1 }) =>
    el("li", null, svg("svg", { "aria-hidden": "true" },
      ring ? svg("circle", { cx: 13, cy: 6, r: 4.5, fill: "#fff", stroke: "var(--ink)", "stroke-width": 2 })
        : area ? svg("rect", { width: 26, height: 12, fill: color, "fill-opacity": opacity }) : svg("line", { x1: 1, x2: 25, y1: 6, y2: 6, stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash })), name)));
}

// One of several, as buttons of one row; many as a list.
function choice(title, names, onpick) {
  if (names.length > 6) {
    const list = el("select", { onchange: () => onpick(list.selectedIndex) }, names.map((name) => el("option", null, name)));
    return el("div", { class: "controls choice-list" }, el("label", null, title, list));
  }
  const group = `choice-${document.querySelectorAll(".choice").length}-${Math.random().toString(36).slice(2)}`;
  return el("fieldset", { class: "choice" }, el("legend", null, title), names.map((name, index) =>
    el("label", null, el("input", { type: "radio", name: group, checked: index === 0, onchange: () => onpick(index) }), name)));
}
