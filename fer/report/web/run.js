// The head of the page, and the settings with the command that repeats the run.

function showHead() {
  const splits = page.results ?? [];
  const test = splits.find((split) => split.name === "test") ?? splits.at(-1);
  const { members, member, sweep, prune } = page;
  const figures = [];
  if (test) {
    const more = `95 %: ${interval(test.low, test.high)}, n = ${count(test.n)}`;
    const whole = prune ? ", before pruning" : "";
    figures.push([`Accuracy on ${test.name}${whole}`, percent(test.acc), more]);
    figures.push(["Mean recall", percent(test.balanced), "over the classes"]);
  }
  if (members) {
    const more = `standard deviation ${percent(members.std.test)}`;
    figures.push([`Mean over the ${member}s`, percent(members.mean.test), more]);
  }
  if (sweep?.best) {
    const more = `${sweep.best.name} of ${plural(sweep.rows.length, "trial")}`;
    figures.push([`Best ${sweep.metric}`, short(sweep.best.value), more]);
  }
  if (prune) {
    const { before, after, n } = prune;
    const sizes = `${count(after.parameters)} of ${count(before.parameters)}`;
    if (isNumber(after.acc)) {
      const more = `before: ${percent(before.acc)}; n = ${count(n)}`;
      figures.push(["Accuracy on val, after pruning", percent(after.acc), more]);
    }
    figures.push(["Parameters left", percent1(after.parameters / before.parameters), sizes]);
  }
  const figure = ([name, value, more]) =>
    el("div", el("dt", name), el("dd", value, el("small", more)));
  main.append(
    el(
      "header",
      el("p", { class: "kicker" }, page.kind),
      el("h1", page.name),
      page.unfinished && el("p", { class: "warn", role: "note" }, page.unfinished),
      page.limits && el("p", { class: "warn", role: "note" }, page.limits),
      figures.length > 0 && el("dl", { class: "figures" }, figures.map(figure)),
    ),
  );
}

function showRun() {
  const { facts: found, repeat = {} } = page;
  if (!found && !page.repeat) return;
  const made = section("run", "Settings and command");
  const titled = (title, text) => text && made.append(el("h3", title), command(text));
  if (found) made.append(facts(found));
  if (page.card) {
    const link = el("a", { href: page.card }, "Model card");
    const about = ` (${page.card} in the run's folder): data, results, limits and misuse`;
    made.append(note(link, about));
  }
  titled("The command", repeat.command);
  titled("The best trial again", repeat.best);
  titled(
    repeat.command ? "Or with the run's saved settings" : "With the run's saved settings",
    repeat.folder,
  );
  if (repeat.note) made.append(note(repeat.note));
  if (repeat.differs?.length) {
    const broken = { kind: "text wrap" };
    const columns = [
      words("name", "setting", (name) => code(breakable(name)), broken),
      words("value", "here", (value) => code(value), broken),
      words("default", "default", (value) => code(value, { class: "soft" }), broken),
    ];
    made.append(el("h3", "Settings that differ from the defaults"), table(columns, repeat.differs));
  }
  const versions = Object.entries(repeat.versions ?? {}).map((pair) => pair.join(" "));
  if (versions.length) made.append(el("h3", "Versions"), note(versions.join(" · ")));
}

function command(text) {
  async function onclick() {
    await navigator.clipboard?.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
  const button = el("button", { type: "button", onclick }, "Copy");
  const spans = text.split(" ").flatMap((word) => [el("span", word), " "]);
  return el("div", { class: "command" }, el("pre", spans.slice(0, -1)), button);
}
