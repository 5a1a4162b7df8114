// Loss, accuracy and learning rate over the epochs.

const stageBands = (name) =>
  (page.stages?.[name] ?? []).map((interval) => ({
    ...interval,
    color: look.stages[interval.stage],
  }));

function showTraining() {
  const all = page.curves;
  if (!all) return;
  const made = section("training", "Training");
  const bands = stageBands("network");
  const panel = (name, title, spec) => {
    if (!all[name]) return;
    const series = Object.entries(all[name]).map(([split, curve]) => ({
      name: split,
      ...(LINES[split] ?? LINES.lr),
      ...curve,
    }));
    const best = spec.best ? [{ name: spec.best.text, isRing: true }] : [];
    const values = ends(series, spec.format ?? short);
    const label = `${title} over the epochs; arrow keys read the values. ${values}`;
    made.append(
      el(
        "figure",
        el("h3", title),
        name !== "lr" && key([...series, ...best]),
        chart({ series, bands, group: "epochs", label, ...spec }),
      ),
    );
  };
  panel("loss", "Loss", { height: 240 });
  const best = all.acc?.val && bestOf(all.acc.val);
  panel("acc", "Accuracy", { height: 260, format: percent, tickFormat: percent0, best });
  panel("lr", "Learning rate", { height: 150, xLabel: "epoch" });
  if (bands.length) {
    const intervals = bands.map(({ text, first, last }) => `${text} (${first} to ${last})`);
    const found = `Stages of the whole network, found after the run: ${intervals.join(", ")}. `;
    made.append(note(found, page.stage_notes));
  }
  made.append(el("details", el("summary", "All values"), allValues(all)));
}

function bestOf({ x, y }) {
  const place = y.indexOf(Math.max(...y.filter(isNumber)));
  return { x: x[place], y: y[place], text: `best on val: ${percent(y[place])}, epoch ${x[place]}` };
}

function allValues(all) {
  const titles = { loss: "loss", acc: "accuracy", lr: "learning rate" };
  const columns = Object.entries(all).flatMap(([name, splits]) =>
    Object.entries(splits).map(([split, curve]) => {
      const label = name === "lr" ? titles.lr : `${titles[name]}, ${split}`;
      return { ...numbers(`${name} ${split}`, label, name === "acc" ? percent : short), curve };
    }),
  );
  const epochs = [...new Set(columns.flatMap(({ curve }) => curve.x))].sort((a, b) => a - b);
  const rows = epochs.map((epoch) => {
    const values = columns.map(({ key, curve }) => [key, curve.y[curve.x.indexOf(epoch)] ?? null]);
    return { epoch, ...Object.fromEntries(values) };
  });
  const more = { caption: "Values of every epoch", sortable: true, tall: true };
  return table([numbers("epoch", "epoch"), ...columns], rows, more);
}
