// The panels below the charts: each makes its elements from the newest state,
// which has the keys of the read-only admin commands.
import { bar, clock, count, duration, make, percent, rate, table } from "./format.js";
import { bandName } from "./charts.js";

const COLOURS = ["blue", "green"];
const MOST_EVENTS = 100;

function named(colour, text) {
  return make("span", { class: `of-${colour}` }, text);
}

function card(title, ...content) {
  return make("div", {}, make("dt", {}, title), ...content.map((one) => make("dd", {}, one)));
}

function big(text, kind) {
  return make("span", { class: kind ? `big ${kind}` : "big" }, text);
}

// The row of the last ten seconds, of blue and of green; undefined where there is none.
function lastTen(state, colour) {
  return state.latency?.find((row) => row.window === "10s" && row.upstream === colour);
}

function both(state, write) {
  return COLOURS.filter((colour) => lastTen(state, colour)).map((colour) =>
    make("div", {}, named(colour, `${colour} `), make("span", { class: "big" }, write(lastTen(state, colour)))));
}

export function summary(state) {
  const split = state.split?.[0], trip = state.trip?.[0], rollout = state.rollout?.[0];
  const tripped = split?.state === "tripped";
  const green = lastTen(state, "green");
  const hour = state.slo?.find((row) => row.window === "1h");
  const cards = [];
  if (split) {
    cards.push(card("Split", big(`${split.green} % green`),
      bar("Green's share of requests", split.green / 100, "green"),
      make("span", { class: "dim" }, `generation ${split.generation}, by ${split.source}`)));
    cards.push(card("State", big(split.state, tripped ? "bad" : null),
      make("span", { class: "dim" }, tripped ? trip?.reason ?? "" : judgeText(trip))));
  }
  cards.push(card("Rollout", big(rolloutText(rollout))));
  cards.push(card("Requests, last 10\u00a0s", ...both(state, (row) => rate(row.rate_per_s))));
  cards.push(card("Failed attempts, last 10\u00a0s", ...both(state, (row) => percent(row.error_rate))));
  cards.push(card("p99, last 10\u00a0s", ...both(state, (row) => duration(row.p99_s)),
    make("span", { class: "dim" }, green?.p99_to_blue ? `green is ${green.p99_to_blue.toFixed(2)} × blue` : "")));
  if (hour) {
    const broken = hour.availability < hour.promised_availability;
    cards.push(card("Available, last hour", big(percent(hour.availability, 5), broken ? "bad" : null),
      make("span", { class: "dim" }, `${percent(hour.promised_availability, 5)} promised`)));
  }
  return cards;
}

export function alarm(state) {
  const split = state.split?.[0], trip = state.trip?.[0];
  if (split?.state === "tripped") return `${split.service} is tripped, everything goes to blue: ${trip?.reason ?? "no reason given"}`;
  if (trip?.verdict === "hold") return `The judge holds: ${trip.reason}`;
  return "";
}

function judgeText(trip) {
  if (!trip) return "";
  if (!trip.enabled) return "not judged: trip.enabled is false";
  if (trip.learning) return "judged, learning blue's rate";
  return trip.judging ? "judged" : "nothing to judge";
}

function rolloutText(rollout) {
  if (!rollout || rollout.state === "idle") return "no rollout";
  const steps = rollout.steps?.length;
  return steps && rollout.step ? `${rollout.state}, step ${rollout.step} of ${steps}` : rollout.state;
}

export function rollout(state) {
  const row = state.rollout?.[0];
  if (!row || row.state === "idle") return [make("p", { class: "note" }, "no rollout")];
  const parts = [make("p", {}, rolloutText(row))];
  if (row.steps?.length) {
    parts.push(make("ol", { class: "steps", "aria-label": "Steps of the rollout" }, ...row.steps.map((step, index) =>
      make("li", {
        class: index + 1 < row.step ? "done" : null,
        "aria-current": index + 1 === row.step ? "step" : null,
      }, `${step} %${index + 1 < row.step ? " ✓" : ""}`))));
  }
  if (row.waiting_for?.length) {
    parts.push(make("p", { class: "dim" }, "It waits for:"), make("ul", {}, ...row.waiting_for.map((one) =>
      make("li", {}, `${one.what}: ${one.why}`))));
  }
  return [make("div", { class: "panel" }, ...parts)];
}

