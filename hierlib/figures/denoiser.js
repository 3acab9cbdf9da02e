/* Points in the plane, noise, and the exact denoiser of these points: one noisy point, and many on their way back.
 * p = {sets, seed}: sets of points [name, [[x, y], …]]. Signal ᾱ: x_t = √ᾱ x₀ + √(1−ᾱ) ε. */
const { sum, range, mulberry32, normal, stream, DIALS, style, f1, f2, label, circle, dot, path, legend, place, columns, fit, publish, dial, turn, buttons, drag, keys } = core;
const frame = core.frame("dn");

/* ------------------------------------------------------------------ the denoiser and the sampler */

/* Posterior weights π_i of the points, given x at signal s. */
function weights(points, [x, y], s) {
  const a = Math.sqrt(s), v = Math.max(1 - s, 1e-12);
  const logs = points.map(([p, q]) => -((x - a * p) ** 2 + (y - a * q) ** 2) / (2 * v)), most = Math.max(...logs);
  const w = logs.map((l) => Math.exp(l - most)), z = sum(w);
  return w.map((each) => each / z);
}
/* x̂₀ = E[x₀ | x_t] = Σ π_i x_i. */
const mean = (points, w) => [0, 1].map((k) => sum(points.map((p, i) => w[i] * p[k])));
const denoise = (points, x, s) => mean(points, weights(points, x, s));

/* Signals of equal times of the cosine schedule, from 0 to 1. */
const STEPS = 100, OFFSET = 0.008;
const cosine = (t) => (Math.cos((Math.PI / 2) * ((t + OFFSET) / (1 + OFFSET))) / Math.cos((Math.PI / 2) * (OFFSET / (1 + OFFSET)))) ** 2;
const SIGNALS = range(STEPS + 1).map((i) => (i === 0 ? 0 : cosine(1 - i / STEPS)));

/* The way of one point from x, with every step: DDIM, which fills the noise level with the noise that x̂₀ leaves. */
function way(points, x) {
  const all = [x];
  for (let i = 0; i < STEPS; i++) {
    const now = all[i], x0 = denoise(points, now, SIGNALS[i]), part = Math.sqrt((1 - SIGNALS[i + 1]) / (1 - SIGNALS[i]));
    all.push([0, 1].map((k) => Math.sqrt(SIGNALS[i + 1]) * x0[k] + part * (now[k] - Math.sqrt(SIGNALS[i]) * x0[k])));
  }
  return all;
}
/* n points of pure noise. */
function noise(n, rng) {
  const z = normal(2 * n, rng);
  return range(n).map((i) => [z[2 * i], z[2 * i + 1]]);
}

/* How many points the noisy one may come from: e to the entropy of the weights. */
const number = (w) => Math.exp(-sum(w.map((p) => (p > 0 ? p * Math.log(p) : 0))));
/* How many noisy points have settled: one point of the data has nearly all the weight. */
const settled = (points, xs, s) => xs.filter((x) => Math.max(...weights(points, x, s)) > 0.9).length;

/* ------------------------------------------------------------------ the figure */

const MANY = 80, REACH = 2.7;
const CSS = style("denoiser", "dn", DIALS, "--dn-data: #1565a9; --dn-you: #a8255c; --dn-mean: #b5430b; --dn-many: #00745f; --dn-accent: var(--dn-data);",
  "--dn-data: #63b7f5; --dn-you: #ff8fb8; --dn-mean: #ff9a57; --dn-many: #3cc9ae; color-scheme: dark;", `
& .dn-bar { align-items: center; } & output { flex: 0 0 4.4rem; } & .dn-acts { display: flex; gap: .5rem; flex-wrap: wrap; }
& select, & button { padding: .1rem .6rem; height: 1.95rem; }
& .dn-place { fill: none; stroke: var(--dn-data); stroke-opacity: .55; } & .dn-data { fill: var(--dn-data); }
& .dn-you { fill: var(--dn-you); stroke: var(--dn-ground); stroke-width: 1.5; } & .dn-mean { fill: var(--dn-mean); stroke: var(--dn-ground); stroke-width: 1.5; }
& .dn-link { stroke: var(--dn-mean); stroke-width: 1.4; stroke-dasharray: 4 3; fill: none; }
& .dn-reach { fill: none; stroke: var(--dn-you); stroke-opacity: .5; stroke-dasharray: 2 3; }
& .dn-many { fill: var(--dn-many); } & .dn-tail { stroke: var(--dn-many); stroke-opacity: .22; fill: none; }
& svg text.dn-you { fill: var(--dn-you); stroke: none; } & svg text.dn-mean { fill: var(--dn-mean); stroke: none; } & svg text.dn-many { fill: var(--dn-many); }`);

const HTML = `<div class="dn-bar">${dial(["step", "signal <i>ᾱ</i>", 0, STEPS, 1, "share of signal"])}
<div class="dn-acts"><button type="button" data-do="play">▶ denoise</button><button type="button" data-do="other">other noise</button>
<label>data <select aria-label="data"></select></label></div></div>
<div class="dn-grid"><svg class="dn-one" role="group" tabindex="0"></svg><svg class="dn-all" role="img"></svg></div>
<div class="dn-says" role="status"></div>`;

