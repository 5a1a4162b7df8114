// The members of a study: folds of a cross-validation, or seeds of a repeat.

function showMembers() {
  const { members, member, member_curves: curves = {}, against } = page;
  if (!members && !page.member_curves) return;
  const title = { fold: "Folds", seed: "Seeds" }[member];
  const made = section("members", title);
  if (members) {
    made.append(memberTable(members, member));
    if (members.notes.length) made.append(note(members.notes.join(" ")));
  }
  if (against) made.append(...comparison(against));
  const series = Object.entries(curves).map(([number, curve], i) => ({
    name: `${member} ${number}`,
    color: COLOURS[i % COLOURS.length],
    dash: DASHES[i % DASHES.length],
    ...curve,
  }));
  if (!series.length) return;
  const label = `Accuracy on val over the epochs, one line per ${member}. ${ends(series, percent)}`;
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

function memberTable({ rows, mean, std, interval: bounds }, member) {
  const flat = rows.map(({ val, test, ...row }) => ({ ...row, ...test, val: val.acc }));
  const columns = [
    words("number", member),
    numbers("val", "val", percent),
    numbers("acc", "test", percent),
    numbers("low", "95 % interval", (_, row) => range(row.low, row.high)),
    graphic("0 to 100 %", (row) => bar(row.acc, row.low, row.high, row.largest)),
    numbers("n", "n, test"),
    numbers("balanced", "recall", percent),
    numbers("epochs", "epochs"),
    numbers("seconds", "time", minutes),
  ];
  const sum = (name, { val, test }, ends) =>
    el(
      "tr",
      el("th", { scope: "row", class: "text" }, name),
      el("td", percent(val)),
      el("td", percent(test)),
      el("td", ends),
      el("td", { colspan: 5 }),
    );
  const ofMean = bounds && isNumber(bounds.low) ? range(bounds.low, bounds.high) : "";
  const sums = [sum("mean", mean, ofMean), sum("std. dev.", std, "")];
  const caption =
    `Accuracy of each ${member}'s best checkpoint; ` + "recall is the mean over the test classes";
  return table(columns, flat, { caption, sortable: true, foot: el("tfoot", sums) });
}

// The paired differences from another repeat.
function comparison({ name, n, seeds, difference, of_seeds, of_samples }) {
  const points = (value) => `${value < 0 ? "−" : "+"}${(100 * Math.abs(value)).toFixed(2)}`;
  const rows = seeds.map(({ mcnemar, ...row }) => ({ ...row, ...mcnemar }));
  const columns = [
    words("seed", "seed"),
    numbers("before", "the other", percent),
    numbers("after", "this one", percent),
    numbers("difference", "difference", points),
    numbers("lost", "lost"),
    numbers("won", "won"),
    numbers("p", "McNemar’s p", short),
  ];
  const caption =
    `Paired by seed and by test sample, n = ${count(n)}; ` + "differences in percentage points";
  const range = ([low, high]) => `[${points(low)}, ${points(high)}]`;
  const intervals = [
    of_seeds && `for other seeds (Student’s t) ${range(of_seeds)}`,
    `for other samples ${range(of_samples)}`,
  ];
  const text = `Mean difference ${points(difference)} percentage points; 95 % intervals: `;
  const last = ". The p-values are not corrected for multiple comparisons.";
  return [
    el("h3", `Against ${name}`),
    table(columns, rows, { caption }),
    note(text, intervals.filter(Boolean).join(", "), last),
  ];
}
