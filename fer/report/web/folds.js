// The folds of a cross-validation.

function showFolds() {
  const { folds, fold_curves: curves = {} } = page;
  if (!folds && !page.fold_curves) return;
  const made = section("folds", "Folds");
  if (folds) made.append(foldTable(folds));
  const series = Object.entries(curves).map(([fold, curve], i) => ({
    name: `fold ${fold}`,
    color: COLOURS[i % COLOURS.length],
    dash: DASHES[i % DASHES.length],
    ...curve,
  }));
  if (!series.length) return;
  const label = `Accuracy on val over the epochs, one line per fold. ${ends(series, percent)}`;
  const lines = chanceLines();
  const shared = { xLabel: TIME, isTime: true, format: percent, tickFormat: percent0 };
  const spec = { series, label, lines, ...shared };
  made.append(
    el(
      "figure",
      el("h3", "Accuracy on val"),
      key([...series, ...lines.map(chanceSign)]),
      chart({ ...spec, height: 260 }),
    ),
  );
}

function foldTable({ rows, mean, std }) {
  const flat = rows.map(({ val, test, ...row }) => ({ ...row, ...test, val: val.acc }));
  const columns = [
    words("fold", "fold"),
    numbers("val", "val", percent),
    numbers("acc", "test", percent),
    numbers("low", "95 % interval", (_, row) => interval(row.low, row.high)),
    graphic("0 to 100 %", (row) => bar(row.acc, row.low, row.high, row.largest)),
    numbers("n", "n, test"),
    numbers("balanced", "recall", percent),
    numbers("epochs", "epochs"),
    numbers("seconds", "time", minutes),
  ];
  const sums = [
    ["mean", mean],
    ["std. dev.", std],
  ].map(([name, { val, test }]) => {
    const head = el("th", { scope: "row", class: "text" }, name);
    return el(
      "tr",
      head,
      el("td", percent(val)),
      el("td", percent(test)),
      el("td", { colspan: 6 }),
    );
  });
  const caption =
    "Accuracy of each fold's best checkpoint; recall is the mean over the test classes";
  return table(columns, flat, { caption, sortable: true, foot: el("tfoot", sums) });
}
