// A pruned network compared with the original, and accuracy over the number of neurons removed.

function showPruning() {
  const { prune, prune_curve: curve } = page;
  if (!prune && !curve) return;
  const made = section("pruning", "Pruning");
  if (prune) made.append(...pruned(prune));
  made.append(...(page.prune_images ?? []).map(drawn));
  if (curve) made.append(pruneCurve(curve));
}

// A number of neurons, a share or a target takes the place of the thresholds.
const THRESHOLDS = ["similar_below", "complementary_above"];

const isSized = ({ settings, target }) =>
  Boolean(target ?? settings?.num_removed ?? settings?.share_removed);

// More metrics than these, such as the recall of each class, are folded away.
const MOST_METRICS = 4;

// Whether a metric has the values of the accuracy or the loss, up to single precision.
const isSame = (name, key, ...sides) =>
  sides.every(({ metrics, [key]: value }) => Math.abs(metrics?.[name] - value) <= 1e-6);

function pruned(results) {
  const { before, after, mcnemar, layers, refused, blocks, settings, n, protocol } = results;
  const row = (name, format, get, hasRatio = true) => {
    const [old, now] = [get(before), get(after)];
    const ratio = hasRatio && old ? percent1(now / old) : "";
    return { name, before: format(old), after: format(now), ratio };
  };
  const isClassifier = isNumber(before.acc) && isNumber(after.acc);
  // Of a classifier, the first rows have them, whatever its LightningModule calls them.
  const isRepeated = (name) =>
    isClassifier && ["acc", "loss"].some((key) => isSame(name, key, before, after));
  const names = Object.keys(before.metrics ?? {}).filter((name) => !isRepeated(name));
  const metrics = names.map((name) =>
    row(name, short, (each) => each.metrics?.[name] ?? null, false),
  );
  const isLong = metrics.length > MOST_METRICS;
  const rows = [
    ...(isClassifier ? quality(row) : []),
    ...(isLong ? [] : metrics),
    row("parameters", count, (each) => each.parameters),
    row("multiply-adds", count, (each) => each.macs),
    ...(before.bytes ? [row("file size in bytes", count, (each) => each.bytes)] : []),
    ...results.latencies.map(latency),
  ];
  const sides = ["before", "after"].map((side) => numbers(side, side, null));
  const ratio = numbers("ratio", "after / before", null);
  const columns = [words("name", "", breakable), ...sides, ratio];
  const caption = [n && `n = ${count(n)}`, protocol].filter(Boolean).join("; ");
  // Thresholds do not count where a size was set; its numbers are in the table of the layers.
  const unused = [
    ...(isSized(results) ? THRESHOLDS : []),
    ...(results.target ? ["num_removed"] : []),
  ];
  const given = Object.entries(settings ?? {}).filter(
    ([name, value]) => value !== null && !unused.includes(name),
  );
  const removed = Object.entries(blocks ?? {}).map(
    ([name, share]) => `${name} (${percent1(share)})`,
  );
  const added = Object.entries(results.together ?? {}).map(
    ([name, others]) => `${name} with ${others.join(", ")}`,
  );
  const kept = Object.entries(refused ?? {}).map(([name, why]) => `${name} (${why})`);
  return [
    table(columns, rows, { caption }),
    isLong && el("details", el("summary", "All metrics on val"), table(columns, metrics)),
    mcnemar && el("p", changes(n, mcnemar)),
    ...compared(results),
    ...rounds(results.rounds ?? []),
    note(
      given
        .map(([name, value]) =>
          name === "num_samples"
            ? `at most ${count(value)} samples`
            : `${name.replaceAll("_", " ")} ${setting(value)}`,
        )
        .join(" · "),
    ),
    ...removals(layers ?? {}),
    results.size_request && el("p", requested(results.size_request)),
    removed.length > 0 &&
      note("Blocks removed, and by how much each changed its input: ", removed.join(", "), "."),
    added.length > 0 &&
      note("Added up, so they lost the same neurons: ", added.join("; "), "."),
    kept.length > 0 && note("Not pruned: ", kept.join("; "), "."),
  ].filter(Boolean);
}

// Median latencies with their quartiles; where those overlap, there is no clear difference.
function latency({ batch_size: size, before, after, ratio, differs }) {
  const change = differs ? percent1(ratio) : differs === false ? "no clear difference" : "";
  return { name: `ms, batch of ${size}`, before, after, ratio: change };
}

// The additional rows of a classifier.
function quality(row) {
  return [
    row("accuracy on val", percent, (each) => each.acc, false),
    row(
      "95 % interval",
      (ends) => range(...ends),
      (each) => each.interval,
      false,
    ),
    row("loss on val", short, (each) => each.loss),
  ];
}

// Accuracy before and after pruning, batch norm recalibration and fine-tuning.
function compared({ before, after, recalibration, tuning, n }) {
  const networks = {
    before,
    "before, batch norm recalibrated": recalibration?.before,
    "after, batch norm not recalibrated": recalibration?.after,
    "after, not fine-tuned": tuning?.before,
    after,
  };
  const rows = Object.entries(networks)
    .filter(([, found]) => isNumber(found?.acc))
    .map(([name, { acc, interval: ends, loss }]) => ({
      name,
      acc: percent(acc),
      interval: Array.isArray(ends) ? range(...ends) : NONE,
      loss: short(loss),
    }));
  if (rows.length < 3) return [];
  const columns = [
    words("name", "network"),
    numbers("acc", "accuracy on val", null),
    numbers("interval", "95 % interval", null),
    numbers("loss", "loss on val", null),
  ];
  const tests = [
    [recalibration?.mcnemar, recalibratedIn(tuning)],
    [tuning?.mcnemar, "by fine-tuning"],
  ];
  return [
    table(columns, rows, { caption: "Networks compared" }),
    ...tests.filter(([test]) => test).map(([test, how]) => note(changes(n, test, how))),
    tuning && note(tuned(tuning)),
  ].filter(Boolean);
}

