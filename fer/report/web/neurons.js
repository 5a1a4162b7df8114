// The distribution of the angles between neurons over the epochs, and the angle of every pair.

const RANK_NOTE =
  "Below: the effective rank, the number of directions in which the layer's activations vary.";
const FAN = {
  wide: "var(--fan-wide)",
  middle: "var(--fan-middle)",
  dark: "var(--fan-line)",
};

function showNeurons() {
  if (!page.fan && !page.heat && !page.layers && !page.feature_maps) return;
  const made = section("neurons", "Hidden neurons");
  made.append(
    el(
      "p",
      "The angle between two neurons' activation vectors (their outputs over the same samples) ",
      "says how distinct the neurons are: near 0° they do the same, near 180° the opposite, and ",
      "at 90° they have nothing in common.",
    ),
  );
  const layers = Object.entries(page.fan ?? {});
  if (layers.length) {
    const signs = [
      { name: "5 to 95 % of pairs", color: FAN.wide, isArea: true },
      { name: "25 to 75 %", color: FAN.middle, isArea: true },
      { name: "median", color: FAN.dark },
      { name: "smallest, largest", color: FAN.dark, dash: "2 3" },
      ...stageSigns(layers.flatMap(([name]) => stageBands(name))),
    ];
    made.append(
      el("h3", "Distribution of the angles during the training"),
      key(signs),
      el("div", { class: "many" }, layers.map(fanOf)),
      note(
        `Two neurons below the lower dashed line (${look.similar}°) count as similar, above the `,
        `upper one (${look.complementary}°) as complementary. `,
        "Background: the layer's own training stages; the line where a ",
        "stage begins is dashed if no other measure confirms it (see Training). ",
        page.ranks && RANK_NOTE,
      ),
    );
  }
  if (page.layers) made.append(layerTable(page.layers));
  if (page.collapse) made.append(collapse(page.collapse));
  if (page.heat?.layers.length) made.append(heat(page.heat));
  made.append(...(page.feature_maps ?? []).map(drawn));
}

function fanOf([layer, fan]) {
  const curve = (name, title, more) => ({
    name: title,
    x: fan.x,
    y: fan[name],
    color: FAN.dark,
    ...more,
  });
  const thin = { dash: "2 3", width: 1 };
  const median = curve("median", "median");
  const spec = {
    series: [curve("max", "largest", thin), median, curve("min", "smallest", thin)],
    areas: [
      { x: fan.x, low: fan.q05, high: fan.q95, color: FAN.wide },
      { x: fan.x, low: fan.q25, high: fan.q75, color: FAN.middle },
    ],
    bands: stageBands(layer),
    lines: [look.similar, look.complementary],
    domain: [0, 180],
    ticks: [0, 45, 90, 135, 180],
    format: degrees,
    label: `Angles of ${layer}; ${ends([median], degrees)}`,
  };
  const shared = { isTime: true, isNarrow: true, group: "epochs" };
  const rank = rankOf(layer, { ...shared, xLabel: TIME });
  const drawn = chart({ ...spec, ...shared, height: 190, ...(rank ? {} : { xLabel: TIME }) });
  return el("figure", el("h4", layer), drawn, rank);
}

// The effective rank of a layer on a scale up to its width, below its angles.
function rankOf(layer, shared) {
  const rank = page.ranks?.[layer];
  const width = widthOf(layer);
  if (!rank || !width) return null;
  const series = [{ name: "rank", x: rank.x, y: rank.y, color: FAN.dark, width: 1.5 }];
  const format = (value) => `${count(Math.round(value))} of ${count(width)}`;
  const tickFormat = (value) => (value ? count(width) : "0");
  const areas = [{ x: rank.x, low: rank.y.map(() => 0), high: rank.y, color: FAN.wide }];
  const label = `Effective rank of ${layer}; ${ends(series, format)}`;
  const spec = { series, areas, format, tickFormat, label, domain: [0, width], ticks: [0, width] };
  return [
    chart({ ...spec, ...shared, height: 72 }),
    el("p", { class: "note" }, `effective rank at the end: ${format(rank.y.at(-1))}`),
  ];
}

const widthOf = (layer) => page.heat?.layers.find(({ name }) => name === layer)?.neurons;

