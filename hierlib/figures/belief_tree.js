/* Belief propagation on one tree of the Random Hierarchy Model under a chosen noise, and its mean field. */
const { mulberry32, stream, BAR, style, f2, label, rect, circle, diamond, legend, place, WIDE, fit, publish } = core;
const { mean, misses, sampleTree, marginals, samplePosterior, infer, rowName, tell, outcome, errors, LIGHT, NIGHT, MARKS, ways, steer } = inference;

/* What the noise leaves of the data x: one likelihood over v symbols per leaf.
 * epsilon: the true symbol with belief 1 - eps + eps/v, the same on all leaves (no randomness);
 * mask: a leaf is hidden with probability eps; uniform: it is redrawn with probability eps, and y is seen. */
function channel(kind, x, eps, v, rng) {
  const soft = (y) => Array.from({ length: v }, (_, a) => (a === y ? 1 - eps : 0) + eps / v);
  const hard = (y) => Array.from({ length: v }, (_, a) => (a === y ? 1 : 0));
  if (kind === "epsilon") return x.map(soft);
  if (kind === "mask") return x.map((a) => (rng() < eps ? Array(v).fill(1 / v) : hard(a)));
  const draw = (a) => { const redrawn = rng() < eps, b = Math.floor(rng() * v); return redrawn ? b : a; };
  if (kind === "uniform") return x.map((a) => soft(draw(a))); // both drawn always: leaves keep their luck as eps moves
  throw new RangeError(`channel: ${kind}; allowed: epsilon, mask, uniform`);
}

/* One step of the mean-field recursion of the epsilon process: belief of a parent from belief p of its children. */
const density = ({ v, m, s }) => (m * v - 1) / (v ** s - 1);
function upwardMap(g, p) {
  const phi = density(g), w = p ** g.s;
  return (w + ((phi * (g.m - 1)) / (g.m * g.v - 1)) * (1 - w)) / (w + phi * (1 - w));
}

/* Mean field of the epsilon process, lists over levels 0..L: upward and downward belief in the true symbol, and both. */
function meanField(g, eps) {
  const { v, m, s, L } = g, phi = density(g), up = [1 - eps + eps / v], down = [];
  for (let l = 0; l < L; l++) up.push(upwardMap(g, up[l]));
  down[L] = 1 / v;
  for (let l = L; l > 0; l--) {
    const q = down[l], a = up[l - 1] ** (s - 1), k = ((m - 1) * q + m * (1 - q)) / (m * v - 1);
    down[l - 1] = (q * a + phi * k * (1 - a)) / (q * a + phi * k * (v - a));
  }
  const marginal = up.map((p, l) => (p * down[l]) / (p * down[l] + ((1 - p) * (1 - down[l])) / (v - 1)));
  return { up, down, marginal };
}

/* The unstable fixed point {p, eps} of upwardMap between 1/v and 1; null where one of the two ends is unstable. */
function transition(g) {
  const { v, m, s } = g, n = v ** s;
  if ((s * m * (v - 1)) / (n - 1) >= 1 || ((s / m) * (1 - 1 / v) * n) / (n - 1) >= 1) return null;
  let lo = 1 / v, hi = 1;
  for (let i = 0; i < 100; i++) {
    const p = (lo + hi) / 2;
    if (upwardMap(g, p) < p) lo = p; else hi = p;
  }
  return { p: lo, eps: ((1 - lo) * v) / (v - 1) };
}

/* ------------------------------------------------------------------ the figure */

const CSS = style("belief-tree", "bt", BAR, LIGHT, NIGHT, `${MARKS}
& .bt-star { transform: translateX(-50%); opacity: .75; text-align: center; }
& .bt-star::before { display: block; margin: 0 auto 1px; }
& option { color: CanvasText; background: Canvas; }
& svg { margin: .9rem 0 .3rem; }
& .bt-edge { stroke: currentColor; stroke-opacity: .22; } & .bt-edge-kept { stroke: var(--bt-kept); stroke-opacity: .85; stroke-width: 1.8; }
& .bt-tick { stroke: currentColor; stroke-width: 1.6; }`);

