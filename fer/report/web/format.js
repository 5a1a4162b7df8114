// Numbers as text.

const NONE = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isKnown = (value) => value !== null && value !== undefined;

const percentWith = (digits) => (value) =>
  isNumber(value) ? `${(100 * value).toFixed(digits)} %` : NONE;
const [percent0, percent1, percent] = [0, 1, 2].map(percentWith);
const degrees = (value) => `${Math.round(value)}°`;
const count = (value) => (isNumber(value) ? value.toLocaleString("en") : NONE);
const decimals = (value) => (isNumber(value) ? value.toFixed(2) : NONE);
const tenths = (value) => (isNumber(value) ? value.toFixed(1) : NONE);
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

const interval = (low, high, digits = 2) =>
  isNumber(low) ? `${(100 * low).toFixed(digits)} to ${(100 * high).toFixed(digits)}` : NONE;

function short(value) {
  if (!isNumber(value)) return NONE;
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-3 && size < 1e7)) return String(Number(value.toPrecision(4)));
  return value.toExponential(2).replace("e-", "e−").replace("e+", "e");
}

function minutes(seconds) {
  if (!isNumber(seconds)) return NONE;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${(seconds / 60).toFixed(1)} min`;
}

// The value of a setting, which may be a list.
function setting(value) {
  if (isNumber(value)) return short(value);
  if (!isKnown(value)) return NONE;
  return typeof value === "string" ? value : JSON.stringify(value).replaceAll(",", ", ");
}

// The red, green and blue of a colour like #0072b2.
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

// Round numbers from low to high, about as many as asked for.
function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++)
    found.push(Number((k * step).toPrecision(12)));
  return found;
}