function layerTable(layers) {
  const rows = layers.map((each) => ({ ...each, neurons: widthOf(each.name) }));
  const columns = [
    words("name", "layer", breakable),
    numbers("neurons", "neurons"),
    numbers("effective", "effective rank", tenths),
    numbers("participation", "participation ratio", tenths),
    numbers("dormant", "dormant", percent1),
    numbers("cloned", "cloned", percent1),
    numbers("redundant", "redundant", percent1),
  ];
  const caption = "How many different neurons each layer has, at the end of the training";
  const few = layers.filter((each) => each.has_few_samples).map(({ name }) => name);
  return el(
    "div",
    el("h3", "Different, dormant and redundant neurons"),
    table(columns, rows, { caption, sortable: true }),
    note(
      "Effective rank: the number of directions in which the layer's activations vary, by the ",
      "entropy of their variances. Participation ratio: the same number, in which large variances ",
      "count more. Dormant: neurons whose mean activation is at most a tenth of their layer's. ",
      "Cloned: the share of the variance that groups of similar neurons have in common. ",
      `Redundant: neurons within ${look.similar}° of the linear span of the others. `,
      few.length > 0 && `Unknown for ${few.join(", ")}, measured on fewer than two samples for `,
      few.length > 0 && "each neuron: almost any neurons fit so few samples. ",
      few.length > 0 && ["Raise ", code("--distinctiveness.num_samples"), "."],
    ),
  );
}

// Neural collapse: whether the last hidden layer maps the samples of each class to one point.
function collapse({ nc1, nc2_spread: nc2, nc4 }) {
  const numClasses = page.results?.[0]?.classes.length;
  const ideal = numClasses > 1 && (Math.acos(-1 / (numClasses - 1)) * 180) / Math.PI;
  const panel = (title, curve, spec) => {
    if (!curve) return null;
    const series = [{ name: title, color: "var(--blue)", ...curve }];
    const label = `${title}; ${ends(series, spec.format)}`;
    const shared = { isTime: true, isNarrow: true, group: "epochs", height: 170, xLabel: TIME };
    return el("figure", el("h4", title), chart({ series, label, ...shared, ...spec }));
  };
  const angle = (value) => (isNumber(value) ? `${value.toFixed(1)}°` : NONE);
  const asShare = { format: percent1, tickFormat: percent0, domain: [0, 1] };
  return el(
    "div",
    el("h3", "Neural collapse of the last hidden layer"),
    el(
      "div",
      { class: "many" },
      panel("NC1: spread", nc1, { format: short }),
      panel("NC2: spread of the angles", nc2, { format: angle, tickFormat: angle }),
      panel("NC4: nearest class mean", nc4, asShare),
    ),
    note(
      "Late in training, the last hidden layer tends to map all samples of a class to one ",
      "point, and these points become equally far apart (Papyan, Han and Donoho, 2020). ",
      "NC1: the spread within the classes relative to that between them, 0 when all samples of a ",
      "class coincide. ",
      nc2 && "NC2: the standard deviation of the angles between the class means, 0° if all angles ",
      nc2 && "are equal",
      nc2 && ideal && ` (each is then ${ideal.toFixed(2)}° for ${numClasses} classes)`,
      nc2 && ". ",
      "NC4: the share of samples for which the network predicts the class with the nearest mean.",
    ),
  );
}

// The angles of a layer: one byte per epoch and pair above the diagonal, row by row.
async function unpack({ data, shown }, numFrames) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const codes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = (shown.length * (shown.length - 1)) / 2;
  // Each epoch is stored as its difference from the one before; bytes wrap around at 256.
  for (let i = size; i < size * numFrames; i++) codes[i] += codes[i - size];
  const frame = (_, place) => codes.subarray(place * size, (place + 1) * size);
  return Array.from({ length: numFrames }, frame);
}

