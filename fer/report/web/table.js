// Tables, and the small graphics in them.

// Columns. format(value, row) gives text or nodes; a graphic has no value to sort by.
const numbers = (key, label, format = count) => ({ key, label, format });
const words = (key, label, format, more) => ({ key, label, format, kind: "text", ...more });
const graphic = (label, draw) => ({ label, format: (_, row) => draw(row), kind: "text" });

function table(columns, rows, { caption, sortable, foot, tall, onrow } = {}) {
  const lines = rows.map((row, place) => {
    const line = el(
      "tr",
      columns.map((column, index) => cell(column, row, index)),
    );
    if (onrow) {
      line.addEventListener("pointerenter", () => onrow(place));
      line.addEventListener("pointerleave", () => onrow(null));
    }
    return line;
  });
  const body = el("tbody", lines);
  const heads = columns.map((column) => {
    const head = el("th", { scope: "col", class: column.kind });
    const label = breakable(column.label);
    if (!sortable || !column.key) return fill(head, label);
    const onclick = () => body.replaceChildren(...order(column, head).map((place) => lines[place]));
    head.classList.add("sortable");
    return fill(head, [el("button", { type: "button", onclick }, label)]);
  });

  // The new order of the rows: numbers from the largest, texts from A. A second click reverses the
  // order. Rows without a value stay last.
  function order({ key }, head) {
    const before = head.getAttribute("aria-sort");
    const hasText = rows.some((row) => typeof row[key] === "string");
    const first = hasText ? "ascending" : "descending";
    const second = hasText ? "descending" : "ascending";
    const next = before === first ? second : first;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const compare = hasText
      ? (x, y) => String(x).localeCompare(String(y), "en", { numeric: true })
      : (x, y) => x - y;
    return [...rows.keys()].sort((a, b) => {
      const [x, y] = [rows[a][key], rows[b][key]];
      return isKnown(x) && isKnown(y) ? sign * compare(x, y) : isKnown(y) - isKnown(x);
    });
  }

  const head = el("thead", el("tr", heads));
  const name = caption ?? "table";
  const box = { class: `scroll${tall ? " tall" : ""}`, role: "region", tabindex: 0 };
  return el(
    "div",
    { ...box, "aria-label": name },
    el("table", caption && el("caption", el("span", caption)), head, body, foot),
  );
}

// An interval of a share, which may be broken into two lines on a phone.
const range = (...ends) => el("span", { class: "range" }, interval(...ends));

function cell(column, row, index) {
  const value = row[column.key];
  const content = column.format ? column.format(value, row) : (value ?? NONE);
  const more = { class: column.kind };
  return index ? el("td", more, content) : el("th", { scope: "row", ...more }, content);
}

const BAR = { class: "bar", viewBox: "0 0 110 18", width: 110, height: 18, "aria-hidden": "true" };

// A share on a scale of 0 to 100 %, with its interval and a grey mark.
function bar(value, low, high, mark) {
  if (!isNumber(value)) return null;
  const x = (share) => 5 + 100 * share;
  const wide = { stroke: "var(--blue)", "stroke-width": 5, "stroke-opacity": 0.4 };
  return svg(
    "svg",
    BAR,
    line(x(0), 9, x(1), 9, { stroke: "var(--pale)", "stroke-width": 2 }),
    isNumber(mark) && line(x(mark), 3, x(mark), 15, { stroke: "var(--grey)", "stroke-width": 1.5 }),
    isNumber(low) && line(x(low), 9, x(high), 9, wide),
    circle(x(value), 9, 4, { fill: "var(--blue)" }),
  );
}

// Parts of a whole side by side: [[number, colour], …].
function parts(pieces) {
  const all = pieces.reduce((sum, [number]) => sum + number, 0);
  let left = 0;
  const bars = pieces.map(([number, fill]) => {
    const width = (number / all) * 110;
    left += width;
    return rect(left - width, 3, Math.max(0, width - 0.7), 12, { fill });
  });
  return svg("svg", BAR, bars);
}