// A figure of the judge: where it is on its way to its threshold, 0..1 and beyond.
// Most do not trip by themselves, so that only what tripped is red.
function figure(name, help, value, threshold, kind, tripped = false) {
  const share = threshold > 0 ? Math.max(0, value) / threshold : 0;
  return {
    name, help, value: value.toFixed(2), threshold: threshold.toFixed(2),
    bar: bar(`${name}, of its threshold`, share, share >= 1 && tripped ? "red" : share >= 0.5 ? "amber" : kind),
  };
}

export function judge(state) {
  const row = state.trip?.[0];
  if (!row) return [make("p", { class: "note" }, "no judge")];
  const trippedBy = (detector) => row.verdict === "trip" && row.detector === detector;
  const figures = [
    figure("Rise of green", "CUSUM against blue's frozen rate; trips with the next two, alone at split 100 or where blue is silent",
      row.rise, row.rise_threshold, "green", trippedBy("rise")),
    figure("Recent", "log of the e-process since that rise began, green against blue", row.recent_log,
      row.recent_log_threshold, "green", trippedBy("rise")),
    figure("Only green", "log of the likelihood ratio since then, a fault of green's against one of both", row.only_green_log,
      row.only_green_log_threshold, "green", trippedBy("rise")),
    figure("Rise of blue", "the same CUSUM of blue; holds the rise of green", row.blue_rise, row.blue_rise_threshold, "blue"),
    figure("Comparison", "log of the e-process since this split began, green against blue; trips alone", row.comparison_log,
      row.comparison_log_threshold, "green", trippedBy("comparison")),
  ];
  const colours = COLOURS.filter((colour) => row[colour]).map((colour) => ({ colour, ...row[colour] }));
  return [
    make("p", { class: "note" }, `${judgeText(row)}; blue's frozen rate ${percent(row.baseline_rate)} from ` +
      `${count(row.baseline_attempts)} attempts, green's share of attempts ${percent(row.green_share)}`),
    table("Evidence against thresholds", [
      ["Detector", (one) => one.name], ["Evidence", (one) => one.value, true], ["Threshold", (one) => one.threshold, true],
      ["", (one) => one.bar], ["", (one) => make("span", { class: "dim" }, one.help)],
    ], figures),
    table("Attempts since this split began", [
      ["Upstream", (one) => named(one.colour, one.colour)], ["Attempts", (one) => count(one.attempts), true],
      ["Errors", (one) => count(one.errors), true], ["Rate", (one) => percent(one.rate), true],
      ["Wilson bounds", (one) => `${percent(one.rate_low)} to ${percent(one.rate_high)}`],
      ["Kinds", (one) => Object.entries(one.by_outcome ?? {}).filter(([, n]) => n > 0)
        .map(([kind, n]) => `${kind} ${n}`).join(", ") || "–"],
    ], colours),
  ];
}

export function latency(state) {
  const windows = { "1s": "1 s", "10s": "10 s", "1m": "1 min", "5m": "5 min", start: "since the start" };
  const quantiles = [["p50", "p50_s"], ["p90", "p90_s"], ["p95", "p95_s"], ["p99", "p99_s"], ["p99.9", "p99_9_s"], ["max", "max_s"]];
  return [table("Blue beside green", [
    ["Window", (row) => windows[row.window] ?? row.window], ["Upstream", (row) => named(row.upstream, row.upstream)],
    ["Rate", (row) => rate(row.rate_per_s), true], ["Failed", (row) => percent(row.error_rate), true],
    ...quantiles.map(([title, key]) => [title, (row) => duration(row[key]), true]),
    ["p99 to blue", (row) => row.p99_to_blue ? `${row.p99_to_blue.toFixed(2)} ×` : "–", true],
  ], state.latency ?? [])];
}

export function distribution(bounds, [blue, green]) {
  const sums = [blue, green].map((counts) => counts.reduce((sum, one) => sum + one, 0));
  const most = Math.max(...blue.map((hits, band) => Math.max(sums[0] ? hits / sums[0] : 0, sums[1] ? green[band] / sums[1] : 0)));
  const rows = blue.map((hits, band) => ({ band, hits: [hits, green[band]] })).filter((row) => row.hits[0] + row.hits[1] > 0);
  if (rows.length === 0) return [make("p", { class: "note" }, "no requests")];
  const column = (colour, side) => [colour, (row) => {
    const share = sums[side] ? row.hits[side] / sums[side] : 0;
    return bar(`${colour}, ${bandName(bounds, row.band)}: ${percent(share)}`, most ? share / most : 0, colour);
  }];
  const share = (side) => (row) => sums[side] ? percent(row.hits[side] / sums[side]) : "–";
  return [table("Share of each colour's requests by latency", [
    ["Took", (row) => bandName(bounds, row.band)], column("blue", 0), ["blue", share(0), true],
    column("green", 1), ["green", share(1), true],
  ], rows)];
}

