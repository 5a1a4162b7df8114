// Line charts over a common horizontal axis. Charts of one group share their cursor.

const LINES = {
  train: { color: "var(--blue)", dash: "7 3" },
  val: { color: "var(--vermillion)" },
  lr: { color: "var(--ink)" },
};
const NAMES = ["blue", "vermillion", "green", "purple", "orange", "sky", "ink"];
const COLOURS = NAMES.map((name) => `var(--${name})`);
const DASHES = [null, "7 3", "2 3", "9 3 2 3"];
const RING = { fill: "var(--paper)", stroke: "var(--ink)", "stroke-width": 2 };
const TIME = "epochs trained";
const RIBBON = 0.45; // opacity of the names of the stages
const groups = {};

/* One chart.
   series: [{ name, x, y, color, dash, width, hasMarks, low, high }]; label: for screen readers;
   bands: [{ begin, end, text, color, isWeak }] behind it; areas: [{ x, low, high, color }];
   lines: [y, …]; best: [{ x, y }, …]; domain: [low, high] and ticks: [y, …], else from the data;
   format(y), tickFormat(y), xFormat(x), xLabel, isTime (epochs trained, from 0), isContinuous,
   isNarrow, height, group */
function chart(spec) {
  const box = el("div", { class: "chart", tabindex: 0, role: "img", "aria-label": spec.label });
  const tip = el("div", { class: "tip", "aria-live": "polite" });
  const xs = [...new Set(spec.series.flatMap((each) => each.x))].sort((a, b) => a - b);
  const limits = limitsOf(spec, xs);
  let [at, width, frame, cursor] = [null, 0, null, null];

  function draw() {
    frame = frameOf(spec, limits, Math.max(220, width || 600));
    cursor = line(0, frame.top, 0, frame.bottom, { class: "cursor" });
    const size = { viewBox: `0 0 ${frame.width} ${frame.height}`, "aria-hidden": "true" };
    box.replaceChildren(
      svg("svg", size, backdrop(spec, frame, xs), foreground(spec, frame), cursor),
      tip,
    );
  }

  function mark(x, isHere) {
    at = x;
    if (!frame) return;
    const isShown = x !== null && x >= limits.first && x <= limits.last;
    cursor.style.visibility = isShown ? "visible" : "hidden";
    tip.style.visibility = isShown && isHere ? "visible" : "hidden";
    if (!isShown) return;
    cursor.setAttribute("x1", frame.X(x));
    cursor.setAttribute("x2", frame.X(x));
    if (!isHere) return;
    tip.replaceChildren(...tipRows(spec, x));
    const left = (frame.X(x) / frame.width) * width;
    tip.style.left = left > width / 2 ? "" : `${left + 12}px`;
    tip.style.right = left > width / 2 ? `${width - left + 12}px` : "";
  }

  const point = (x) => (groups[spec.group] ?? [mark]).forEach((each) => each(x, each === mark));
  function pointAt(event) {
    const { left } = box.getBoundingClientRect();
    const there = ((event.clientX - left) / width) * frame.width;
    const distance = (x) => Math.abs(frame.X(x) - there);
    point(xs.reduce((best, x) => (distance(x) < distance(best) ? x : best), xs[0]));
  }
  function pointByKey(event) {
    const place = xs.indexOf(at);
    const last = xs.length - 1;
    const right = Math.min(place + 1, last);
    const next = { ArrowRight: right, ArrowLeft: Math.max(place - 1, 0), Home: 0, End: last }[
      event.key
    ];
    if (event.key === "Escape") point(null);
    if (next === undefined) return;
    event.preventDefault();
    point(xs[next]);
  }
  box.addEventListener("pointermove", pointAt);
  box.addEventListener("pointerdown", pointAt);
  box.addEventListener("pointerleave", () => point(null));
  box.addEventListener("blur", () => point(null));
  box.addEventListener("keydown", pointByKey);
  if (spec.group) (groups[spec.group] ??= []).push(mark);

  const redraw = () => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    draw();
  };
  new ResizeObserver(() => requestAnimationFrame(redraw)).observe(box);
  return box;
}