const HTML = `<div class="bt-bar">
<label class="bt-noise"><span>noise <i>ε</i></span><span class="bt-slide"><input type="range" min="0" max="1" step="0.01" aria-label="noise epsilon">
<span class="bt-star" aria-hidden="true" title="mean-field transition of the infinite tree"><i>ε</i>*</span></span><output></output></label>
<select aria-label="noise channel">
<option value="epsilon">ε process</option><option value="mask">masking</option><option value="uniform">uniform</option></select>
${ways("tree")}
<svg class="bt-fig" role="img"></svg><div class="bt-says" role="status"></div><div class="bt-legend" aria-hidden="true"></div>`;

/* Everything there is to show for one state of the controls. */
function look(g, state) {
  const truth = sampleTree(g, stream(state.seed, 1));
  const likelihood = channel(state.kind, truth[0], state.eps, g.v, stream(state.seed, 2));
  const now = infer(g, truth, likelihood, state.turn && stream(state.seed, 3 + state.draw));
  return { ...now, field: state.kind === "epsilon" ? meanField(g, state.eps).marginal : null };
}

/* The tree and, on the same rows (below it where the page is narrow), the mean over each level. */
function paint(g, now, width) {
  const { L, s } = g, wide = width >= WIDE, W = wide ? width - 210 : width, top = 22;
  const row = wide ? Math.max(40, Math.min(62, 310 / L)) : Math.max(34, Math.min(46, 240 / L));
  const pitch = (l) => W / s ** (L - l), X = (l, i) => (i + 0.5) * pitch(l), Y = (l) => top + (L - l) * row;
  const R = (l) => Math.max(1.7, Math.min(4.6 + 0.9 * l, 0.34 * pitch(l)));
  const noiseY = Y(0) + Math.max(4, R(0)) + 9, foot = noiseY + 8;
  const edges = [], nodes = [], bars = [];
  for (let l = L; l >= 0; l--) {
    now.truth[l].forEach((a, i) => {
      const x = X(l, i), y = Y(l), r = R(l), b = now.belief[l][i], kept = now.kept && now.kept[l][i];
      if (l < L) { // an edge ends where its nodes begin, so that pale nodes stay clean
        const j = Math.floor(i / s), dx = X(l + 1, j) - x, dy = Y(l + 1) - y, d = Math.hypot(dx, dy);
        const e = (R(l) + 1.5) / d, f = 1 - (R(l + 1) + 1.5) / d;
        const both = kept && now.kept[l + 1][j];
        edges.push(`<line class="bt-edge${both ? " bt-edge-kept" : ""}" x1="${f2(x + dx * e)}" y1="${f2(y + dy * e)}" ` +
          `x2="${f2(x + dx * f)}" y2="${f2(y + dy * f)}"/>`);
      }
      let mark;
      if (now.draw) {
        mark = kept ? circle(x, y, r, 'class="bt-kept"') : diamond(x, y, r * 1.2, 'class="bt-changed"');
      } else {
        mark = circle(x, y, r, `class="bt-kept bt-rim" fill-opacity="${b.toFixed(3)}"`);
        if (misses(now.post[l][i], a)) mark += circle(x, y, r + 1.3, 'class="bt-ring"');
      }
      nodes.push(`<g><title>${tell(g, now, l, i, "leaf")}</title>${mark}</g>`);
    });
    const y = wide ? Y(l) : foot + 36 + (L - l) * 19, x0 = (wide ? W + 18 : 0) + 54, len = width - x0 - 34;
    const at = mean((now.kept || now.belief)[l]);
    const bar = (part, high, more) => rect(x0, y - high / 2, len * part, high, more);
    bars.push(label(x0 - 8, y + 4, rowName(g, l, "leaves"), "bt-quiet", "end"), bar(1, 10, 'fill="currentColor" fill-opacity=".08"'),
      now.kept ? bar(mean(now.belief[l]), 10, 'class="bt-kept" fill-opacity=".3"') : "", bar(at, now.kept ? 5 : 10, 'class="bt-kept"'),
      now.field ? `<path class="bt-tick" d="M${f2(x0 + len * now.field[l])} ${f2(y - 8)}v16"/>` : "", label(width, y + 4, f2(at), "", "end"));
  }
  bars.push(label(wide ? W + 72 : 54, wide ? 4 : foot + 18, now.kept ? "part kept" : "mean belief", "bt-quiet"));
  const noisy = now.truth[0].map((a, i) => {
    const left = now.likelihood[i][a], box = `x="${f2(X(0, i) - R(0))}" y="${f2(noiseY)}" width="${f2(2 * R(0))}" height="5"`;
    return `<rect ${box} fill="currentColor" fill-opacity="${(0.07 + 0.78 * left).toFixed(3)}">` +
      `<title>leaf: the noise left likelihood ${left.toFixed(3)} of ${a}</title></rect>`;
  });
  if (wide) bars.push(label(W + 64, noiseY + 8, "data", "bt-quiet", "end"));
  const height = wide ? noiseY + 14 : foot + 36 + L * 19 + 12;
  return { height, body: `<g>${edges.join("")}</g>${nodes.join("")}${noisy.join("")}${bars.join("")}` };
}

