// Loss, accuracy and learning rate during the training, and its stages.

// A boundary is weak if no other statistic confirms it, as far as any were compared.
const stageBands = (name) =>
  (page.stages?.[name] ?? []).map((interval, place) => ({
    ...interval,
    color: look.stages[interval.stage],
    isWeak: place > 0 && interval.confirmed_by?.length === 0,
  }));

// The legend of the stages in some bands: not each of them is wide enough for its name.
const stageSigns = (bands) =>
  Object.entries(look.stages)
    .filter(([stage]) => bands.some((each) => each.stage === stage))
    .map(([stage, color]) => ({ name: `stage: ${stage}`, color, opacity: RIBBON, isArea: true }));

function showTraining() {
  const all = page.curves ?? {};
  const bands = stageBands("network");
  if (!Object.keys(all).length && !bands.length && !page.stage_notes) return;
  const made = section("training", "Training");
  const panel = (name, title, spec) => {
    if (!all[name]) return;
    const series = Object.entries(all[name]).map(([split, curve]) => ({
      name: split,
      ...(LINES[split] ?? LINES.lr),
      ...curve,
    }));
    const best = spec.best?.length ? [{ name: bestText(spec.best), isRing: true }] : [];
    const lines = (spec.lines ?? []).map(chanceSign);
    const values = ends(series, spec.format ?? short);
    const label = `${title} over the epochs trained; arrow keys read the values. ${values}`;
    made.append(
      el(
        "figure",
        el("h3", title),
        name !== "lr" && key([...series, ...best, ...lines]),
        chart({ series, bands, group: "epochs", isTime: true, xLabel: TIME, label, ...spec }),
      ),
    );
  };
  if (bands.length) made.append(key(stageSigns(bands)));
  panel("loss", "Loss", { height: 240 });
  const best = all.acc?.val && bestOf(all.acc.val);
  const lines = chanceLines();
  const isShare = Object.values(all.acc ?? {}).every(({ y }) => Math.max(...y) <= 1);
  const shares = isShare ? { format: percent, tickFormat: percent0, best, lines } : {};
  panel("acc", "Accuracy", { height: 260, ...shares });
  Object.keys(all)
    .filter((name) => !["loss", "acc", "lr"].includes(name))
    .forEach((name) => panel(name, name, { height: 180 }));
  panel("lr", "Learning rate", { height: 180 });
  if (bands.length) made.append(stageTable(bands));
  if (page.stage_notes) made.append(note(page.stage_notes));
  if (Object.keys(all).length) {
    made.append(el("details", el("summary", "All values"), allValues(all, isShare)));
  }
}

const WITNESSES = {
  speed: "angular speed",
  cka: "similarity to the measurement before (CKA)",
  rank: "effective rank",
};

function stageTable(bands) {
  const hasWitnesses = bands.some((each) => each.confirmed_by);
  const confirmed = (names = [], { isWeak }) =>
    isWeak ? "nothing: weak" : names.map((name) => WITNESSES[name] ?? name).join(", ") || NONE;
  const columns = [
    words("text", "stage"),
    numbers("begin", "start", tenths),
    numbers("end", "end", tenths),
    ...(hasWitnesses ? [words("confirmed_by", "start confirmed by", confirmed)] : []),
  ];
  const caption = "In epochs trained";
  return el(
    "div",
    el("h3", "Stages of the whole network, found after the run"),
    table(columns, bands, { caption }),
    hasWitnesses &&
      note(
        "The start of a stage is confirmed if angular speed, CKA or effective rank also changes, ",
        "within 3 % of the run before or after it. Otherwise it is weak, and its line is dashed.",
      ),
  );
}

// All epochs that share the best value.
function bestOf({ x, y }) {
  const most = Math.max(...y.filter(isNumber));
  return [...x.keys()].filter((i) => y[i] === most).map((i) => ({ x: x[i], y: y[i] }));
}

function bestText(best) {
  const epochs = best.slice(0, 4).map(({ x }) => x);
  if (best.length > 4) epochs.push("…");
  const noun = best.length > 1 ? "epochs" : "epoch";
  return `best on val: ${percent(best[0].y)}, ${noun} ${epochs.join(", ")}`;
}

function allValues(all, isShare) {
  const titles = { loss: "loss", acc: "accuracy", lr: "learning rate" };
  const columns = Object.entries(all).flatMap(([name, splits]) =>
    Object.entries(splits).map(([split, curve]) => {
      const label = name === "lr" ? titles.lr : `${titles[name] ?? name}, ${split}`;
      const format = name === "acc" && isShare ? percent : short;
      return { ...numbers(`${name} ${split}`, label, format), curve };
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
