// The charts over time. A point is [unix_s, green_percent, BLUE, GREEN], a colour
// [rate_per_s, failed_per_s, p50_s, p99_s, bands]: see admin/live_stream.h.
import { duration, make, rate } from "./format.js";

const RANGES = {
  seconds: { most: 600, span: 600, step: 1 },
  tens: { most: 720, span: 7200, step: 10 },
};
const HEIGHT = 190;
const BLUE = 2, GREEN = 3;

// Each chart: its title and its lines [label, colour, value(point), dashed].
const CHARTS = [
  { key: "split", title: "Green's share", write: (value) => `${Number(value.toFixed(2))} %`, range: [0, 100],
    lines: [["green", "green", (p) => p[1]]] },
  { key: "rate", title: "Requests", write: rate,
    lines: [["blue", "blue", (p) => p[BLUE][0]], ["green", "green", (p) => p[GREEN][0], true]] },
  { key: "errors", title: "Failed attempts", write: rate,
    lines: [["blue", "blue", (p) => p[BLUE][1]], ["green", "green", (p) => p[GREEN][1], true]] },
  { key: "latency", title: "Latency, median and p99", write: duration,
    lines: [["blue p50", "blue", (p) => p[BLUE][2] || null, false, 1], ["blue p99", "blue", (p) => p[BLUE][3] || null, false, 2],
      ["green p50", "green", (p) => p[GREEN][2] || null, true, 1], ["green p99", "green", (p) => p[GREEN][3] || null, true, 2]] },
];

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export class Charts {
  constructor(root, announce) {
    this.root = root;
    this.announce = announce;
    this.range = "seconds";
    this.points = { seconds: [], tens: [] };
    this.marks = [];
    this.bands = [];
    this.plots = new Map();
    this.build();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.build());
    new ResizeObserver(() => this.resize()).observe(root);
  }

  reset(history) {
    this.points = { seconds: history.seconds, tens: history.tens };
    this.bands = history.bands_s;
    this.marks = [];
    history.events.forEach((event) => this.mark(event));
    this.draw();
  }

  add(range, point) {
    const points = this.points[range];
    if (points.length > 0 && points[points.length - 1][0] >= point[0]) return;
    points.push(point);
    if (points.length > RANGES[range].most) points.shift();
  }

  // Trips and changes of the split are lines across the charts.
  mark(event) {
    if (event.type === "tripped" || event.type === "split_changed") {
      this.marks.push({ at: Date.parse(event.at) / 1000, service: event.service, trip: event.type === "tripped" });
    }
  }

  show(range) {
    this.range = range;
    this.draw();
  }

  build() {
    for (const plot of this.plots.values()) plot.chart?.destroy();
    this.plots.clear();
    const figures = CHARTS.map((chart) => this.figure(chart.key, chart.title, (box) => this.plot(chart, box)));
    for (const colour of ["blue", "green"]) {
      figures.push(this.figure(`heat-${colour}`, `Latency of ${colour}, as a heat map`, (box) => {
        const canvas = make("canvas", { class: "heat", role: "img" });
        box.append(canvas);
        return { canvas, colour };
      }));
    }
    this.root.replaceChildren(...figures);
    if (!window.uPlot) {
      this.root.prepend(make("p", { class: "note" }, "The line charts were left out of this build: uPlot was not there."));
    }
    this.resize();
  }

  figure(key, title, fill) {
    const box = make("div", { class: "plot", id: `chart-${key}`, role: "group", "aria-label": title });
    const figure = make("figure", {}, make("figcaption", {}, title), box);
    this.plots.set(key, { box, ...fill(box) });
    return figure;
  }

  plot(chart, box) {
    if (!window.uPlot) return { chart: null };
    const grid = { stroke: cssColour("grid"), width: 1 };
    const axis = { stroke: cssColour("dim"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
    const series = chart.lines.map(([label, colour, , dashed, width]) => ({
      label, stroke: cssColour(colour), width: width ?? 1.5, dash: dashed ? [6, 3] : undefined, points: { show: false },
      value: (_, value) => value === null || value === undefined ? "–" : chart.write(value),
    }));
    const made = new window.uPlot({
      width: 400, height: HEIGHT, cursor: { sync: { key: "time" }, drag: { x: false, y: false } },
      scales: { y: { range: chart.range ?? ((_, low, high) => [0, high > 0 ? high * 1.1 : 1]) } },
      axes: [{ ...axis, values: axisTimes }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => chart.write(tick)) }],
      series: [{ label: "at", value: (_, value) => value ? axisTime(value) : "–" }, ...series],
      hooks: { draw: [(plot) => this.drawMarks(plot)] },
    }, [[], ...chart.lines.map(() => [])], box);
    box.tabIndex = 0;
    box.addEventListener("keydown", (event) => this.step(event, chart, made));
    return { chart: made, lines: chart.lines };
  }

  // Arrow keys move along the points and read them out.
  step(event, chart, plot) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const points = this.points[this.range];
    if (!(event.key in moves) || points.length === 0) return;
    event.preventDefault();
    const at = (plot.cursor.idx ?? points.length - 1) + moves[event.key];
    const index = Math.max(0, Math.min(points.length - 1, at));
    plot.setCursor({ left: plot.valToPos(points[index][0], "x"), top: 10 });
    const values = chart.lines.map(([label, , value]) => {
      const found = value(points[index]);
      return `${label} ${found === null ? "none" : chart.write(found)}`;
    });
    this.announce(`${chart.title}, ${axisTime(points[index][0])}: ${values.join(", ")}`);
  }

  resize() {
    for (const { chart, box } of this.plots.values()) {
      if (chart && box.clientWidth > 0) chart.setSize({ width: box.clientWidth, height: HEIGHT });
    }
    this.draw();
  }

  draw() {
    const points = this.points[this.range];
    const times = points.map((point) => point[0]);
    const end = times.length > 0 ? times[times.length - 1] : Date.now() / 1000;
    const begin = end - RANGES[this.range].span;
    for (const [key, plot] of this.plots) {
      if (plot.canvas) {
        this.drawHeat(plot, points, begin, end);
      } else if (plot.chart) {
        plot.chart.batch(() => {
          plot.chart.setData([times, ...plot.lines.map(([, , value]) => points.map(value))], true);
          plot.chart.setScale("x", { min: begin, max: end });
        });
        plot.box.setAttribute("aria-label", this.describe(key, points));
      }
    }
  }

  describe(key, points) {
    const chart = CHARTS.find((one) => one.key === key);
    if (points.length === 0) return `${chart.title}: no values yet`;
    const now = chart.lines.map(([label, , value]) => {
      const found = value(points[points.length - 1]);
      return `${label} ${found === null ? "none" : chart.write(found)}`;
    });
    return `Chart. ${chart.title}, now: ${now.join(", ")}`;
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.setLineDash([4, 4]);
    for (const { at, service, trip } of this.marks) {
      const x = plot.valToPos(at, "x", true);
      if (service !== this.service || x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = cssColour(trip ? "red" : "dim");
      ctx.lineWidth = trip ? 2 : 1;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  drawHeat({ canvas, colour }, points, begin, end) {
    const side = colour === "blue" ? BLUE : GREEN;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (width === 0) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const ctx = canvas.getContext("2d");
    ctx.scale(scale, scale);
    const left = 64, bottom = 20, plotWidth = width - left - 4, plotHeight = height - bottom;
    const used = usedBands(points, side);
    ctx.font = "11px system-ui, sans-serif";
    ctx.fillStyle = cssColour("dim");
    if (!used) {
      ctx.fillText("no requests", left, 20);
      canvas.setAttribute("aria-label", `Heat map: ${colour} has answered no request in this time`);
      return;
    }
    const rows = used.last - used.first + 1, rowHeight = plotHeight / rows;
    const columnWidth = Math.max(1, plotWidth * RANGES[this.range].step / (end - begin));
    ctx.fillStyle = cssColour(colour);
    for (const point of points) {
      const x = left + (point[0] - begin) / (end - begin) * plotWidth - columnWidth;
      point[side][4].forEach((hits, band) => {
        if (hits === 0 || x < left) return;
        ctx.globalAlpha = 0.15 + 0.85 * Math.log1p(hits) / Math.log1p(used.most);
        ctx.fillRect(x, (used.last - band) * rowHeight, columnWidth + 0.5, rowHeight - 1);
      });
    }
    ctx.globalAlpha = 1;
    ctx.fillStyle = cssColour("dim");
    for (let band = used.first; band <= used.last; band++) {
      if (rowHeight < 12 && (band - used.first) % 2 === 1) continue;
      ctx.fillText(bandName(this.bands, band), 0, (used.last - band + 0.5) * rowHeight + 4);
    }
    ctx.fillText(axisTime(begin), left, height - 4);
    ctx.textAlign = "right";
    ctx.fillText(axisTime(end), width - 4, height - 4);
    canvas.setAttribute("aria-label", `Heat map: most requests of ${colour} took ${bandName(this.bands, used.busiest)}; ` +
      `the slowest ${bandName(this.bands, used.last)}`);
  }

  // The requests of the last minute by band: [blue counts, green counts].
  lastMinute() {
    const points = this.points.seconds.slice(-60);
    return [BLUE, GREEN].map((side) => {
      const sums = new Array(this.bands.length + 1).fill(0);
      for (const point of points) point[side][4].forEach((hits, band) => { sums[band] += hits; });
      return sums;
    });
  }
}

function usedBands(points, side) {
  let first = Infinity, last = -1, most = 0;
  const sums = [];
  for (const point of points) {
    point[side][4].forEach((hits, band) => {
      if (hits === 0) return;
      first = Math.min(first, band);
      last = Math.max(last, band);
      most = Math.max(most, hits);
      sums[band] = (sums[band] ?? 0) + hits;
    });
  }
  if (last < 0) return null;
  let busiest = first;
  sums.forEach((sum, band) => { if (sum > (sums[busiest] ?? 0)) busiest = band; });
  return { first, last, most, busiest };
}

export function bandName(bounds, band) {
  if (band === 0) return `< ${duration(bounds[0])}`;
  return `≥ ${duration(bounds[band - 1])}`;
}

function axisTime(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleTimeString("en-GB");
}

function axisTimes(plot, ticks) {
  const short = ticks.length < 2 || ticks[1] - ticks[0] >= 60;
  return ticks.map((tick) => short ? axisTime(tick).slice(0, 5) : axisTime(tick));
}
