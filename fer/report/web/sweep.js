// The trials of a sweep, and which settings matter.

function showSweep() {
  if (!page.sweep) return;
  const { metric, best, parameters, rows, importances } = page.sweep;
  const made = section("trials", "Trials");
  if (!rows.length) {
    made.append(note("No trial has begun."));
    return;
  }
  const known = rows.filter((row) => isNumber(row.value));
  const lines = known.length && parameters.length ? parallels(page.sweep, known) : null;
  if (lines) made.append(lines.figure);
  made.append(trialTable(page.sweep, (place) => lines?.light(rows[place]?.name ?? null)));
  if (!importances.length) return;
  const columns = [
    words("name", "setting", (name) => code(name)),
    numbers("share", "importance", percent0),
    graphic("0 to 100 %", (row) => bar(row.share)),
    numbers("correlation", "rank correlation", decimals),
  ];
  const number = plural(known.length, "trial");
  const caption = `Importance: share of a random forest's gain; n = ${number}`;
  made.append(el("h3", "Importance of the settings"), table(columns, importances, { caption }));
}

function trialTable({ metric, best, parameters, rows }, onrow) {
  const flat = rows.map(({ point, ...row }) => {
    const cells = Object.entries(point).map(([name, value]) => [
      `point ${name}`,
      isNumber(value) ? value : setting(value),
    ]);
    return { ...row, ...Object.fromEntries(cells) };
  });
  const value = (number, row) =>
    row.name === best?.name ? el("strong", `${short(number)} (best)`) : short(number);
  const columns = [
    words("name", "trial"),
    numbers("value", metric, value),
    ...parameters.map(({ name }) => numbers(`point ${name}`, name, setting)),
    words("state", "state"),
    numbers("values", "epochs"),
    numbers("seconds", "time", minutes),
  ];
  const reason = words("reason", "why it ended", null, { kind: "text wrap" });
  if (rows.some((row) => row.reason)) columns.push(reason);
  const caption = `${plural(rows.length, "trial")}; the titles of columns sort`;
  return table(columns, flat, { caption, sortable: true, tall: rows.length > 15, onrow });
}

// Parallel coordinates: one line per trial, one axis per setting and one for the metric.
function parallels({ parameters, metric, maximize, best }, rows) {
  const [top, bottom] = [44, 270];
  const settings = parameters.map(({ name, log }) => ({
    name,
    log,
    get: (row) => row.point[name],
  }));
  const axes = [...settings, { name: metric, get: (row) => row.value }];
  axes.forEach((axis) => Object.assign(axis, scaleOf(axis, rows, top, bottom)));
  const width = Math.max(800, 133 * axes.length);
  const X = (place) => 8 + (place * (width - 98)) / (axes.length - 1);
  const [low, high] = limits(rows.map((row) => row.value));
  const share = (row) => (high > low ? (row.value - low) / (high - low) : maximize);
  const rank = (row) => (maximize ? share(row) : 1 - share(row));
  const isBest = (row) => row.name === best?.name;

  const lines = new Map();
  for (const row of rows.toSorted((a, b) => isBest(a) - isBest(b) || rank(a) - rank(b))) {
    const points = axes.flatMap((axis, place) =>
      isKnown(axis.get(row)) ? [[X(place), axis.y(axis.get(row))]] : [],
    );
    const look = isBest(row)
      ? { stroke: "var(--vermillion)", "stroke-width": 3 }
      : { stroke: "var(--blue)", "stroke-width": 1.5, "stroke-opacity": 0.25 + 0.75 * rank(row) };
    const drawn = path(points, { class: "line", ...look });
    lines.set(row.name, fill(drawn, [svg("title", `${row.name}: ${short(row.value)}`)]));
  }
  const drawn = axes.map((axis, place) => {
    const [start, end] = axis.name.split(/(?<=[./])(?!.*[./])/);
    const x = X(place);
    return [
      line(x, top, x, bottom, { stroke: "var(--ink)" }),
      text(x - 4, end ? 12 : 26, { "font-weight": 600 }, start),
      end && text(x - 4, 26, { "font-weight": 600 }, end),
      axis.marks.map((value) =>
        text(x + 7, axis.y(value) + 4, { class: "halo axis" }, setting(value)),
      ),
    ];
  });
  const label = `${plural(rows.length, "trial")} over settings and ${metric}: see the table below`;
  const size = { viewBox: `0 0 ${width} 300`, style: `min-width:${0.8 * width}px` };
  const root = svg("svg", { class: "parallels", ...size, role: "img", "aria-label": label });
  root.append(...lines.values(), ...fill(svg("g"), drawn).childNodes);
  const region = { class: "scroll", role: "region", tabindex: 0, "aria-label": "trials" };
  const caption =
    "Stronger lines are better trials; the thick orange line is the best. " +
    "Point at a row of the table to see its line alone.";
  const figure = el("figure", el("div", region, root), el("figcaption", caption));
  const light = (name) =>
    lines.forEach((each, other) => (each.style.opacity = name && name !== other ? 0.12 : ""));
  return { figure, light };
}

const limits = (values) => [Math.min(...values), Math.max(...values)];

// The scale of an axis, y(value), and the values that label it.
function scaleOf({ log, get }, rows, top, bottom) {
  const name = (value) => JSON.stringify(value);
  const known = rows.map(get).filter(isKnown);
  const values = [...new Map(known.map((value) => [name(value), value])).values()];
  const height = (share) => bottom - share * (bottom - top);
  if (!values.length || !values.every(isNumber)) {
    const marks = values.sort((a, b) =>
      setting(a).localeCompare(setting(b), "en", { numeric: true }),
    );
    const order = marks.map(name);
    const y = (value) =>
      height(order.length > 1 ? order.indexOf(name(value)) / (order.length - 1) : 0.5);
    return { marks, y };
  }
  const scale = log && values.every((value) => value > 0) ? Math.log10 : (value) => value;
  const [low, high] = limits(values.map(scale));
  const y = (value) => height(high > low ? (scale(value) - low) / (high - low) : 0.5);
  return { y, marks: [...new Set(limits(values))] };
}