function heat({ step, epochs, measured, layers }) {
  const last = epochs.length - 1;
  const frames = [];
  let [layer, frame, timer] = [0, last, null];
  const canvas = el("canvas", { role: "img" });
  const pair = note();
  const [summary, shape] = [el("div", { id: "heat-words" }), el("div", { id: "heat-shape" })];
  const range = { type: "range", id: "epoch", min: 0, max: last, value: last };
  const slider = el("input", { ...range, oninput: () => (stop(), show(Number(slider.value))) });
  const output = el("output", { for: "epoch" });
  const onclick = () => (timer ? stop() : start());
  const play = el("button", { type: "button", class: "play", onclick }, "Play");

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }
  function start() {
    if (frame === last) frame = -1;
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (frame + 1 >= last) stop();
      show(frame + 1);
    }, 180);
  }
  async function load(index) {
    layer = index;
    frames[layer] ??= await unpack(layers[layer], epochs.length);
    show(frame);
  }
  function show(next) {
    frame = next;
    const codes = frames[layer][frame];
    slider.value = frame;
    output.textContent = `epoch ${epochs[frame] + 1}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    const title = `${layers[layer].name}, epoch ${epochs[frame] + 1}`;
    paint(canvas, codes, layers[layer].shown.length);
    canvas.setAttribute("aria-label", `Angles between the neurons of ${title}`);
    summary.replaceChildren(el("h4", title), facts(angleFacts(codes, step, layers[layer])));
    shape.replaceChildren(histogram(codes, step));
    pair.textContent = "Point at the map, or tap it, to read a pair.";
  }
  canvas.addEventListener("pointermove", (event) => {
    const { left, top, width } = canvas.getBoundingClientRect();
    const { shown } = layers[layer];
    const n = shown.length;
    const place = (at) => Math.max(0, Math.min(n - 1, Math.floor((at / width) * n)));
    const [a, b] = [place(event.clientY - top), place(event.clientX - left)];
    if (!frames[layer] || a === b) return;
    const [i, j] = [Math.min(a, b), Math.max(a, b)];
    const angle = frames[layer][frame][i * n - (i * (i + 1)) / 2 + j - i - 1];
    const words = angle === look.none ? "no angle" : degrees(angle * step);
    pair.textContent = `Neurons ${shown[a]} and ${shown[b]}: ${words}`;
  });

  const colours = look.angles.filter((_, i) => i % 12 === 0).join(",");
  const ramp = el("div", { class: "ramp", style: `background:linear-gradient(90deg,${colours})` });
  const names = ["0° the same", "90°", "180° opposite"].map((name) => el("span", name));
  const map = el("div", canvas, ramp, el("div", { class: "ends" }, names), pair);
  if (typeof DecompressionStream === "undefined")
    map.replaceChildren(note("This map needs a browser from 2023 or later."));
  else load(0);
  const thinned = `Shown are ${epochs.length} of ${measured} measured epochs. `;
  return el(
    "div",
    el("h3", "Every pair, epoch by epoch"),
    choice(
      "Layer",
      layers.map((each) => each.name),
      load,
    ),
    el(
      "div",
      { class: "controls" },
      play,
      el("label", { class: "slide" }, "Epoch", slider),
      output,
    ),
    el("div", { class: "heat" }, map, el("div", summary, shape)),
    note(
      "All epochs show the neurons in the same order: those that are similar or opposite in the ",
      "last epoch are neighbours. ",
      epochs.length < measured && thinned,
      `Angles are rounded down to multiples of ${step}°.`,
    ),
  );
}

function paint(canvas, codes, n) {
  canvas.width = canvas.height = n;
  const context = canvas.getContext("2d");
  const image = context.createImageData(n, n);
  const colours = look.angles.map(rgb);
  const put = (row, column, [r, g, b]) => image.data.set([r, g, b, 255], 4 * (row * n + column));
  for (let i = 0, k = 0; i < n; i++) {
    put(i, i, colours[0]);
    for (let j = i + 1; j < n; j++, k++) {
      const colour = colours[codes[k]] ?? [190, 190, 190];
      put(i, j, colour);
      put(j, i, colour);
    }
  }
  context.putImageData(image, 0, 0);
}

function angleFacts(codes, step, { neurons, without, shown }) {
  const known = codes.filter((angle) => angle !== look.none).sort();
  const pairs = (test) => plural(known.filter(test).length, "pair");
  const left = [
    without && `${count(without)} without an angle at the end`,
    shown.length < neurons - without && `${count(shown.length)} of them are shown`,
  ].filter(Boolean);
  return [
    ["neurons", count(neurons) + (left.length ? ` (${left.join("; ")})` : "")],
    ["pairs shown", count(known.length)],
    ["median angle", known.length ? degrees(known[known.length >> 1] * step) : NONE],
    [`below ${look.similar}°`, pairs((angle) => angle * step < look.similar)],
    [`above ${look.complementary}°`, pairs((angle) => angle * step >= look.complementary)],
  ];
}

function histogram(codes, step) {
  const bins = new Array(60).fill(0);
  const known = codes.filter((angle) => angle !== look.none);
  known.forEach((angle) => (bins[Math.min(59, Math.floor((angle * step) / 3))] += 1));
  const X = (angle) => 4 + (angle / 180) * 292;
  const unit = 92 / Math.max(...bins, 1);
  const dashed = { stroke: "var(--grey)", "stroke-dasharray": "4 3" };
  const anchors = { 0: "start", 180: "end" };
  const label = `Distribution of the ${count(known.length)} angles`;
  return svg(
    "svg",
    { viewBox: "0 0 300 120", role: "img", "aria-label": label, width: "100%" },
    bins.map((number, bin) =>
      rect(X(bin * 3), 100 - number * unit, X(3) - X(0) - 0.5, number * unit, {
        fill: "var(--blue)",
      }),
    ),
    [look.similar, look.complementary].map((at) => line(X(at), 4, X(at), 100, dashed)),
    line(X(0), 100, X(180), 100, { stroke: "var(--grey)" }),
    [0, 45, 90, 135, 180].map((at) =>
      text(X(at), 115, { class: "axis", "text-anchor": anchors[at] ?? "middle" }, degrees(at)),
    ),
  );
}