export function slo(state) {
  const windows = { "5m": "5 min", "1h": "1 h", "24h": "24 h" };
  return [table("What is promised and what was kept", [
    ["Window", (row) => windows[row.window] ?? row.window], ["Requests", (row) => count(row.requests), true],
    ["5xx", (row) => count(row.errors), true],
    ["Available", (row) => make("span", { class: row.availability < row.promised_availability ? "bad" : "" },
      percent(row.availability, 5)), true],
    ["Promised", (row) => percent(row.promised_availability, 5), true],
    ["Budget burn", (row) => row.burn_rate === null ? "–" : `${Number(row.burn_rate.toPrecision(3))} ×`, true],
    ["In time", (row) => percent(row.in_time, 5), true], ["Within", (row) => duration(row.promised_latency_s), true],
  ], state.slo ?? [])];
}

export function upstreams(state) {
  return [table("Upstreams", [
    ["Upstream", (row) => named(row.upstream, row.upstream)],
    ["Endpoints up", (row) => `${row.endpoints_usable} of ${row.endpoints}`, true],
    ["Connections", (row) => `${count(row.connections)} of ${row.max_connections ?? "∞"}`, true],
    ["Peak", (row) => count(row.peak_connections), true],
    ["Queue", (row) => `${count(row.queue_depth)} of ${count(row.max_queue)}`, true],
    ["Requests", (row) => count(row.requests), true], ["5xx", (row) => count(row.requests_5xx), true],
    ["Failed attempts", (row) => count(row.attempts_failed), true], ["Refused here", (row) => count(row.rejected_total), true],
    ["Retries", (row) => count(row.retries), true], ["Rescues", (row) => count(row.rescues), true],
  ], state.upstreams ?? [])];
}

export function endpoints(state) {
  const flag = (row) => row.usable ? "up" : make("span", { class: "bad" }, row.ejected ? "ejected" : row.mode !== "ready" ? row.mode : row.health);
  return [table("Endpoints", [
    ["Upstream", (row) => named(row.upstream, row.upstream)], ["Endpoint", (row) => row.endpoint], ["State", flag],
    ["Health", (row) => row.health], ["Mode", (row) => row.mode], ["Weight", (row) => `${row.weight}`, true],
    ["Good attempts", (row) => count(row.attempts_succeeded), true], ["Failed", (row) => count(row.attempts_failed), true],
  ], state.endpoints ?? [])];
}

export function caps(state) {
  if (!state.caps?.length) return [make("p", { class: "note" }, "no shared budgets")];
  return [table("Budgets of connections, with their warning lines", [
    ["Cap", (row) => row.cap], ["Used", (row) => `${count(row.connections)} of ${count(row.max_connections)}`, true],
    ["", (row) => bar(`Use of ${row.cap}, warning at ${percent(row.warn_at)}`, row.utilization,
      row.warning ? "amber" : "blue", row.warn_at)],
    ["Peak", (row) => count(row.peak_connections), true], ["Warns at", (row) => percent(row.warn_at), true],
    ["", (row) => row.warning ? make("span", { class: "warn" }, "over its line") : row.waiting ? "requests wait" : ""],
    ["Members", (row) => row.members.join(", ")],
  ], state.caps)];
}

const BAD = ["tripped", "endpoint_down", "endpoint_ejected", "reload_failed", "dns_failed", "state_not_saved"];

export function addEvent(list, event) {
  const kind = BAD.includes(event.type) ? "bad" : event.type.includes("warning") ? "warn" : "";
  list.prepend(make("li", {}, make("time", { datetime: event.at }, clock(event.at)),
    make("span", { class: `type ${kind}` }, event.type), make("span", {}, event.message)));
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
}

export function process(state) {
  const info = state.info?.[0];
  return info ? `${info.version}, ${info.state}, up ${duration(info.uptime_s)}, ${count(info.connections)} clients` : "";
}