// The limits of the axes, in units of the data.
function limitsOf(spec, xs) {
  const values = spec.series.flatMap(({ y, low, high }) => [...y, ...(low ?? []), ...(high ?? [])]);
  const known = [...values, ...(spec.lines ?? [])].filter(isNumber);
  let [low, high] = spec.domain ?? [Math.min(...known), Math.max(...known)];
  const room = low === high ? Math.abs(low) / 10 || 0.5 : (high - low) * 0.05;
  if (!spec.domain) [low, high] = [low - room, high + room];
  if (spec.isTime) return { low, high, first: 0, last: xs.at(-1) };
  const pad = xs.length === 1 ? 0.5 : 0;
  return { low, high, first: xs[0] - pad, last: xs.at(-1) + pad };
}

// The layout of a chart with some width; X(x) and Y(y) are in pixels.
function frameOf(spec, { low, high, first, last }, width) {
  const height = (spec.height ?? 220) + (spec.xLabel ? 14 : 0);
  const [left, right] = [spec.isNarrow ? 38 : 52, width - 14];
  const [top, bottom] = [spec.bands?.length ? 26 : 10, height - (spec.xLabel ? 38 : 24)];
  const X = (x) => left + ((x - first) / (last - first || 1)) * (right - left);
  const Y = (y) => bottom - ((y - low) / (high - low)) * (bottom - top);
  return { low, high, first, last, width, height, left, right, top, bottom, X, Y };
}

// Bands with their names above them, the grid and the axes.
function backdrop(spec, frame, xs) {
  const { low, high, left, right, top, bottom, X, Y } = frame;
  const { tickFormat = spec.format ?? short, xFormat = short } = spec;
  const bands = (spec.bands ?? []).map((each) => band(each, frame));
  const rows = (spec.ticks ?? ticks(low, high, Math.max(2, Math.floor((bottom - top) / 30)))).map(
    (y) => [
      line(left, Y(y), right, Y(y), { class: "grid" }),
      text(left - 6, Y(y) + 4, { class: "axis", "text-anchor": "end" }, tickFormat(y)),
    ],
  );
  const [begin, end] = [spec.isTime ? 0 : xs[0], xs.at(-1)];
  const middle = { class: "axis", "text-anchor": "middle" };
  const hasParts = spec.isContinuous || (spec.isTime && end <= 4);
  const most = Math.floor(frame.width / (spec.isNarrow ? 50 : 75));
  const columns = ticks(begin, Math.max(end, begin + (end === begin)), most)
    .filter((x) => (hasParts || Number.isInteger(x)) && x <= end)
    .map((x) => text(X(x), bottom + 16, middle, xFormat(x)));
  const title = spec.xLabel && text((left + right) / 2, frame.height - 6, middle, spec.xLabel);
  return [
    bands,
    rows,
    columns,
    line(left, bottom, right, bottom, { stroke: "var(--grey)" }),
    title,
  ];
}

function band({ begin, end, text: name, color, isWeak }, { first, last, top, bottom, X }) {
  const [from, to] = [Math.max(first, begin), Math.min(last, end)];
  if (to <= from) return null;
  const [left, width] = [X(from), X(to) - X(from)];
  const names = [name, name.split(/[: ]/)[0]];
  const shown = names.find((each) => each.length * 6.4 < width - 4);
  const look = { "text-anchor": "middle", "font-size": 11 };
  const border = isWeak
    ? { stroke: "var(--grey)", "stroke-dasharray": "3 3" }
    : { stroke: "var(--ink)" };
  return [
    rect(left, top, width, bottom - top, { fill: color, "fill-opacity": 0.13 }),
    rect(left, top - 18, Math.max(0, width - 1), 15, { fill: color, "fill-opacity": RIBBON }),
    shown && text(left + width / 2, top - 6.5, look, shown),
    from > first && line(left, top - 18, left, bottom, border),
  ];
}

