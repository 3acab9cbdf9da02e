/* Two concepts learnt by f(x) = U Uᵀ x, and the figure that shows the swing-by.
 * p = {r, rho, omega}: A = diag(r, 1), time a₂t (V time: dW/dt = V(W)), start W = ω [[1, ρ], [ρ, 1]], probe x̂ = (√r, 1)
 * in units of μ₂. W is kept as [w₁₁, w₁₂, w₂₂]. */
const { range, DIALS, style, f1, decimal, label, rect, dot, line, path, it, legend, place, columns, fit, publish, dial, turn, drag, keys } = core;
const frame = core.frame("sw");

/* ------------------------------------------------------------------ the flow */

const TAU = 1e-6; // a rise by TAU L(0) or less is not drawn
const STEP = 0.05; // longest step of the integration
const matrix = ([a, b, c, d]) => [a * a + b * b, a * c + b * d, c * c + d * d]; // U = [[a, b], [c, d]]
const initial = ({ rho, omega }) => [Math.sqrt(1 - rho * rho), rho, 0, 1].map((x) => x * Math.sqrt(omega));

/* dU/dt = A U − ½ (A W + W A) U */
function velocity(r, u) {
  const [w1, m, w2] = matrix(u), keep1 = r * (1 - w1), keep2 = 1 - w2, mix = ((1 + r) / 2) * m, [a, b, c, d] = u;
  return [keep1 * a - mix * c, keep1 * b - mix * d, keep2 * c - mix * a, keep2 * d - mix * b];
}
function advance(r, u, h) { // one Runge–Kutta step of order 4
  const from = (k, part) => [u[0] + part * k[0], u[1] + part * k[1], u[2] + part * k[2], u[3] + part * k[3]];
  const k1 = velocity(r, u), k2 = velocity(r, from(k1, h / 2)), k3 = velocity(r, from(k2, h / 2)), k4 = velocity(r, from(k3, h));
  return u.map((x, i) => x + (h / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
}
/* W at ascending times. */
function flow(p, times) {
  let u = initial(p), t = 0;
  return times.map((to) => {
    const steps = Math.ceil((to - t) / STEP);
    for (let n = 0; n < steps; n++) u = advance(p.r, u, (to - t) / steps);
    t = to;
    return matrix(u);
  });
}

/* The closed form: w₂₂ logistic; w₁₂ grows and is suppressed by it; the Schur complement w₁₁ − w₁₂²/w₂₂ logistic. */
function closed({ r, rho, omega }, t) {
  const log = 2 * t + Math.log(omega + (1 - omega) * Math.exp(-2 * t)); // of 1 + ω (e^{2t} − 1)
  const w2 = omega * Math.exp(2 * t - log), q = (1 - rho * rho) * omega * Math.exp(2 * r * t);
  const m = (rho * omega * Math.exp((1 + r) * t - ((3 + r) / 4) * log)) / Math.sqrt(1 + q);
  return [q / (1 + q) + (m * m) / w2, m, w2];
}

/* Output at the probe in units of μ₂, and ½ |f(x̂) − x̂|² in units of μ₂². */
const output = (r, [w1, m, w2]) => [Math.sqrt(r) * w1 + m, w2 + Math.sqrt(r) * m];
const loss = (r, W) => { const [x, y] = output(r, W); return ((x - Math.sqrt(r)) ** 2 + (y - 1) ** 2) / 2; };

/* Growth, suppression and noise of w₁₁, w₁₂, w₂₂: V = G − S − N. */
function terms(r, [w1, m, w2]) {
  const noise = m * m * (1 + r);
  return [[2 * r * w1, 2 * r * w1 * w1, noise],
    [(1 + r) * m, (m * (w1 * (3 * r + 1) + w2 * (3 + r))) / 2, 0], [2 * w2, 2 * w2 * w2, noise]];
}

/* Ascents [index of the minimum, index of the maximum] with rises above `least`. */
function ascents(L, least) {
  const found = [];
  let low = 0, high = -1;
  L.forEach((x, i) => {
    if (high < 0) {
      if (x < L[low]) low = i;
      else if (x - L[low] > least) high = i;
    } else if (x > L[high]) high = i;
    else if (L[high] - x > least) { found.push([low, high]); low = i; high = -1; }
  });
  return high < 0 ? found : found.concat([[low, high]]);
}

/* ln(1/S − 1)/(2a), S the Schur complement of w_kk(0) on the stronger concept: times at which w₁₁, w₂₂ = ½. */
const logit = (x) => Math.log(1 / x - 1);
const learning = ({ r, rho, omega }) => [logit(omega * (1 - rho * rho)) / (2 * r), logit(omega) / 2];
const last = (p) => learning(p)[0] + 2.5 / p.r; // w₁₁ ≈ 0.99

/* dL/dt = e·V x̂, e = W x̂ − x̂. */
function rate(r, W) {
  const [v1, m, v2] = terms(r, W).map(([grow, suppress, noise]) => grow - suppress - noise), [x, y] = output(r, W), root = Math.sqrt(r);
  return (x - root) * (root * v1 + m) + (y - 1) * (root * m + v2);
}
/* Whether the loss ascends, however little: whether it rises between w₂₂ = ½ and w₁₁ = 0.9. */
function swings(p) {
  const h = 2 * STEP;
  for (let u = initial(p), W = matrix(u); W[0] < 0.9; u = advance(p.r, u, h), W = matrix(u)) if (W[2] > 0.5 && rate(p.r, W) > 0) return true;
  return false;
}
/* Least ρ with an ascent, to 0.001; null where there is none up to TOP. */
const TOP = 0.99;
function critical(r, omega) {
  if (!swings({ r, rho: TOP, omega })) return null;
  let low = 0, high = TOP;
  while (high - low > 0.002) {
    const rho = (low + high) / 2;
    if (swings({ r, rho, omega })) high = rho;
    else low = rho;
  }
  return (low + high) / 2;
}
const RATIOS = range(31).map((i) => 0.05 + 0.03 * i);
const boundary = (omega) => RATIOS.map((r) => critical(r, omega));

/* Everything there is to show: TIMES moments, spaced evenly in log t. */
const TIMES = 361;
function look(p) {
  const first = learning(p)[1] / 4, end = last(p), W0 = [p.omega, p.omega * p.rho, p.omega];
  const t = range(TIMES).map((i) => first * (end / first) ** (i / (TIMES - 1)));
  const W = flow(p, t), C = t.map((x) => closed(p, x)), L0 = loss(p.r, W0), of = (list) => list.map((w) => loss(p.r, w) / L0);
  const L = of(W), rises = ascents([1, ...L], TAU).map((pair) => pair.map((i) => Math.max(0, i - 1)));
  const half = [0, 2].map((k) => { // times of w_kk = ½, by interpolation
    const i = W.findIndex((w) => w[k] >= 0.5), part = i > 0 ? (0.5 - W[i - 1][k]) / (W[i][k] - W[i - 1][k]) : 0;
    return i > 0 ? t[i - 1] + part * (t[i] - t[i - 1]) : null;
  });
  return { t, W, C, L, LC: of(C), rises, half };
}

/* ------------------------------------------------------------------ the figure */

const CSS = style("swing-by", "sw", DIALS, `--sw-flow: #1565a9; --sw-rise: #b5430b; --sw-one: #7b3fb5; --sw-two: #00745f; --sw-you: #a8255c;
  --sw-accent: var(--sw-flow);`,
"--sw-flow: #63b7f5; --sw-rise: #ff9a57; --sw-one: #c39bf5; --sw-two: #3cc9ae; --sw-you: #ff8fb8; color-scheme: dark;", `
& .sw-bar { margin-bottom: .4rem; } & output { flex: 0 0 3.6rem; } & button { min-width: 4.4rem; }
& .sw-time { display: flex; gap: .9rem; margin-top: .6rem; } & .sw-loss { cursor: ew-resize; }
& .sw-flow { stroke: var(--sw-flow); stroke-width: 2; fill: none; stroke-linejoin: round; }
& .sw-closed { stroke: currentColor; stroke-width: 1.3; stroke-dasharray: 4 3; fill: none; stroke-opacity: .8; }
& .sw-rising { stroke: var(--sw-rise); stroke-width: 6; fill: none; stroke-linecap: round; stroke-opacity: .8; }
& .sw-shade { fill: var(--sw-rise); fill-opacity: .16; } & svg .sw-rise { fill: var(--sw-rise); }
& svg .sw-one { fill: var(--sw-one); } & svg .sw-two { fill: var(--sw-two); }
& .sw-edge { stroke: var(--sw-rise); stroke-width: 1.8; fill: none; }
& .sw-cluster { fill: currentColor; fill-opacity: .8; } & .sw-probe { fill: none; stroke: currentColor; stroke-width: 1.6; }
& .sw-cursor { stroke: var(--sw-you); stroke-width: 1.2; } & .sw-you { fill: var(--sw-you); stroke: var(--sw-ground); stroke-width: 1.5; }
& .sw-cell { fill: var(--sw-flow); stroke: currentColor; stroke-opacity: .26; }
& .sw-grow { fill: var(--sw-flow); } & .sw-suppress { fill: var(--sw-rise); } & .sw-noise { fill: var(--sw-rise); fill-opacity: .45; }`);

const SLIDERS = [["r", "<i>r</i>", 0.05, 0.95, 0.01, "ratio r of the concepts' second moments"],
  ["rho", "<i>ρ</i>", 0, TOP, 0.01, "correlation ρ at the start"], ["omega", "<i>ω</i>", -4, -1, 0.05, "scale ω of the start, logarithmic"]];
const HTML = `<div class="sw-bar">${SLIDERS.map(dial).join("")}</div>
<div class="sw-grid"><svg class="sw-plane" role="img"></svg><svg class="sw-loss" role="img"></svg></div>
<div class="sw-time"><button type="button">▶ play</button>${dial(["time", "time", 0, TIMES - 1, 1, "time at which W is shown"])}</div>
<div class="sw-says" role="status"></div>
<div class="sw-grid"><svg class="sw-phase" role="group" tabindex="0"></svg><svg class="sw-matrix" role="img"></svg></div>`;

const three = (x) => (x >= 100 ? x.toFixed(0) : x.toPrecision(3)).replace("-", "−"), percent = (x) => `${100 * x < 1 ? (100 * x).toPrecision(1) : f1(100 * x)}\u00a0%`;
const signed = (x) => { const text = Math.abs(x).toFixed(3); return text === "0.000" ? text : (x < 0 ? "−" : "+") + text; };

/* The output in the plane of the two concepts. */
function paintPlane(p, now, width) {
  const left = 34, h = width - left - 6, root = Math.sqrt(p.r), { at, drawn } = frame(left, 24, h, h, [-0.08, 1.25], [-0.08, 1.25], [0, 0.5, 1], [0, 0.5, 1]);
  const track = (list) => list.map((W) => at(output(p.r, W))), way = track(now.W), [px, py] = at([root, 1]);
  const clusters = [[root, 0, "sw-one"], [0, 1, "sw-two"]].map(([x, y, cls], k) => {
    const [cx, cy] = at([x, y]);
    return rect(cx - 4.5, cy - 4.5, 9, 9, 'class="sw-cluster"') + label(cx + (k ? -8 : 0), cy + (k ? -7 : 16), k + 1, `sw-head ${cls}`, "middle");
  }).join("");
  const body = drawn + label(0, 12, `Output ${it("f")}(x̂) in units of ${it("μ")}₂`, "sw-head") +
    `<path class="sw-probe" d="M${f1(px)} ${f1(py - 7)}l7 7l-7 7l-7 -7z"/>` + label(px + 11, py - 5, "x̂", "sw-head") + clusters +
    now.rises.map(([a, b]) => path(way.slice(a, b + 1), "sw-rising")).join("") + path(way, "sw-flow") + path(track(now.C), "sw-closed") +
    label(left + h / 2, 24 + h + 29, `along concept 1 (weak)`, "sw-small", "middle") +
    label(left + 7, 34, "along concept 2 (strong) ↑", "sw-small") + '<g class="sw-now"></g>';
  return { body, height: 24 + h + 33, place: (i) => dot(way[i], 5.5, "sw-you") };
}

const grid2 = (x, y, size, [w1, m, w2], cls = "sw-cell") => [w1, m, m, w2].map((w, k) =>
  rect(x + (k % 2) * size, y + (k > 1 ? size : 0), size, size, `class="${cls}" fill-opacity="${Math.max(0, Math.min(1, 0.06 + 0.5 * w)).toFixed(3)}"`)).join("");

/* The loss over time with its ascents, and W along the way. */
function paintLoss(now, width, height) {
  const left = 30, w = width - left - 8, h = height - 24 - 82, end = [now.t[0], now.t[TIMES - 1]].map(Math.log10), most = Math.max(1.02, ...now.L, ...now.LC);
  const ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200].map((t) => [Math.log10(t), t]).filter(([x]) => x >= end[0] && x <= end[1]);
  const { X, Y, drawn, back } = frame(left, 24, w, h, end, [0, most], ticks, [0, 0.5, 1]), of = (i) => X(Math.log10(now.t[i]));
  const curve = (L) => L.map((y, i) => [of(i), Y(y)]), out = [drawn, label(0, 12, `Loss ${it("L")} / ${it("L")}(0) at the probe`, "sw-head")];
  now.rises.forEach(([a, b]) => out.push(rect(of(a), 24, of(b) - of(a), h, 'class="sw-shade"'),
    label((of(a) + of(b)) / 2, Y(now.L[b]) - 8, `+${percent(now.L[b] - now.L[a])}`, "sw-rise sw-small", "middle")));
  out.push(label(left + w, 12, `${now.rises.length} ascent${now.rises.length === 1 ? "" : "s"}`, now.rises.length ? "sw-rise" : "", "end"));
  now.half.forEach((t, k) => {
    if (t === null) return;
    const x = X(Math.log10(t));
    out.push(`<path class="sw-axis" stroke-dasharray="2 3" d="M${f1(x)} 24v${f1(h)}"/>`,
      label(k ? x + 3 : x - 3, k ? 36 : 50, `${it("w")}${k ? "₂₂" : "₁₁"} = ½`, `sw-small ${k ? "sw-two" : "sw-one"}`, k ? "start" : "end"));
  });
  out.push(path(curve(now.L), "sw-flow"), path(curve(now.LC), "sw-closed"), label(left + w / 2, 24 + h + 28, `time ${it("a")}₂${it("t")}, logarithmic`, "sw-small", "middle"));
  const frames = Math.max(5, Math.floor(w / 38)), size = 13, y = 24 + h + 40;
  range(frames).forEach((k) => { // the film of W
    const i = Math.round(((k + 0.5) / frames) * (TIMES - 1));
    out.push(grid2(of(i) - size, y, size, now.W[i]), `<path class="sw-axis" d="M${f1(of(i))} ${f1(24 + h)}v4"/>`);
  });
  out.push(label(left - 8, y + 17, it("W"), "", "end"), '<g class="sw-now"></g>');
  const place = (i) => `<path class="sw-cursor" d="M${f1(of(i))} 24v${f1(h)}"/>` + dot([of(i), Y(now.L[i])], 5, "sw-you");
  const index = (x) => Math.round(((back(x, 0)[0] - end[0]) / (end[1] - end[0])) * (TIMES - 1));
  return { body: out.join(""), place, index };
}

/* The place in the (r, ρ) plane. */
function paintPhase(p, edge, width) {
  const left = 34, w = width - left - 6, h = Math.round(w * 0.72), { at, drawn, back } = frame(left, 24, w, h, [0, 1], [0, 1], [0, 0.2, 0.4, 0.6, 0.8, 1], [0, 0.5, 1]);
  const seen = RATIOS.map((r, i) => [r, edge[i]]).filter(([, rho]) => rho !== null).map(at), top = at([0, 1])[1];
  const swing = seen.length > 1 ? `<path class="sw-shade" d="${line([...seen, [seen[seen.length - 1][0], top], [seen[0][0], top]])}z"/>` + path(seen, "sw-edge") : "";
  const body = label(0, 12, `Where the loss ascends, at this ${it("ω")}`, "sw-head") + drawn + swing +
    (seen.length > 1 ? label(seen[0][0] + 8, top + 16, "swing-by", "sw-rise") : "") + label(left + w - 6, at([0, 0.06])[1], "falls throughout", "sw-quiet", "end") +
    label(left + w / 2, 24 + h + 29, `${it("r")} = ${it("a")}₁/${it("a")}₂`, "sw-small", "middle") + label(left - 22, 40, it("ρ")) + dot(at([p.r, p.rho]), 6, "sw-you");
  return { body, height: 24 + h + 33, back };
}

/* W at one time, and what moves its entries. */
const NAMES = ["w₁₁", "w₁₂", "w₂₂"];
function paintMatrix(p, now, i, width, height) {
  const W = now.W[i], size = Math.min(44, width / 8), out = [label(0, 12, `${it("W")} at ${it("a")}₂${it("t")} = ${three(now.t[i])}`, "sw-head"), grid2(0, 26, size, W)];
  [W[0], W[1], W[1], W[2]].forEach((w, k) => out.push(label(((k % 2) + 0.5) * size, 30 + size * (k > 1 ? 1.5 : 0.5), decimal(w), "", "middle")));
  const x0 = 2 * size + 22;
  [["sw-grow", "growth"], ["sw-suppress", "suppression"], ["sw-noise", "noise"]].forEach(([cls, words], k) =>
    out.push(rect(x0, 29 + 20 * k, 12, 12, `class="${cls}"`), label(x0 + 18, 39 + 20 * k, words)));
  const left = 40, end = width - 96, mid = (left + end) / 2, gap = Math.min(64, (height - 2 * size - 62) / 3);
  terms(p.r, W).forEach(([grow, suppress, noise], k) => {
    const y = 2 * size + 44 + gap * k, most = now.most[k], long = (x) => (Math.abs(x) / most) * (mid - left);
    out.push(label(0, y + 13, NAMES[k], k === 1 ? "" : k ? "sw-two" : "sw-one"), rect(mid, y, long(grow), 18, 'class="sw-grow"'),
      rect(mid - long(suppress), y, long(suppress), 18, 'class="sw-suppress"'), rect(mid - long(suppress) - long(noise), y, long(noise), 18, 'class="sw-noise"'),
      `<path class="sw-axis" d="M${f1(mid)} ${f1(y - 4)}v26"/>`, label(width, y + 13, `dw/dt ${signed(grow - suppress - noise)}`, "sw-small", "end"));
  });
  return out.join("");
}

/* What happens, in words. */
function says(p, now, rho) {
  const at = (i) => `<i>a</i>₂<i>t</i> = ${three(now.t[i])}`, learnt = now.half.map((t) => three(t)), law = three(learning(p)[0]);
  const course = `Concept 2 is half learnt at ${learnt[1]}, concept 1 at ${learnt[0]} (from the Schur complement: ${law}).`;
  if (!now.rises.length) {
    return `The loss falls throughout. ${course} ` +
      (rho === null ? `It ascends from some <i>ρ</i> above ${TOP} on.` : `It ascends from <i>ρ</i> ≈ ${decimal(rho)} on.`);
  }
  return now.rises.map(([a, b]) => `Swing-by: between ${at(a)} and ${three(now.t[b])} the output turns back to cluster 2, and the loss rises ` +
    `from ${percent(now.L[a])} of its start by ${percent(now.L[b] - now.L[a])}.`).join(" ") + ` ${course}`;
}

const LEGEND = `<div class="sw-legend" aria-hidden="true">${legend([
  ['<path class="sw-flow" d="M0 7h18"/>', "gradient flow (Runge–Kutta)"], ['<path class="sw-closed" d="M0 7h18"/>', "closed form"],
  ['<path class="sw-rising" d="M2 7h14"/>', "the loss ascends"], [rect(5, 3, 9, 9, 'class="sw-cluster"'), "training clusters 1, 2"],
  ['<path class="sw-probe" d="M9 1l6 6l-6 6l-6 -6z"/>', "probe x̂"], [dot([9, 7], 5, "sw-you"), "chosen time, chosen <i>r</i> and <i>ρ</i>"],
])}</div>`;

function mount(el, p, find, all) {
  const dials = all('[data-key]:not([data-key="time"])'), clock = find('[data-key="time"]'), button = find("button");
  const phase = find(".sw-phase"), lossPlot = find(".sw-loss"), width = fit(el, find(".sw-grid"), show);
  let now = null, edge = null, omega = null, drawn = {}, moment = -1, playing = 0;

  function scrub(i) {
    moment = Math.max(0, Math.min(TIMES - 1, i));
    find(".sw-plane .sw-now").innerHTML = drawn.plane.place(moment);
    find(".sw-loss .sw-now").innerHTML = drawn.loss.place(moment);
    place(find(".sw-matrix"), drawn.side, drawn.tall, paintMatrix(p, now, moment, drawn.side, drawn.tall),
      `W: ${NAMES.map((name, k) => `${name} ${decimal(now.W[moment][k])}`).join(", ")}; terms: ` + terms(p.r, now.W[moment])
        .map(([g, s, n], k) => `${NAMES[k]} growth ${decimal(g)}, suppression ${decimal(s)}, noise ${decimal(n)}`).join("; "));
    turn(clock, moment, three(now.t[moment]), `time ${three(now.t[moment])}`);
  }
  function compute() {
    now = look(p);
    now.most = range(3).map((k) => Math.max(...now.W.map((W) => { const [g, s, n] = terms(p.r, W)[k]; return Math.max(g, s + n); })) || 1); // ρ = 0 leaves w₁₂ = 0
    if (omega !== p.omega) { edge = boundary(p.omega); omega = p.omega; }
    now.critical = now.rises.length ? null : critical(p.r, p.omega);
    if (moment < 0) moment = now.rises.length ? now.rises[0][1] : TIMES >> 1;
  }
  function show() {
    const { wide, part, side } = columns(all(".sw-grid"), width(), 0.46, 30);
    const plane = paintPlane(p, now, part), tall = wide ? plane.height : 330, map = paintPhase(p, edge, part);
    drawn = { plane, loss: paintLoss(now, side, tall), map, side, tall: wide ? map.height : 250 };
    place(find(".sw-plane"), part, plane.height, plane.body, "Path of the output from the origin to the probe in the plane of the two concepts");
    place(lossPlot, side, tall, drawn.loss.body, `Loss at the probe over time: ${now.rises.length} ascents`);
    place(phase, part, map.height, map.body,
      `Plane of r and ρ with the boundary of the swing-by. At r ${decimal(p.r)}, ρ ${decimal(p.rho)}; arrow keys move it`);
    find(".sw-says").innerHTML = says(p, now, now.critical);
    dials.forEach((input) => {
      const x = p[input.dataset.key], log = input.dataset.key === "omega" && x.toPrecision(2);
      turn(input, log ? Math.log10(x) : x, log || decimal(x), log);
    });
    scrub(moment);
  }
  const redo = () => { compute(); show(); };
  function stop() { cancelAnimationFrame(playing); playing = 0; button.textContent = "▶ play"; }
  function play() {
    if (moment >= TIMES - 1) scrub(0);
    button.textContent = "❚❚ pause";
    const tick = () => { scrub(moment + 2); if (moment < TIMES - 1) playing = requestAnimationFrame(tick); else stop(); };
    playing = requestAnimationFrame(tick);
  }
  const move = (r, rho) => { p.r = Math.max(0.05, Math.min(0.95, r)); p.rho = Math.max(0, Math.min(TOP, rho)); redo(); };
  drag(phase, (x, y) => move(...drawn.map.back(x, y)));
  drag(lossPlot, (x) => { stop(); scrub(drawn.loss.index(x)); });
  keys(phase, (r, rho) => move(p.r + 0.01 * r, p.rho + 0.01 * rho));
  button.addEventListener("click", () => (playing ? stop() : play()));
  clock.addEventListener("input", () => { stop(); scrub(Number(clock.value)); });
  dials.forEach((input) => input.addEventListener("input", () => {
    p[input.dataset.key] = input.dataset.key === "omega" ? Number((10 ** Number(input.value)).toPrecision(3)) : Number(input.value);
    redo();
  }));
  redo();
}

publish({ kind: "swing-by", css: CSS, html: HTML + LEGEND, mount },
  { flow, closed, output, loss, terms, ascents, learning, rate, swings, critical, boundary, look, says, RATIOS });
