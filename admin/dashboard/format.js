// How numbers, times and elements are written. Text from the server only ever
// becomes textContent.

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor(whole / 3600) % 24} h`;
}

export function percent(share, digits = 3) {
  return share === null || share === undefined ? "–" : `${Number((share * 100).toPrecision(digits))} %`;
}

export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return "–";
  return `${perSecond >= 100 ? perSecond.toFixed(0) : Number(perSecond.toFixed(perSecond >= 10 ? 1 : 2))}/s`;
}

export function count(number) {
  return number === null || number === undefined ? "–" : number.toLocaleString("en");
}

export function clock(rfc3339) {
  const date = new Date(rfc3339);
  return Number.isNaN(date.getTime()) ? rfc3339 : date.toLocaleTimeString("en-GB");
}

// An element: its tag, attributes (class, and whatever setAttribute takes), and
// children, which are elements or texts.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// A table in a box that scrolls. Columns are [title, write(row), numeric].
export function table(caption, columns, rows) {
  const head = make("tr", {}, ...columns.map(([title, , numeric]) =>
    make("th", { scope: "col", class: numeric ? "number" : null }, title)));
  const body = rows.map((row) => make("tr", { class: row.rowClass }, ...columns.map(([, write, numeric]) =>
    make("td", { class: numeric ? "number" : null }, write(row)))));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)));
}

// A bar of `share` (0..1) with a mark at `line`.
export function bar(label, share, kind, line) {
  const fill = make("i", { class: `is-${kind}` });
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  const box = make("div", {
    class: "bar", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(share * 100), "aria-valuetext": percent(share),
  }, fill);
  if (line !== undefined && line !== null && line < 1) {
    const mark = make("b");
    mark.style.left = `${line * 100}%`;
    box.append(mark);
  }
  return box;
}
