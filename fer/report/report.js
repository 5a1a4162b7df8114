// The page: a section for each part that the folder has.

const page = JSON.parse(document.getElementById("content").textContent);
const main = document.getElementById("main");
const { look } = page;
const LINES = { train: { color: "var(--blue)", dash: "7 3" }, val: { color: "var(--vermillion)" }, lr: { color: "var(--ink)" } };
const COLOURS = ["--blue", "--vermillion", "--green", "--purple", "--orange", "--sky", "--ink"].map((name) => `var(${name})`);
const DASHES = [null, "7 3", "2 3", "9 3 2 3"];

function section(id, title, ...children) {
  const link = el("a", { href: `#${id}` }, title);
  document.querySelector("#contents ol").append(el("li", null, link));
  const made = el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), children);
  main.append(made);
  return made;
}
const note = (...text) => el("p", { class: "note" }, text);
const stageBands = (name) => (page.stages?.[name] ?? []).map((span) => ({ ...span, text: stageText(span), color: look.stages[span.stage] }));
const stageText = ({ stage, reason }) => (stage === "plateau" ? `plateau: ${reason.replaceAll("_", " ")}` : stage);

function head() {
  const results = page.results ?? [];
  const test = results.find((split) => split.name === "test") ?? results.at(-1);
  const numbers = [];
  if (test) numbers.push([`Accuracy, ${test.name}`, percent(test.acc), `95 %: ${interval(test.low, test.high)}, n = ${count(test.n)}`],
    ["Mean recall of the classes", percent(test.balanced), "each class counts the same"]);
  if (page.folds) numbers.push(["Mean over the folds", percent(page.folds.mean.test), `standard deviation ${percent(page.folds.std.test)}`]);
  if (page.sweep?.best) numbers.push([`Best ${page.sweep.metric}`, short(page.sweep.best.value), `${page.sweep.best.name}, of ${page.sweep.rows.length} trials`]);
  if (page.prune) {
    const { before, after } = page.prune;
    numbers.push(["Accuracy on val, pruned", percent(after.acc), `before: ${percent(before.acc)}; n = ${count(page.prune.n)}`],
      ["Parameters left", percent(after.parameters / before.parameters, 1), `${count(after.parameters)} of ${count(before.parameters)}`]);
  }
  main.append(el("header", null, el("p", { class: "kicker" }, page.kind), el("h1", null, page.name),
    page.unfinished && el("p", { class: "warn", role: "note" }, page.unfinished),
    numbers.length > 0 && el("dl", { class: "figures" }, numbers.map(([name, value, more]) =>
      el("div", null, el("dt", null, name), el("dd", null, value, el("small", null, more)))))));
}