// Areas, horizontal lines and the series themselves.
function foreground(spec, frame) {
  const { left, right, X, Y } = frame;
  const dashed = { stroke: "var(--grey)", "stroke-dasharray": "6 4" };
  return [
    (spec.areas ?? []).map((each) => area(each, 1, frame)),
    (spec.lines ?? []).map((y) => line(left, Y(y), right, Y(y), dashed)),
    spec.series.map((each) => {
      const known = [...each.x.keys()].filter((i) => isNumber(each.y[i]));
      const points = known.map((i) => [X(each.x[i]), Y(each.y[i])]);
      const look = {
        stroke: each.color,
        "stroke-dasharray": each.dash,
        "stroke-width": each.width ?? 2,
      };
      const hasMarks = points.length === 1 || (each.hasMarks && points.length <= 40);
      return [
        each.low && area(each, 0.15, frame),
        path(points, { class: "line", ...look }),
        hasMarks && points.map(([x, y]) => circle(x, y, 3, { fill: each.color })),
      ];
    }),
    (spec.best ?? []).map(({ x, y }) => circle(X(x), Y(y), 4.5, RING)),
  ];
}

function area({ x, low, high, color }, opacity, { X, Y }) {
  const known = [...x.keys()].filter((i) => isNumber(low[i]) && isNumber(high[i]));
  const look = { fill: color, "fill-opacity": opacity };
  if (known.length === 1) {
    const [left, bottom, top] = [X(x[known[0]]) - 6, Y(low[known[0]]), Y(high[known[0]])];
    return rect(left, top, 12, Math.max(1, bottom - top), look);
  }
  const upper = known.map((i) => [X(x[i]), Y(high[i])]);
  const lower = known.reverse().map((i) => [X(x[i]), Y(low[i])]);
  return path([...upper, ...lower], look, "Z");
}

// The values at x, one line per series.
function tipRows(spec, x) {
  const { series, bands = [], format = short, xFormat = short, isTime } = spec;
  const { xLabel = isTime ? TIME : "epoch" } = spec;
  const band = bands.find((each) => x > each.begin && x <= each.end);
  const rows = series.map(({ name, color, low, high, ...each }) => {
    const place = each.x.indexOf(x);
    if (!isNumber(each.y[place])) return null;
    const square = el("span", { style: `color:${color}`, "aria-hidden": "true" }, "■ ");
    const more = low && ` [${format(low[place])}, ${format(high[place])}]`;
    return el("div", square, `${name} `, el("b", format(each.y[place])), more);
  });
  return [el("div", `${xLabel} ${xFormat(x)}`, band && `: ${band.text}`), ...rows.filter(Boolean)];
}

// The legend of the lines and areas.
function key(entries) {
  const sign = ({ color, dash, opacity, isArea, isRing }) => {
    if (isRing) return circle(13, 6, 4.5, RING);
    if (isArea) return rect(0, 0, 26, 12, { fill: color, "fill-opacity": opacity });
    return line(1, 6, 25, 6, { stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash });
  };
  const entry = (each) => el("li", svg("svg", { "aria-hidden": "true" }, sign(each)), each.name);
  return el("ul", { class: "key" }, entries.map(entry));
}

// The chance line of a chart of accuracies, and its entry in the legend.
const chanceLines = (chance = page.chance) => (isNumber(chance) ? [chance] : []);
const chanceSign = (y) => ({ name: `chance ${percent1(y)}`, color: "var(--grey)", dash: "6 4" });

// The first and the last values of series, in words.
const ends = (series, format) =>
  series
    .map(({ name, y }) => `${name}: first ${format(y[0])}, last ${format(y.at(-1))}`)
    .join("; ");