const recalibratedIn = (tuning) =>
  `with batch norm recalibrated in both${tuning ? ", before fine-tuning" : ""}`;

function tuned({ epochs, best, is_distilled: isDistilled }) {
  const from = isDistilled ? "the outputs of the unpruned network" : "the labels";
  if (!isNumber(best) || !Array.isArray(epochs)) return "Fine-tuned.";
  const last = plural(epochs.length - 1, "epoch");
  return best === 0
    ? `Fine-tuned on ${from} for ${last}, none better on val: the fine-tuning was undone.`
    : `Fine-tuned on ${from} for ${last}: epoch ${best} was the best on val.`;
}

function rounds(found) {
  if (!found.length) return [];
  const columns = [
    words("name", "round"),
    numbers("neurons", "neurons left"),
    numbers("macs", "multiply-adds"),
    numbers("pruned", "pruned", percent),
    numbers("recalibrated", "recalibrated", percent),
    numbers("tuned", "fine-tuned", percent),
    words("kept", ""),
  ];
  const rows = found.map((each, place) => ({
    ...each,
    name: String(place + 1),
    kept: each.is_kept ? "" : "beyond the tolerance: not kept",
  }));
  return [table(columns, rows, { caption: "Accuracy on val in each round" })];
}

function changes(n, { lost, won, p }, how = "after pruning") {
  const changed = `${count(lost)} became wrong and ${count(won)} became right`;
  return `Of ${count(n)} samples, ${changed} ${how} (McNemar, p = ${short(p)}).`;
}

// The size that was asked for, and what the thresholds that it replaced would remove.
function requested({ size, thresholds, removed, neurons }) {
  const asked = `Asked for: ${size}. `;
  const which = `${count(removed)} of ${count(neurons)} neurons.`;
  const rest = `With no size given, ${thresholds} would remove ${which}`;
  return thresholds ? asked + rest : asked;
}

// The number of neurons removed from each layer, by reason.
function removals(layers) {
  const rows = Object.entries(layers).map(([name, layer]) => ({ name, ...layer }));
  if (!rows.length) return [];
  const reasons = look.reasons.filter(({ name }) => rows.some((row) => row[name]));
  const pieces = (row) => [
    [row.after, "var(--pale)"],
    ...reasons.map(({ name, colour }) => [row[name] ?? 0, colour]),
  ];
  const columns = [
    words("name", "layer"),
    numbers("before", "neurons"),
    numbers("after", "left"),
    graphic("share", (row) => parts(pieces(row))),
    ...reasons.map(({ name, label }) => numbers(name, label)),
  ];
  const signs = reasons.map(({ label, colour }) => ({ name: label, color: colour, isArea: true }));
  const caption = "Neurons removed from each layer, by reason";
  return [
    table(columns, rows, { caption, sortable: true }),
    key([{ name: "left", color: "var(--pale)", isArea: true }, ...signs]),
    page.layers &&
      note(
        "Pruning measures the neurons again, on samples of its own: a neuron that is dead here ",
        "need not be dead in the tables of the training.",
      ),
  ];
}

function pruneCurve({ protocol, n, rules, chance }) {
  const lines = chanceLines(chance);
  const axes = [
    { name: "threshold", title: "threshold", format: short },
    { name: "neurons", title: "neurons left", format: count },
    { name: "macs", title: "multiply-adds", format: count },
  ].filter(({ name }) => Object.values(rules).every((rule) => rule[name]?.some(isNumber)));
  const place = el("div");
  function show(index) {
    const { name, title, format: xFormat } = axes[index];
    const series = Object.entries(rules).map(([rule, columns], i) => {
      const order = [...columns[name].keys()].sort((a, b) => columns[name][a] - columns[name][b]);
      const along = (column) => order.map((k) => columns[column]?.[k] ?? null);
      const dash = DASHES[Math.floor(i / COLOURS.length) + (i % 2)];
      const look = { name: rule, color: COLOURS[i % COLOURS.length], dash, hasMarks: true };
      const range = { low: along("acc_low"), high: along("acc_high") };
      return { ...look, x: along(name), y: along("acc"), ...range };
    });
    const label = `Accuracy over ${title}`;
    const shared = { xLabel: title, xFormat, format: percent, tickFormat: percent0 };
    const spec = { series, label, lines, ...shared };
    const signs = lines.map(chanceSign);
    const drawn = chart({ ...spec, height: 300, isContinuous: true });
    place.replaceChildren(key([...series, ...signs]), drawn);
  }
  show(0);
  const titles = axes.map(({ title }) => title);
  const caption = [protocol, n && `n = ${count(n)}`, "bands: 95 % intervals"].filter(Boolean);
  return el(
    "figure",
    el("h3", "Accuracy as more is removed"),
    axes.length > 1 && choice("Over", titles, show),
    place,
    el("figcaption", caption.join("; ")),
  );
}
