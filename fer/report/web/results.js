// Accuracy of each split, recall of each class, and the confusion matrix.

function showResults() {
  const splits = page.results;
  if (!splits) return;
  const made = section("results", "Results");
  const columns = [
    words("name", "split"),
    numbers("n", "n"),
    numbers("acc", "accuracy", percent),
    numbers("low", "95 % interval", (_, row) => range(row.low, row.high)),
    graphic("0 to 100 %", (row) => bar(row.acc, row.low, row.high, row.largest)),
    numbers("balanced", "recall", percent),
    numbers("f1", "F1", percent),
    numbers("largest", "largest class", percent),
  ];
  const caption =
    "Top-1 accuracy with its Wilson interval; recall and F1 are means over the classes";
  const origin =
    page.origin ??
    "All splits are evaluated with one checkpoint, selected on the validation split.";
  const largest =
    "The grey mark, “largest class”, is the accuracy of always predicting the largest class. ";
  const clean = page.clean && `${page.clean} `;
  made.append(table(columns, splits, { caption }), note(largest, clean, origin));
}

function showClasses() {
  const splits = page.results;
  if (!splits) return;
  const made = section("classes", "Results by class");
  const first = Math.max(
    0,
    splits.findIndex((split) => split.name === "test"),
  );
  const order = [splits[first], ...splits.filter((_, index) => index !== first)];
  const place = el("div", { "aria-live": "polite" });
  const show = (index) => place.replaceChildren(classTable(order[index]), confusion(order[index]));
  const names = order.map((split) => split.name);
  if (order.length > 1) made.append(choice("Split", names, show));
  show(0);
  made.append(place, ...(page.images ?? []).map(drawn));
}

function classTable(split) {
  const recalled = (_, row) => (row.n ? range(row.low, row.high, 1) : NONE);
  const columns = [
    words("name", "class"),
    numbers("n", "n"),
    numbers("recall", "recall", percent1),
    numbers("low", "95 % interval", recalled),
    graphic("0 to 100 %", (row) => bar(row.recall, row.low, row.high)),
    numbers("precision", "precision", percent1),
    numbers("specificity", "specificity", percent1),
    numbers("f1", "F1", percent1),
  ];
  const caption = `Classes of ${split.name}, n = ${count(split.n)}; the titles of columns sort`;
  return table(columns, split.classes, { caption, sortable: true });
}

function confusion(split) {
  const names = split.classes.map((each) => each.name);
  const row = (values, truth) => {
    const all = values.reduce((sum, value) => sum + value, 0);
    return values.map((value, guess) => {
      const style = shade(all ? value / all : 0);
      const from = `${count(value)} of ${count(all)} ${names[truth]}`;
      const title = `${from} were classified as ${names[guess]}`;
      const share = all ? `${Math.round((100 * value) / all)} %` : NONE;
      const more = { class: truth === guess && "right", title, style };
      return el("td", more, share, el("small", count(value)));
    });
  };
  const heads = names.map((name) => el("th", { scope: "col", title: name }, name));
  const rows = split.confusion.map((values, truth) =>
    el("tr", el("th", { scope: "row", title: names[truth] }, names[truth]), row(values, truth)),
  );
  const caption = [
    "Rows: true class. Columns: predicted class. Per cent of the row, and the count; ",
    `${split.name}, n = ${count(split.n)}`,
  ];
  return el(
    "figure",
    el(
      "table",
      { class: names.length > 10 ? "confusion many-classes" : "confusion" },
      el("caption", el("span", caption)),
      el(
        "colgroup",
        el("col"),
        names.map(() => el("col")),
      ),
      el("thead", el("tr", el("td", el("span", { class: "sr" }, "true class")), heads)),
      el("tbody", rows),
    ),
    el("figcaption", mistakes(split, names)),
  );
}

// A background that is darker the larger the share, with black or white text on it.
function shade(share) {
  const hex = look.shades[Math.round(90 * share)];
  const [r, g, b] = rgb(hex).map((value) => (value / 255) ** 2.2);
  return `background:${hex};color:${0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff"}`;
}

// The three most frequent confusions, in words.
function mistakes(split, names) {
  const found = split.confusion.flatMap((row, truth) => {
    const all = row.reduce((a, b) => a + b, 0);
    return row.map((value, guess) => ({ truth, guess, share: all ? value / all : 0 }));
  });
  const most = found
    .filter(({ truth, guess, share }) => truth !== guess && share > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, 3)
    .map(({ truth, guess, share }) => `${names[truth]} as ${names[guess]} (${percent0(share)})`);
  return most.length ? `Most frequent confusions: ${most.join(", ")}.` : "No mistakes.";
}

// An image of the template, and a link that shows it large. The link leads to a part of this page,
// since browsers open no address of an embedded image.
function drawn({ name, title, path }) {
  const head = el("h3", title);
  const elsewhere = `Too large for this page: ${path} in the run's folder.`;
  if (path) return el("figure", head, note(elsewhere));
  const [here, large] = [name, `${name}-large`];
  const image = document.getElementById(`image-${name}`);
  return el(
    "figure",
    { id: here },
    head,
    el(
      "div",
      { class: "zoom", id: large },
      el("a", { class: "close", href: `#${here}` }, "Close"),
      el("a", { href: `#${large}`, "aria-label": `${title}, large` }, image),
    ),
    el("figcaption", el("a", { href: `#${large}` }, "Show it large")),
  );
}