function sentence(g, now) {
  if (now.kept) return outcome(g, now, "leaves");
  const b = (l) => f2(mean(now.belief[l])) + (now.field ? ` (mean field ${f2(now.field[l])})` : "");
  return `Belief in the true class ${b(g.L)}, in the leaves ${b(0)}${errors(now)}`;
}

function mount(el, g, find, all) {
  const star = transition(g), state = { seed: g.seed, eps: g.epsilon, kind: "epsilon", turn: false, draw: 0 };
  const fig = find(".bt-fig"), slider = find("input"), mark = find(".bt-star"), width = fit(el, fig, show);
  slider.value = state.eps;
  if (star) mark.style.left = `calc(8px + (100% - 16px) * ${star.eps.toFixed(4)})`;
  function show() {
    const W = width(), now = look(g, state), { height, body } = paint(g, now, W);
    find("output").textContent = f2(state.eps);
    mark.hidden = !star || state.kind !== "epsilon";
    place(fig, W, height, body, `Tree of ${now.truth[0].length} leaves. ${state.turn ? "Part kept" : "Mean belief in the true symbol"}, ` +
      `class to leaves: ${(now.kept || now.belief).map((row) => f2(mean(row))).reverse().join(", ")}`);
    find(".bt-says").textContent = sentence(g, now);
    find(".bt-legend").innerHTML = legend([...(state.turn
      ? [[circle(7, 7, 5, 'class="bt-kept"'), "kept"], [diamond(7, 7, 6, 'class="bt-changed"'), "changed"],
        [rect(0, 3, 14, 8, 'class="bt-kept" fill-opacity=".3"'), "exact probability of being kept"]]
      : [[circle(7, 7, 5, 'class="bt-kept bt-rim" fill-opacity=".5"'), "belief in the true symbol (full: certain)"],
        [circle(7, 7, 5, 'class="bt-ring"'), "best guess is wrong"]]), now.field && ['<path class="bt-tick" d="M7 1v12"/>', "mean field"]], 14);
  }
  slider.addEventListener("input", () => { state.eps = Number(slider.value); show(); });
  find("select").addEventListener("change", (event) => { state.kind = event.target.value; show(); });
  steer(find, all, state, show);
  show();
}

publish({ kind: "belief-tree", css: CSS, html: HTML, mount },
  { mulberry32, sampleTree, channel, marginals, samplePosterior, upwardMap, meanField, transition });
