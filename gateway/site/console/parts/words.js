// Numbers, sizes and times in words. Numbers of the API that may be large come as text.

const grouped = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const precise = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
/* As wide as a column of the log. */
const brief = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });
const daytime = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const SPANS = /** @type {[number, string][]} */ ([[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]);

/**
 * With separators: "1,234,567".
 * @param {string | number | bigint | undefined} value
 */
export function count(value) {
  if (value === undefined || value === "") return "";
  if (typeof value === "string") return /^-?\d+$/.test(value) ? grouped.format(BigInt(value)) : value;
  return grouped.format(value);
}

/**
 * As many of something: "1 event", "2 events".
 * @param {string | number} value
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${nounOf(value, one, many)}`;

/**
 * The noun alone, for where the number stands by itself.
 * @param {string | number} value
 * @param {string} one
 * @param {string} [many]
 */
export const nounOf = (value, one, many = `${one}s`) => (String(value) === "1" ? one : many);

/** @param {number} value */
export const number = (value) => (Number.isInteger(value) ? grouped.format(value) : short.format(value));

/** @param {string | number} byteCount */
export function bytes(byteCount) {
  let value = Number(byteCount);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${short.format(value)} ${UNITS[unit]}`;
}

/**
 * As people say it: "1.33 ms", "12.5 s", "1 min 20 s", "2 d 3 h".
 * @param {number} ms
 */
export function duration(ms) {
  if (ms < 1000) return `${short.format(ms)} ms`;
  if (ms < 60_000) return `${short.format(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  const at = SPANS.findIndex(([length]) => seconds >= length);
  const [[length, unit], [lesserLength, lesserUnit]] = SPANS.slice(at);
  const whole = Math.floor(seconds / length);
  const rest = Math.floor((seconds % length) / lesserLength);
  return `${count(whole)} ${unit}${rest ? ` ${rest} ${lesserUnit}` : ""}`;
}

/** @param {string} nanoseconds */
export const computedIn = (nanoseconds) => duration(Number(nanoseconds) / 1e6);

/**
 * In the reader's zone.
 * @param {string | number} at
 */
export const localTime = (at) => clock.format(new Date(at));

/**
 * The time of a day.
 * @param {number} seconds since 1970
 */
export const clockTime = (seconds) => daytime.format(new Date(1000 * seconds));

/**
 * As short as it may be: of today the time alone.
 * @param {string | number} at
 */
export function shortTime(at) {
  const time = new Date(at);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? precise.format(time) : brief.format(time);
}

/** @param {string | number} at */
export const utcTime = (at) => `${new Date(at).toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC`;

/**
 * A name of the contract for people: `ROLE_OWNER` becomes "owner".
 * @param {string | undefined} name
 * @param {string} prefix
 */
export function enumWord(name, prefix) {
  const word = (name ?? "").replace(prefix, "").replaceAll("_", " ").toLowerCase();
  if (word === "a star") return "A*";
  return word === "unspecified" ? "" : word;
}

/** @param {readonly (string | number)[]} shape */
export const shapeText = (shape) => shape.map((length) => count(length)).join(" × ");
