// Joins the live stream (admin/live_stream.h) to the charts and panels.
import { Charts } from "./charts.js";
import { make } from "./format.js";
import * as panels from "./panels.js";

const at = (id) => document.getElementById(id);
const charts = new Charts(at("charts"), (text) => { at("reading").textContent = text; });
let stream = null;
let paused = false;
let latest = null;

// Makes `there` look like `fresh` and leaves alone what does already, so that
// focus, selection, scrolling and a screen reader are not disturbed each second.
function patch(there, fresh) {
  if (there.nodeName !== fresh.nodeName) {
    there.replaceWith(fresh);
  } else if (there.nodeType === Node.TEXT_NODE) {
    if (there.data !== fresh.data) there.data = fresh.data;
  } else {
    for (const { name } of [...there.attributes]) if (!fresh.hasAttribute(name)) there.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (there.getAttribute(name) === value) continue;
      // The page's policy lets scripts set styles, but not as an attribute.
      if (name === "style") there.style.cssText = value;
      else there.setAttribute(name, value);
    }
    patchChildren(there, fresh);
  }
}

function patchChildren(there, fresh) {
  const wanted = [...fresh.childNodes];
  while (there.childNodes.length > wanted.length) there.lastChild.remove();
  wanted.forEach((child, index) => {
    if (index < there.childNodes.length) patch(there.childNodes[index], child);
    else there.append(child);
  });
}

function put(id, children) {
  patchChildren(at(id), make("div", {}, ...children));
}

function putText(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function showServices(services) {
  const names = services.map((row) => row.service);
  put("services", names.length < 2 ? [] : names.map((name) => make("a", {
    href: `?service=${encodeURIComponent(name)}`, "aria-current": name === charts.service ? "page" : null,
  }, name)));
}

function show() {
  if (paused || latest === null) return;
  const state = latest;
  const split = state.split?.[0];
  document.title = split ? `${split.state === "tripped" ? "TRIPPED " : ""}${split.service} ${split.green} % green – sluice` : "sluice";
  putText("process", panels.process(state));
  putText("alarm", panels.alarm(state));
  putText("summary-title", split ? `${split.service} now` : "Now");
  showServices(state.services ?? []);
  for (const name of ["summary", "rollout", "judge", "latency", "slo", "upstreams", "endpoints", "caps"]) {
    put(name, panels[name](state));
  }
  put("distribution", panels.distribution(charts.bands, charts.lastMinute()));
  charts.draw();
}

function live(text, isLive) {
  putText("link", text);
  at("link").dataset.live = isLive ? "yes" : "no";
}

function connect() {
  const service = new URLSearchParams(location.search).get("service") ?? "";
  stream = new EventSource(`/stream?service=${encodeURIComponent(service)}`);
  stream.addEventListener("history", (message) => {
    const history = JSON.parse(message.data);
    charts.service = history.service;
    charts.reset(history);
    at("events").replaceChildren();
    history.events.forEach((event) => panels.addEvent(at("events"), event));
  });
  stream.addEventListener("state", (message) => {
    latest = JSON.parse(message.data);
    if (latest.second) charts.add("seconds", latest.second);
    if (latest.ten) charts.add("tens", latest.ten);
    live("live", true);
    show();
  });
  stream.addEventListener("event", (message) => {
    const event = JSON.parse(message.data);
    charts.mark(event);
    panels.addEvent(at("events"), event);
  });
  stream.addEventListener("error", () => {
    live("not connected: what is shown is old; trying again", false);
    // A refusal (too many streams, an unknown service) ends an EventSource for good.
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
  });
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  at("pause").textContent = paused ? "Resume" : "Pause";
  show();
});

at("ranges").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  for (const one of at("ranges").children) one.setAttribute("aria-pressed", String(one === button));
  charts.show(button.dataset.range);
});

connect();
