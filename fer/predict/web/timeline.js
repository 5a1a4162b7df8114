// The timeline of a video. Texts become text nodes: no text of a video can become a tag.

const page = JSON.parse(document.getElementById("content").textContent);
const main = document.getElementById("main");
const SVG = "http://www.w3.org/2000/svg";

// make("p", { class: "soft" }, "text", node, [nodes])
function make(tag, attributes = {}, ...parts) {
  const isDrawn = ["svg", "path"].includes(tag);
  const node = isDrawn ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...parts.flat(9));
  return node;
}

const percent = (value) => `${Math.round(value / 10)} %`;
const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const swatch = (color) =>
  make("span", { class: "swatch", style: `background:${color}`, "aria-hidden": "true" });

// Seconds as 4.2 s, or 3:04 in a longer video.
function clock(seconds) {
  if (page.end < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = page.end < 3600 ? parts.slice(1) : parts;
  return shown.map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}

// The place of the number nearest to another one, in an ascending list.
function nearest(numbers, number) {
  let best = 0;
  numbers.forEach((each, at) => {
    if (Math.abs(each - number) < Math.abs(numbers[best] - number)) best = at;
  });
  return best;
}

// The viewer

const frame = make("img");
const slider = make("input", { type: "range", min: 0, max: page.frames.length - 1, step: 1 });
const time = make("output");
const cursors = [];
const readouts = [];

function show(at) {
  const place = nearest(page.frames.map((each) => each.time), at);
  const { src, faces, ratio } = page.frames[place];
  const words = faces.length ? faces.join("; ") : "no face";
  frame.src = src;
  frame.style.setProperty("--ratio", ratio);
  frame.alt = `Frame at ${clock(page.frames[place].time)}: ${words}`;
  slider.value = place;
  slider.setAttribute("aria-valuetext", `${clock(at)}: ${words}`);
  time.textContent = clock(at);
  for (const cursor of cursors) cursor.style.left = `${(100 * at) / page.end}%`;
  for (const readout of readouts) readout(at);
}

function viewer() {
  slider.addEventListener("input", () => show(page.frames[Number(slider.value)].time));
  const label = make("label", {}, make("span", {}, "Time"), slider, time);
  return make("div", { class: "viewer" }, frame, label);
}

// A face

// The outline of each band: paths in a box of 1000 by 1000, which the page stretches.
function outlines({ times, values }) {
  const X = (seconds) => ((1000 * seconds) / page.end).toFixed(2);
  const paths = page.bands.map(() => "");
  let begin = 0;
  while (begin < times.length) {
    let end = begin;
    while (end < times.length && values[end]) end++;
    if (end > begin) {
      const xs = [...times.slice(begin, end), Math.min(times[end - 1] + page.frame, page.end)].map(X);
      const rows = [...values.slice(begin, end), values[end - 1]];
      const tops = rows.map((row) => row.map((_, k) => 1000 - row.slice(0, k + 1).reduce((a, b) => a + b)));
      paths.forEach((_, k) => {
        const upper = xs.map((x, i) => `${x} ${tops[i][k]}`);
        const lower = xs.map((x, i) => `${x} ${k ? tops[i][k - 1] : 1000}`).reverse();
        paths[k] += `M${upper.join("L")}L${lower.join("L")}Z`;
      });
    }
    begin = end + 1;
  }
  return paths;
}

function face(track) {
  const box = { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", "aria-hidden": "true" };
  const paths = outlines(track).map((d, k) => make("path", { d, fill: page.bands[k].color }));
  const cursor = make("i");
  const chart = make(
    "div",
    { class: "bands", role: "img", "aria-label": `Probabilities over time. ${track.summary}` },
    make("svg", box, paths),
    cursor,
  );
  const now = make("p", { class: "now" });
  cursors.push(cursor);
  readouts.push((at) => now.replaceChildren(...read(track, at)));

  const point = (event) => {
    const { left, width } = chart.getBoundingClientRect();
    show(page.end * Math.min(1, Math.max(0, (event.clientX - left) / width)));
  };
  chart.addEventListener("pointerdown", point);
  chart.addEventListener("pointermove", (event) => {
    if (event.buttons || event.pointerType === "mouse") point(event);
  });
  const title = `face-${track.number}`;
  return make(
    "section",
    { class: "face", "aria-labelledby": title },
    make(
      "header",
      {},
      make("img", { src: track.portrait, alt: "" }),
      make(
        "div",
        {},
        make("h2", { id: title }, `Face ${track.number}`),
        make("p", { class: "soft" }, track.summary),
      ),
    ),
    chart,
    make("div", { class: "axis", "aria-hidden": "true" }, [0, 0.25, 0.5, 0.75, 1].map((share) =>
      make("span", {}, clock(share * page.end)),
    )),
    now,
  );
}

// The three most probable classes of a face at a time.
function read({ times, values }, at) {
  const after = times.findIndex((each) => each > at);
  const before = (after < 0 ? times.length : after) - 1;
  const isBetween = after > 0 && values[before] && values[after];
  const isHeld = values[before] && at - times[before] <= page.frame;
  if (!isBetween && !isHeld) return ["not seen"];
  const row = values[isBetween && times[after] - at < at - times[before] ? after : before];
  const order = row.map((_, k) => k).sort((a, b) => row[b] - row[a]);
  return order.slice(0, 3).map((k) => {
    const { name, color } = page.bands[k];
    return make("span", {}, swatch(color), `${name} `, make("b", {}, percent(row[k])));
  });
}

// The page

main.append(make("h1", {}, page.name));
main.append(make("p", { class: "soft" }, page.summary));
if (page.tracks.length) {
  main.append(viewer());
  const entries = page.bands.map(({ name, color }) => make("li", {}, swatch(color), name));
  main.append(make("ul", { class: "key", "aria-label": "Classes, from the bottom up" }, entries));
  main.append(...page.tracks.map(face));
} else if (page.frames.length) {
  main.append(viewer());
}
main.append(make("footer", { class: "soft" }, page.notes.map((words) => make("p", {}, words))));
if (page.frames.length) show(page.frames[0].time);