function command(text) {
  const button = el("button", { type: "button", onclick: async () => {
    await navigator.clipboard?.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return el("div", { class: "command" }, el("pre", null, text.split(" ").flatMap((word) => [el("span", null, word), " "]).slice(0, -1)), button);
}

function what() {
  const { facts, repeat } = page;
  if (!facts && !repeat) return;
  const made = section("run", "What was run, and how to repeat it");
  if (facts) made.append(el("dl", { class: "facts" }, facts.map(([name, text]) => [el("dt", null, name), el("dd", null, text)])));
  if (!repeat) return;
  if (repeat.command) made.append(el("h3", null, "The command"), command(repeat.command));
  if (repeat.best) made.append(el("h3", null, "The best trial once more"), command(repeat.best));
  if (repeat.folder) made.append(el("h3", null, repeat.command ? "Or with the settings that the run has left" : "With the settings that the run has left"), command(repeat.folder));
  if (repeat.note) made.append(note(repeat.note));
  if (repeat.differs?.length) made.append(el("h3", null, "Settings that are not the defaults"), table([
    { key: "name", label: "setting", text: true, wrap: true, cell: (row) => el("code", null, breakable(row.name)) },
    { key: "value", label: "here", text: true, wrap: true, cell: (row) => el("code", null, row.value) },
    { key: "default", label: "default", text: true, wrap: true, cell: (row) => el("code", { class: "soft" }, row.default) },
  ], repeat.differs));
  const versions = Object.entries(repeat.versions ?? {});
  if (versions.length) made.append(el("h3", null, "Versions"), el("p", { class: "note" }, versions.map(([name, version]) => `${name} ${version}`).join(" · ")));
}

function results() {
  const splits = page.results;
  if (!splits) return;
  const made = section("results", "Results");
  made.append(table([
    { key: "name", label: "split", text: true },
    { key: "n", label: "n", format: count },
    { key: "acc", label: "accuracy", format: (value) => percent(value) },
    { key: "low", label: "95 % interval", format: (_, row) => interval(row.low, row.high) },
    { key: null, label: "0 to 100 %", text: true, cell: (row) => bar(row.acc, row.low, row.high, { mark: row.largest }) },
    { key: "balanced", label: "recall", format: (value) => percent(value) },
    { key: "f1", label: "F1", format: (value) => percent(value) },
    { key: "largest", label: "largest class", format: (value) => percent(value) },
  ], splits, { caption: "Top-1 accuracy with Wilson's interval; recall and F1 are means over the classes" }),
  note("The grey mark, “largest class”, is the accuracy of always naming the most frequent expression. ",
    page.kind === "Cross-validation" ? "Each image is tested once, by the network that has not seen it." : "All splits are evaluated with one checkpoint, which was chosen on val."));
  const start = Math.max(0, splits.findIndex((split) => split.name === "test"));
  const order = [splits[start], ...splits.filter((_, index) => index !== start)];
  const parts = section("classes", "By class, and what is taken for what");
  const place = el("div", { "aria-live": "polite" });
  const show = (index) => place.replaceChildren(classes(order[index]), confusion(order[index]));
  if (order.length > 1) parts.append(choice("Split", order.map((split) => split.name), show));
  parts.append(place);
  show(0);
  for (const image of page.images ?? []) parts.append(drawn(image));
}

function classes(split) {
  return table([
    { key: "name", label: "class", text: true },
    { key: "n", label: "n", format: count },
    { key: "recall", label: "recall", format: (value) => percent(value, 1) },
    { key: "low", label: "95 % interval", format: (_, row) => (row.n ? `${(100 * row.low).toFixed(1)} to ${(100 * row.high).toFixed(1)}` : NONE) },
    { key: null, label: "0 to 100 %", text: true, cell: (row) => bar(row.recall, row.low, row.high) },
    { key: "precision", label: "precision", format: (value) => percent(value, 1) },
    { key: "specificity", label: "specificity", format: (value) => percent(value, 1) },
    { key: "f1", label: "F1", format: (value) => percent(value, 1) },
  ], split.classes, { caption: `Each class of ${split.name}, n = ${count(split.n)}; sort by a click on a column`, sortable: true });
}

function confusion(split) {
  const names = split.classes.map((each) => each.name);
  const cells = (row, truth) => {
    const all = row.reduce((sum, value) => sum + value, 0);
    return row.map((value, guess) => {
      const share = all ? value / all : 0;
      const words = `${count(value)} of ${count(all)} that are ${names[truth]} were taken for ${names[guess]}`;
      return el("td", { class: truth === guess ? "right" : null, title: words,
        style: shade(share) },
      all ? `${Math.round(100 * share)} %` : NONE, el("small", null, count(value)));
    });
  };
  return el("figure", null,
    el("table", { class: "confusion" }, el("caption", null, `Rows: the truth. Columns: what the network says. Per cent of the row, and how many; ${split.name}, n = ${count(split.n)}`),
      el("colgroup", null, el("col"), names.map(() => el("col"))),
      el("thead", null, el("tr", null, el("td", null, el("span", { class: "sr" }, "truth")), names.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", null, split.confusion.map((row, truth) => el("tr", null, el("th", { scope: "row" }, names[truth]), cells(row, truth))))),
    el("figcaption", null, mistakes(split, names)));
}

// A background that is darker the larger the share, and black or white on it, whichever can be read better.
function shade(share) {
  const hex = look.shades[Math.round(90 * share)];
  const [r, g, b] = [1, 3, 5].map((at) => (parseInt(hex.slice(at, at + 2), 16) / 255) ** 2.2);
  return `background:${hex};color:${0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff"}`;
}

function mistakes(split, names) {
  const found = split.confusion.flatMap((row, truth) => row.map((value, guess) => ({ value, truth, guess, share: value / row.reduce((a, b) => a + b, 0) })))
    .filter(({ value, truth, guess }) => truth !== guess && value > 0).sort((a, b) => b.share - a.share).slice(0, 3);
  if (!found.length) return "No mistake.";
  return `Most often mistaken: ${found.map(({ truth, guess, share }) => `${names[truth]} for ${names[guess]} (${Math.round(100 * share)} %)`).join(", ")}.`;
}

function drawn({ title, alt, src, path }) {
  return el("figure", null, el("h3", null, title), src ? el("img", { class: "image", src, alt }) : note(`Too large for this page: ${path} in the run's folder.`));
}

function curves() {
  const all = page.curves;
  if (!all) return;
  const made = section("training", "How the training went");
  const bands = stageBands("network");
  const panel = (name, title, spec) => {
    if (!all[name]) return;
    const series = Object.entries(all[name]).map(([split, curve]) => ({ name: split, ...(LINES[split] ?? LINES.lr), ...curve }));
    made.append(el("figure", null, el("h3", null, title), (series.length > 1 || spec.best) && key([...series, ...(spec.best ? [{ name: spec.best.text, ring: true }] : [])]),
      chart({ series, bands, group: "epochs", label: `${title} over the epochs; arrow keys read the values. ${ends(series, spec.format ?? short)}`, ...spec })));
  };
  const acc = all.acc?.val;
  const top = acc && acc.y.reduce((best, y, i) => (y > acc.y[best] ? i : best), 0);
  panel("loss", "Loss", { height: 240 });
  panel("acc", "Accuracy", { height: 260, format: (y, isTick) => percent(y, isTick ? 0 : 2),
    best: acc && { x: acc.x[top], y: acc.y[top], text: `best on val: ${percent(acc.y[top])}, epoch ${acc.x[top]}` } });
  panel("lr", "Learning rate", { height: 150, xLabel: "epoch" });
  if (bands.length) {
    const seen = new Set(bands.map((band) => band.stage));
    made.append(note("Stages of the whole network, found when the run was over: ", bands.map((band) => `${band.text} (${band.first} to ${band.last})`).join(", "), ". ",
      [["initial", "Initial: the loss has not fallen yet, or the angles still move at their fastest. "], ["intermediate", "Intermediate: angles or losses still move. "],
        ["plateau", "Plateau: all stands still, and not at the best. "], ["solution", "Solution: all stands still, and val is as good as it ever was. "]].filter(([stage]) => seen.has(stage)).map(([, text]) => text)));
  }
  const columns = [["loss", "train"], ["loss", "val"], ["acc", "train"], ["acc", "val"], ["lr", "lr"]].filter(([name, split]) => all[name]?.[split]);
  const epochs = [...new Set(columns.flatMap(([name, split]) => all[name][split].x))].sort((a, b) => a - b);
  const rows = epochs.map((epoch) => Object.fromEntries([["epoch", epoch], ...columns.map(([name, split]) => [`${name} ${split}`, all[name][split].y[all[name][split].x.indexOf(epoch)] ?? null])]));
  made.append(el("details", null, el("summary", null, "All values"), table([{ key: "epoch", label: "epoch" }, ...columns.map(([name, split]) => (
    { key: `${name} ${split}`, label: name === split ? "learning rate" : `${name === "acc" ? "accuracy" : name}, ${split}`, format: name === "acc" ? (value) => percent(value) : short }))], rows,
  { caption: "Values of every epoch", sortable: true, tall: true })));
}
const ends = (series, format) => series.map((s) => `${s.name}: ${format(s.y[0])} at first, ${format(s.y.at(-1))} at last`).join("; ");

function neurons() {
  if (!page.fan && !page.heat) return;
  const made = section("neurons", "What the hidden neurons do");
  made.append(el("p", null, "The angle between two neurons' outputs over the same images says how distinct they are: near 0° they do the same, near 180° the opposite, and at 90° they have nothing in common."));
  const layers = Object.entries(page.fan ?? {});
  if (layers.length) {
    made.append(el("h3", null, "How the angles spread over the epochs"), key([
      { name: "5 to 95 % of pairs", color: "#BBDCF0", area: true }, { name: "25 to 75 %", color: "#6FB3DC", area: true },
      { name: "median", color: "#00304D" }, { name: "smallest, largest", color: "#00304D", dash: "2 3" }]));
    made.append(el("div", { class: "many" }, layers.map(([layer, fan]) => {
      const dark = "#00304D";
      const line = (name, title, more) => ({ name: title, x: fan.x, y: fan[name], color: dark, ...more });
      const series = [line("max", "largest", { dash: "2 3", width: 1 }), line("median", "median"), line("min", "smallest", { dash: "2 3", width: 1 })];
      return el("figure", null, el("h4", null, layer), chart({ series, height: 190, narrow: true, group: "epochs", domain: [0, 180], ticks: [0, 45, 90, 135, 180], bands: stageBands(layer),
        lines: [look.similar, look.complementary], format: (y) => `${Math.round(y)}°`,
        areas: [{ x: fan.x, low: fan.q05, high: fan.q95, color: "#BBDCF0" }, { x: fan.x, low: fan.q25, high: fan.q75, color: "#6FB3DC" }],
        label: `Angles of ${layer}; ${ends([series[1]], (y) => `${Math.round(y)}°`)}` }));
    })), note(`Dashed lines: ${look.similar}° and ${look.complementary}°, below and above which two neurons count as similar or complementary. Bands: the layer's own stages.`));
  }
  if (page.heat?.layers.length) made.append(heat(page.heat));
}

// The angles of every pair, epoch by epoch

async function unpack({ data, shown }, numFrames) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const codes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = (shown.length * (shown.length - 1)) / 2;
  for (let i = size; i < size * numFrames; i++) codes[i] += codes[i - size]; // modulo 256, by itself
  return Array.from({ length: numFrames }, (_, frame) => codes.subarray(frame * size, (frame + 1) * size));
}

function heat({ step, epochs, measured, layers }) {
  const state = { layer: 0, frame: epochs.length - 1, frames: [], timer: null };
  const colours = look.angles.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const canvas = el("canvas", { role: "img" });
  const said = el("p", { class: "note", "aria-live": "polite", id: "pair" });
  const words = el("div", { id: "heat-words" });
  const shape = el("div", { id: "heat-shape" });
  const slider = el("input", { type: "range", id: "epoch", min: 0, max: epochs.length - 1, value: state.frame, oninput: () => { stop(); state.frame = Number(slider.value); paint(); } });
  const output = el("output", { for: "epoch" });
  const play = el("button", { type: "button", class: "play", onclick: () => (state.timer ? stop() : start()) }, "Play");
  const pick = choice("Layer", layers.map((each) => each.name), (index) => { state.layer = index; load(); });

  function stop() { clearInterval(state.timer); state.timer = null; play.textContent = "Play"; }
  function start() {
    if (state.frame === epochs.length - 1) state.frame = -1;
    play.textContent = "Pause";
    state.timer = setInterval(() => { state.frame += 1; if (state.frame >= epochs.length - 1) stop(); paint(); }, 180);
  }
  async function load() {
    const layer = layers[state.layer];
    if (!state.frames[state.layer]) state.frames[state.layer] = await unpack(layer, epochs.length);
    canvas.width = canvas.height = layer.shown.length;
    paint();
  }
  function paint() {
    const { name, shown, neurons: all, without } = layers[state.layer];
    const codes = state.frames[state.layer][state.frame];
    const epoch = epochs[state.frame];
    slider.value = state.frame;
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    output.textContent = `epoch ${epoch}`;
    const n = shown.length;
    const context = canvas.getContext("2d");
    const image = context.createImageData(n, n);
    const counts = new Array(60).fill(0);
    let [similar, opposite, pairs] = [0, 0, 0];
    const put = (row, column, [r, g, b]) => image.data.set([r, g, b, 255], 4 * (row * n + column));
    for (let i = 0, k = 0; i < n; i++) {
      put(i, i, colours[0]);
      for (let j = i + 1; j < n; j++, k++) {
        const code = codes[k];
        const colour = code === look.none ? [190, 190, 190] : colours[code];
        put(i, j, colour);
        put(j, i, colour);
        if (code === look.none) continue;
        pairs += 1;
        similar += code < look.similar / step;
        opposite += code >= look.complementary / step;
        counts[Math.min(59, Math.floor((code * step) / 3))] += 1;
      }
    }
    context.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", `Angles between the neurons of ${name} after epoch ${epoch}`);
    const half = [...codes].filter((code) => code !== look.none).sort((a, b) => a - b);
    const median = half.length ? `${Math.round(half[half.length >> 1] * step)}°` : NONE;
    const left = [without ? `${count(without)} without an angle at the end` : "", n < all - without ? `${count(n)} of them are shown` : ""].filter(Boolean).join("; ");
    words.replaceChildren(el("h4", null, `${name}, epoch ${epoch}`), el("dl", { class: "facts" },
      [["neurons", count(all) + (left ? ` (${left})` : "")], ["pairs shown", count(pairs)], ["median angle", median],
        [`below ${look.similar}°`, `${count(similar)} ${similar === 1 ? "pair" : "pairs"}`], [`above ${look.complementary}°`, `${count(opposite)} ${opposite === 1 ? "pair" : "pairs"}`]]
        .map(([term, text]) => [el("dt", null, term), el("dd", null, text)])));
    histogram(counts, pairs);
    said.textContent = "Point at the map to read a pair.";
  }
  function histogram(counts, pairs) {
    const [width, height] = [300, 120];
    const top = Math.max(...counts, 1);
    const X = (degrees) => 4 + (degrees / 180) * (width - 8);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `How the ${count(pairs)} angles are distributed`, width: "100%" });
    counts.forEach((value, bin) => root.append(svg("rect", { x: X(bin * 3), width: X(3) - X(0) - 0.5, y: 100 - (value / top) * 92, height: (value / top) * 92, fill: "var(--blue)" })));
    for (const line of [look.similar, look.complementary]) root.append(svg("line", { x1: X(line), x2: X(line), y1: 4, y2: 100, stroke: "var(--grey)", "stroke-dasharray": "4 3" }));
    root.append(svg("line", { x1: X(0), x2: X(180), y1: 100, y2: 100, stroke: "var(--grey)" }));
    for (const at of [0, 45, 90, 135, 180]) root.append(svg("text", { class: "axis", x: X(at), y: 115, "text-anchor": at === 0 ? "start" : at === 180 ? "end" : "middle" }, `${at}°`));
    shape.replaceChildren(root);
  }
  canvas.addEventListener("pointermove", (event) => {
    const { left, top, width } = canvas.getBoundingClientRect();
    const { shown } = layers[state.layer];
    const n = shown.length;
    const [a, b] = [event.clientY - top, event.clientX - left].map((at) => Math.max(0, Math.min(n - 1, Math.floor((at / width) * n))));
    if (!state.frames[state.layer] || a === b) return;
    const [i, j] = a < b ? [a, b] : [b, a];
    const code = state.frames[state.layer][state.frame][i * n - (i * (i + 1)) / 2 + j - i - 1];
    said.textContent = `Neurons ${shown[a]} and ${shown[b]}: ${code === look.none ? "no angle" : `${(code * step).toFixed(0)}°`}`;
  });
  const frame = el("div", null, canvas, el("div", { class: "ramp", style: `background:linear-gradient(90deg,${look.angles.filter((_, i) => i % 12 === 0).join(",")})` }),
    el("div", { class: "ends" }, el("span", null, "0° the same"), el("span", null, "90°"), el("span", null, "180° opposite")), said);
  const whole = el("div", null, el("h3", null, "Every pair, epoch by epoch"), pick,
    el("div", { class: "controls" }, play, el("label", { class: "slide" }, "Epoch", slider), output),
    el("div", { class: "heat" }, frame, el("div", null, words, shape)),
    note("Neurons stand in one order for all epochs: those that are alike in the last one, or opposite, are side by side. ",
      epochs.length < measured ? `${epochs.length} of ${measured} measured epochs are shown, to keep the page small. ` : "",
      `Angles are rounded down to ${step}°.`));
  if (typeof DecompressionStream === "undefined") frame.replaceChildren(note("This browser is too old to unpack the angles; one of 2023 or newer can."));
  else load();
  return whole;
}

function pruning() {
  const { prune, prune_curve: curve } = page;
  if (!prune && !curve) return;
  const made = section("pruning", "Without the neurons that others can stand for");
  if (prune) {
    const { before, after, mcnemar, layers, refused, blocks, settings } = prune;
    const ratio = (a, b) => (a ? percent(b / a, 1) : NONE);
    const line = (name, format, get) => ({ name, before: format(get(before)), after: format(get(after)), ratio: ratio(get(before), get(after)) });
    const rows = [
      { name: "accuracy on val", before: percent(before.acc), after: percent(after.acc), ratio: "" },
      { name: "95 % interval", before: interval(...before.interval), after: interval(...after.interval), ratio: "" },
      line("loss on val", short, (each) => each.loss), line("parameters", count, (each) => each.parameters), line("multiply-adds", count, (each) => each.macs),
      ...(before.bytes ? [line("bytes of its file", count, (each) => each.bytes)] : []),
      ...Object.keys(before.milliseconds ?? {}).map((size) => line(`ms, batch of ${size}`, (value) => value.toFixed(2), (each) => each.milliseconds[size])),
    ];
    made.append(table([{ key: "name", label: "", text: true }, { key: "before", label: "before" }, { key: "after", label: "after" }, { key: "ratio", label: "of it" }], rows,
      { caption: `n = ${count(prune.n)}; ${prune.protocol}` }),
    el("p", null, `Of ${count(prune.n)} images the smaller network lost ${count(mcnemar.lost)} that were right and won ${count(mcnemar.won)} that were wrong (McNemar, p = ${short(mcnemar.p)}).`),
    settings && note(Object.entries(settings).filter(([, value]) => value !== null).map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(" · ")));
    const entries = Object.entries(layers ?? {}).map(([name, layer]) => ({ name, ...layer }));
    const causes = ["dead", "constant", "similar", "complementary", "span", "block"].filter((cause) => entries.some((each) => each[cause]));
    if (entries.length) made.append(table([
      { key: "name", label: "layer", text: true }, { key: "before", label: "neurons", format: count }, { key: "after", label: "left", format: count },
      { key: null, label: "0 to 100 %", text: true, cell: (row) => bar(row.after / row.before, null, null) },
      ...causes.map((cause) => ({ key: cause, label: cause, format: count })),
    ], entries, { caption: "What went from each layer, and why", sortable: true }));
    const gone = Object.entries(blocks ?? {});
    if (gone.length) made.append(note("Gone as a whole, with the share they changed of what they were given: ", gone.map(([name, share]) => `${name} (${percent(share, 1)})`).join(", "), "."));
    const kept = Object.entries(refused ?? {});
    if (kept.length) made.append(note("All stay: ", kept.map(([name, why]) => `${name} (${why})`).join("; "), "."));
  }
  if (curve) made.append(pruneCurve(curve));
}

function pruneCurve({ protocol, n, rules }) {
  const axes = [["threshold", "threshold", short], ["neurons", "neurons left", count], ["macs", "multiply-adds", count]]
    .filter(([name]) => Object.values(rules).every((rule) => rule[name]?.some(isNumber)));
  const place = el("div");
  const names = Object.keys(rules);
  function show(index) {
    const [name, title, format] = axes[index];
    const series = names.map((rule, i) => {
      const order = rules[rule][name].map((_, k) => k).sort((a, b) => rules[rule][name][a] - rules[rule][name][b]);
      const along = (column) => order.map((k) => rules[rule][column]?.[k] ?? null);
      return { name: rule, color: COLOURS[i % COLOURS.length], dash: DASHES[Math.floor(i / COLOURS.length) + (i % 2)] , marks: true, x: along(name), y: along("acc"), low: along("acc_low"), high: along("acc_high") };
    });
    place.replaceChildren(key(series), chart({ series, height: 300, xLabel: title, xName: title, xFormat: format, xWhole: false, format: (y, isTick) => percent(y, isTick ? 0 : 2), label: `Accuracy over ${title}` }));
  }
  show(0);
  return el("figure", null, el("h3", null, "What is left of the accuracy, the more is taken out"), axes.length > 1 && choice("Over", axes.map(([, title]) => title), show), place,
    el("figcaption", null, [protocol, n && `n = ${count(n)}`, "bands: 95 % intervals"].filter(Boolean).join("; ")));
}

function folds() {
  const { folds: all, fold_curves: curves } = page;
  if (!all && !curves) return;
  const made = section("folds", "The folds");
  if (all) {
    const rows = all.rows.map(({ fold, val, test, epochs, seconds }) => ({ fold, val: val.acc, acc: test.acc, low: test.low, high: test.high, n: test.n, balanced: test.balanced, epochs, seconds, mark: test.largest }));
    const foot = el("tfoot", null, [["mean", all.mean], ["std. dev.", all.std]].map(([name, of]) =>
      el("tr", null, el("th", { scope: "row", class: "text" }, name), el("td", null, percent(of.val)), el("td", null, percent(of.test)), el("td", { colspan: 6 }))));
    made.append(table([
      { key: "fold", label: "fold", text: true }, { key: "val", label: "val", format: (value) => percent(value) }, { key: "acc", label: "test", format: (value) => percent(value) },
      { key: "low", label: "95 % interval", format: (_, row) => interval(row.low, row.high) }, { key: null, label: "0 to 100 %", text: true, cell: (row) => bar(row.acc, row.low, row.high, { mark: row.mark }) },
      { key: "n", label: "n, test", format: count }, { key: "balanced", label: "recall", format: (value) => percent(value) },
      { key: "epochs", label: "epochs", format: count }, { key: "seconds", label: "time", format: minutes },
    ], rows, { caption: "Accuracy of each fold's best checkpoint; recall is the mean over the classes of test", sortable: true, foot }));
  }
  const lines = Object.entries(curves ?? {}).map(([fold, curve], i) => ({ name: `fold ${fold}`, color: COLOURS[i % COLOURS.length], dash: DASHES[i % DASHES.length], ...curve }));
  if (lines.length) made.append(el("figure", null, el("h3", null, "Accuracy on val"), key(lines),
    chart({ series: lines, height: 260, xLabel: "epoch", format: (y, isTick) => percent(y, isTick ? 0 : 2), label: `Accuracy on val over the epochs, a line for each fold. ${ends(lines, (y) => percent(y))}` })));
}

function sweep() {
  if (!page.sweep) return;
  const { metric, maximize, best, parameters, rows, importances } = page.sweep;
  const made = section("trials", "The trials");
  if (!rows.length) { made.append(note("No trial has begun.")); return; }
  const known = rows.filter((row) => isNumber(row.value));
  const parallel = known.length && parameters.length ? parallels(parameters, known, metric, maximize, best) : null;
  if (parallel) made.append(parallel.figure);
  const flat = rows.map(({ point, ...row }) => ({ ...row, ...Object.fromEntries(Object.entries(point).map(([name, value]) => [`point ${name}`, isNumber(value) ? value : said(value)])) }));
  made.append(table([
    { key: "name", label: "trial", text: true }, { key: "value", label: metric, format: short, cell: (row) => (row.name === best?.name ? el("strong", null, `${short(row.value)} (best)`) : short(row.value)) },
    ...parameters.map(({ name }) => ({ key: `point ${name}`, label: name, format: said })),
    { key: "state", label: "state", text: true }, { key: "values", label: "epochs", format: count }, { key: "seconds", label: "time", format: minutes },
    ...(rows.some((row) => row.reason) ? [{ key: "reason", label: "why it ended", text: true, wrap: true }] : []),
  ], flat, { caption: `${rows.length} trials; sort by a click on a column`, sortable: true, tall: rows.length > 15, onrow: (place) => parallel?.light(place === null ? null : rows[place].name) }));
  if (importances.length) {
    made.append(el("h3", null, "What bears on it"), table([
      { key: "name", label: "setting", text: true, cell: (row) => el("code", null, row.name) }, { key: "share", label: "importance", format: (value) => percent(value, 0) },
      { key: null, label: "0 to 100 %", text: true, cell: (row) => bar(row.share, null, null) }, { key: "correlation", label: "rank correlation", format: (value) => (isNumber(value) ? value.toFixed(2) : NONE) },
    ], importances, { caption: `Shares of a random forest's gain; n = ${known.length} trials` }));
  }
}

// A setting's value, which may be a list.
function said(value) {
  if (isNumber(value)) return short(value);
  if (value === null || value === undefined) return NONE;
  return typeof value === "string" ? value : JSON.stringify(value).replaceAll(",", ", ");
}

// A line for each trial, over an axis for each setting and one for what was looked for.
function parallels(parameters, rows, metric, maximize, best) {
  const axes = [...parameters.map(({ name, log }) => ({ name, log, get: (row) => row.point[name] })), { name: metric, get: (row) => row.value }];
  const [width, height, top, bottom] = [Math.max(800, 133 * axes.length), 300, 44, 270];
  const X = (place) => 8 + (place * (width - 98)) / (axes.length - 1);
  for (const axis of axes) {
    const known = rows.map(axis.get).filter((value) => value !== null && value !== undefined);
    const values = [...new Map(known.map((value) => [JSON.stringify(value), value])).values()]; // two equal lists are one value
    axis.isNumeric = values.every(isNumber) && values.length > 0;
    if (axis.isNumeric) {
      const scale = axis.log && values.every((value) => value > 0) ? Math.log10 : (value) => value;
      const [low, high] = [Math.min(...values), Math.max(...values)];
      axis.y = (value) => bottom - (high > low ? (scale(value) - scale(low)) / (scale(high) - scale(low)) : 0.5) * (bottom - top);
      axis.marks = high > low ? [low, high] : [low];
    } else {
      axis.marks = values.sort((a, b) => said(a).localeCompare(said(b), "en", { numeric: true }));
      const order = values.map((value) => JSON.stringify(value));
      axis.y = (value) => bottom - (order.length > 1 ? order.indexOf(JSON.stringify(value)) / (order.length - 1) : 0.5) * (bottom - top);
    }
  }
  const values = rows.map((row) => row.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const rank = (row) => (high > low ? (maximize ? row.value - low : high - row.value) / (high - low) : 1);
  const root = svg("svg", { class: "parallels", viewBox: `0 0 ${width} ${height}`, style: `min-width:${0.8 * width}px`, role: "img", "aria-label": `A line for each of ${rows.length} trials over its settings and ${metric}; the table below has the numbers` });
  const lines = new Map();
  for (const row of [...rows].sort((a, b) => rank(a) - rank(b))) {
    const points = axes.map((axis, place) => [X(place), axis.get(row) === null || axis.get(row) === undefined ? null : axis.y(axis.get(row))]).filter(([, y]) => y !== null);
    const isBest = row.name === best?.name;
    const line = svg("path", { class: "line", d: points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""), stroke: isBest ? "var(--vermillion)" : look.shades[Math.round(25 + 60 * rank(row))], "stroke-width": isBest ? 3 : 1.5 },
      svg("title", null, `${row.name}: ${short(row.value)}`));
    lines.set(row.name, line);
    root.append(line);
  }
  axes.forEach((axis, place) => {
    const [start, end] = axis.name.split(/(?<=[./])(?!.*[./])/);
    root.append(svg("line", { x1: X(place), x2: X(place), y1: top, y2: bottom, stroke: "var(--ink)" }));
    root.append(svg("text", { "font-weight": 600 }, svg("tspan", { x: X(place) - 4, y: end ? 12 : 26 }, start), end && svg("tspan", { x: X(place) - 4, y: 26 }, end)));
    for (const value of axis.marks) root.append(svg("text", { class: "halo axis", x: X(place) + 7, y: axis.y(value) + 4 }, said(value)));
  });
  function light(name) {
    for (const [other, line] of lines) line.style.opacity = name === null || name === other ? "" : "0.12";
  }
  const figure = el("figure", null, el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "trials over their settings" }, root),
    el("figcaption", null, "Darker lines are better trials, and the thick orange one is the best. Point at a row of the table to see its line alone."));
  return { figure, light };
}

head();
what();
sweep();
folds();
results();
curves();
neurons();
pruning();
main.append(el("footer", null, `Made by fer ${page.version}, ${page.made}, from the folder ${page.name}. Intervals are Wilson's, 95 %. Nothing on this page was loaded from anywhere.`));

// On a small screen the contents wait to be opened; on a large one they say where one is.
const contents = document.getElementById("contents");
const isSmall = matchMedia("(max-width: 66rem)");
const fold = () => { contents.open = !isSmall.matches; };
isSmall.addEventListener("change", fold);
fold();
contents.addEventListener("click", (event) => { if (event.target.closest("a") && isSmall.matches) contents.open = false; });
const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
const watch = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(target.id)?.setAttribute("aria-current", "location");
  }
}, { rootMargin: "-20% 0px -70% 0px" });
document.querySelectorAll("section").forEach((each) => watch.observe(each));
