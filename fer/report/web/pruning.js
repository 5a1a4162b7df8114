// A pruned network beside the one it was made from, and accuracy over the neurons removed.

function showPruning() {
  const { prune, prune_curve: curve } = page;
  if (!prune && !curve) return;
  const made = section("pruning", "Pruning");
  if (prune) made.append(...pruned(prune));
  if (curve) made.append(pruneCurve(curve));
}

function pruned({ before, after, mcnemar, layers, refused, blocks, settings, n, protocol }) {
  const row = (name, format, get, hasRatio = true) => {
    const [old, now] = [get(before), get(after)];
    const ratio = hasRatio && old ? percent1(now / old) : "";
    return { name, before: format(old), after: format(now), ratio };
  };
  const isClassifier = isNumber(before.acc) && isNumber(after.acc);
  const names = Object.keys(before.metrics ?? {});
  const rows = [
    ...(isClassifier ? quality(row) : []),
    ...names.map((name) => row(name, short, (each) => each.metrics?.[name] ?? null, false)),
    row("parameters", count, (each) => each.parameters),
    row("multiply-adds", count, (each) => each.macs),
    ...(before.bytes ? [row("file size in bytes", count, (each) => each.bytes)] : []),
    ...Object.keys(before.milliseconds ?? {}).map((size) =>
      row(`ms, batch of ${size}`, decimals, (each) => each.milliseconds[size]),
    ),
  ];
  const sides = ["before", "after"].map((side) => numbers(side, side, null));
  const columns = [words("name", ""), ...sides, numbers("ratio", "after / before", null)];
  const caption = [n && `n = ${count(n)}`, protocol].filter(Boolean).join("; ");
  const given = Object.entries(settings ?? {}).filter(([, value]) => value !== null);
  const removed = Object.entries(blocks ?? {}).map(
    ([name, share]) => `${name} (${percent1(share)})`,
  );
  const kept = Object.entries(refused ?? {}).map(([name, why]) => `${name} (${why})`);
  return [
    table(columns, rows, { caption }),
    mcnemar && el("p", changes(n, mcnemar)),
    note(
      given.map(([name, value]) => `${name.replaceAll("_", " ")} ${setting(value)}`).join(" · "),
    ),
    ...removals(layers ?? {}),
    removed.length > 0 &&
      note("Blocks removed, and how much each had changed its input: ", removed.join(", "), "."),
    kept.length > 0 && note("Not pruned: ", kept.join("; "), "."),
  ].filter(Boolean);
}

// The rows of a classifier.
function quality(row) {
  return [
    row("accuracy on val", percent, (each) => each.acc, false),
    row(
      "95 % interval",
      (range) => interval(...range),
      (each) => each.interval,
      false,
    ),
    row("loss on val", short, (each) => each.loss),
  ];
}

function changes(n, { lost, won, p }) {
  const changed = `${count(lost)} became wrong and ${count(won)} became right`;
  return `Of ${count(n)} samples, ${changed} after pruning (McNemar, p = ${short(p)}).`;
}

// How many neurons of each layer were removed, and for which reason.
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
  ];
}

function pruneCurve({ protocol, n, rules }) {
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
    const spec = { series, label, xLabel: title, xFormat, format: percent, tickFormat: percent0 };
    place.replaceChildren(key(series), chart({ ...spec, height: 300, isContinuous: true }));
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