const TICKS = [-2, -1, 0, 1, 2];
const square = (width) => frame(24, 24, width - 30, width - 30, [-REACH, REACH], [-REACH, REACH], TICKS, TICKS);

/* One noisy point: where it may come from, and the mean of that. */
function paintOne(points, x, s, width) {
  const { X, at, back, drawn } = square(width), w = weights(points, x, s), x0 = mean(points, w), unit = X(1) - X(0);
  const shrunk = points.map((p, i) => dot(at(p.map((c) => Math.sqrt(s) * c)), 1.5 + 9 * Math.sqrt(w[i]), "dn-data")).join("");
  const [mx, my] = at(x0), [px, py] = at(x);
  const body = drawn + label(0, 12, "One noisy point: where may it come from?", "dn-head") + points.map((p) => dot(at(p), 3.4, "dn-place")).join("") +
    circle(px, py, unit * Math.sqrt(1 - s), 'class="dn-reach"') + `<g fill-opacity=".75">${shrunk}</g>` + path([at(x), at(x0)], "dn-link") +
    `<path class="dn-mean" d="M${f1(mx)} ${f1(my - 7)}l7 7l-7 7l-7 -7z"/>` + dot([px, py], 5.5, "dn-you");
  return { body, back, w, x0 };
}
/* Many points, each on its way from noise to the data. */
function paintMany(points, ways, i, width) {
  const { at, drawn } = square(width);
  return drawn + label(0, 12, `${ways.length} points on their way from noise to data`, "dn-head") +
    ways.map((each) => path(each.slice(Math.max(0, i - 30), i + 1).map(at), "dn-tail")).join("") + points.map((p) => dot(at(p), 3.4, "dn-place")).join("") +
    ways.map((each) => dot(at(each[i]), 2.6, "dn-many")).join("");
}
function says(points, w, ways, i) {
  const n = number(w), there = settled(points, ways.map((each) => each[i]), SIGNALS[i]);
  return `At <i>ᾱ</i> = ${f2(SIGNALS[i])} the noisy point may come from ${n < 1.05 ? "one" : `about ${f1(n)}`} of the ${points.length} points; ` +
    `${there} of ${ways.length} samples have settled on one point.`;
}

const LEGEND = `<div class="dn-legend" aria-hidden="true">${legend([
  [dot([9, 7], 4, "dn-place"), "data"], [dot([9, 7], 5, "dn-data"), "data shrunk by √<i>ᾱ</i>, area: posterior weight"], [dot([9, 7], 5, "dn-you"), "noisy point; circle: size of the noise"],
  ['<path class="dn-mean" d="M9 1l6 6l-6 6l-6 -6z"/>', "posterior mean"], [dot([9, 7], 3, "dn-many"), "samples"],
])}</div>`;

function mount(el, p, find, all) {
  const slider = find("input"), play = find('[data-do="play"]'), one = find(".dn-one"), select = find("select"), width = fit(el, find(".dn-grid"), show);
  const state = { set: 0, i: 35, x: [0.3, 0.3], seed: p.seed };
  let ways = [], painted = null, playing = 0;
  p.sets.forEach(([name], k) => select.insertAdjacentHTML("beforeend", `<option value="${k}">${name}</option>`));
  const points = () => p.sets[state.set][1];
  const compute = () => { ways = noise(MANY, stream(state.seed, 1)).map((x) => way(points(), x)); };
  function show() {
    const { part, side } = columns(all(".dn-grid"), width(), 0.5, 26), s = SIGNALS[state.i];
    painted = paintOne(points(), state.x, s, part);
    place(one, part, part + 16, painted.body, `Plane with the data and a noisy point at ${f2(state.x[0])}, ${f2(state.x[1])}; ` +
      `posterior mean ${f2(painted.x0[0])}, ${f2(painted.x0[1])}; arrow keys move the noisy point`);
    place(find(".dn-all"), side, side + 16, paintMany(points(), ways, state.i, side), `${ways.length} samples at signal ${f2(s)}`);
    find(".dn-says").innerHTML = says(points(), painted.w, ways, state.i);
    turn(slider, state.i, f2(s), `signal ${f2(s)}`);
  }
  function stop() { cancelAnimationFrame(playing); playing = 0; play.textContent = "▶ denoise"; }
  const move = (x, y) => { state.x = [x, y].map((c) => Math.max(-REACH, Math.min(REACH, c))); show(); };
  slider.addEventListener("input", () => { stop(); state.i = Number(slider.value); show(); });
  select.addEventListener("change", () => { state.set = Number(select.value); compute(); show(); });
  drag(one, (x, y) => move(...painted.back(x, y)));
  keys(one, (x, y) => move(state.x[0] + 0.1 * x, state.x[1] + 0.1 * y));
  buttons(all, {
    play() {
      if (playing) { stop(); return; }
      if (state.i >= STEPS) state.i = 0;
      play.textContent = "❚❚ pause";
      const tick = () => { state.i += 1; show(); if (state.i < STEPS) playing = requestAnimationFrame(tick); else stop(); };
      playing = requestAnimationFrame(tick);
    },
    other() { state.seed += 1; compute(); show(); },
  });
  compute();
  show();
}

publish({ kind: "denoiser", css: CSS, html: HTML + LEGEND, mount }, { mulberry32, weights, denoise, way, noise, number, settled, SIGNALS, says });
