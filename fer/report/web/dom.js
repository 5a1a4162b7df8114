// Elements. Texts become text nodes, so that no text from a folder can become a tag.

const page = JSON.parse(document.getElementById("content").textContent);
const { look } = page;
const main = document.getElementById("main");

// el("p", { class: "note" }, "text", node, [nodes]); attributes may be left out.
const el = (tag, ...parts) => fill(document.createElement(tag), parts);
const svg = (tag, ...parts) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), parts);

function fill(node, parts) {
  const attributes = parts[0]?.constructor === Object ? parts.shift() : {};
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value || value === 0) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...parts.flat(9).filter((child) => child || child === 0));
  return node;
}

const line = (x1, y1, x2, y2, more) => svg("line", { x1, y1, x2, y2, ...more });
const rect = (x, y, width, height, more) => svg("rect", { x, y, width, height, ...more });
const circle = (cx, cy, r, more) => svg("circle", { cx, cy, r, ...more });
const text = (x, y, more, ...words) => svg("text", { x, y, ...more }, words);
const path = (points, more, end = "") => {
  const steps = points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`);
  return svg("path", { d: steps.join("") + end, ...more });
};

const note = (...words) => el("p", { class: "note" }, words);
const code = (words, more = {}) => el("code", more, words);

// A name in which a line may break after a dot, slash or underscore, if it is long.
const breakable = (name) =>
  name.length < 12
    ? [name]
    : name.split(/(?<=[./_])/).flatMap((part, place) => [place > 0 && el("wbr"), part]);

const facts = (pairs) =>
  el(
    "dl",
    { class: "facts" },
    pairs.map(([name, value]) => [el("dt", name), el("dd", value)]),
  );

// A section of the page and its entry in the contents.
function section(id, title) {
  const link = el("a", { href: `#${id}` }, title);
  document.querySelector("#contents ol").append(el("li", link));
  const made = el("section", { id, "aria-labelledby": `${id}-title` });
  made.append(el("h2", { id: `${id}-title` }, title));
  main.append(made);
  return made;
}

// A choice of one name: a row of buttons, or a list if there are many.
function choice(title, names, onpick) {
  if (names.length > 6) {
    const options = names.map((name) => el("option", name));
    const list = el("select", { onchange: () => onpick(list.selectedIndex) }, options);
    return el("div", { class: "controls" }, el("label", title, list));
  }
  const group = `choice-${(choice.count = (choice.count ?? 0) + 1)}`;
  const button = (name, index) => {
    const onchange = () => onpick(index);
    const input = el("input", { type: "radio", name: group, checked: index === 0, onchange });
    return el("label", input, name);
  };
  return el("fieldset", { class: "choice" }, el("legend", title), names.map(button));
}
