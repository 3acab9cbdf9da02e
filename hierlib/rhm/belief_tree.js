/* Exact inference on one tree of the Random Hierarchy Model, and the figure that shows it.
 * In node: module.exports. In a page: mounts on every <div class="belief-tree" data-config="{...}">.
 * No library, no request, no global name; ES2017. Conventions of hierlib.rhm: level 0 = leaves, level L = root;
 * g = {v, m, s, L, rules}, where rules[l][a][r] lists the s level-l symbols that symbol a of level l + 1 becomes. */
(function () {
  "use strict";

  const sum = (x) => x.reduce((a, b) => a + b, 0);
  const mean = (x) => sum(x) / x.length;
  const argmax = (x) => x.indexOf(Math.max(...x));
  const misses = (p, a) => Math.max(...p) > p[a] * (1 + 1e-9); // another symbol is more probable than a; a tie is no miss

  function normalise(x) {
    const z = sum(x);
    if (!(z > 0 && z < Infinity)) throw new RangeError("likelihood: these leaves have probability 0 under the grammar");
    return x.map((a) => a / z);
  }

  /* A generator of uniform numbers in [0, 1) from a 32-bit seed (mulberry32, T. Ettinger, public domain). */
  function mulberry32(seed) {
    let a = seed >>> 0;
    return () => {
      a = (a + 0x6d2b79f5) >>> 0;
      let t = Math.imul(a ^ (a >>> 15), a | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  /* Index i with probability w[i] / sum(w); uses one random number. */
  function pick(w, rng) {
    let u = rng() * sum(w), last = -1;
    for (let i = 0; i < w.length; i++) {
      if (w[i] <= 0) continue;
      last = i;
      u -= w[i];
      if (u < 0) break;
    }
    return last;
  }

  /* Levels 0..L of a tree: the root is given, each node chooses its rule by rule(l, i, a) -> r. */
  function grow(g, root, rule) {
    const tree = [];
    tree[g.L] = [root];
    for (let l = g.L - 1; l >= 0; l--) {
      tree[l] = [].concat(...tree[l + 1].map((a, i) => g.rules[l][a][rule(l, i, a)]));
    }
    return tree;
  }

  const sampleTree = (g, rng) => grow(g, Math.floor(rng() * g.v), () => Math.floor(rng() * g.m));

  /* What the noise leaves of the data x: one likelihood over v symbols per leaf.
   * epsilon: the true symbol with belief 1 - eps + eps/v, the same on all leaves (no randomness);
   * mask: a leaf is hidden with probability eps; uniform: it is redrawn with probability eps, and y is seen. */
  function channel(kind, x, eps, v, rng) {
    const soft = (y) => Array.from({ length: v }, (_, a) => (a === y ? 1 - eps : 0) + eps / v);
    const hard = (y) => Array.from({ length: v }, (_, a) => (a === y ? 1 : 0));
    if (kind === "epsilon") return x.map(soft);
    if (kind === "mask") return x.map((a) => (rng() < eps ? Array(v).fill(1 / v) : hard(a)));
    if (kind === "uniform") {
      return x.map((a) => {
        const redrawn = rng() < eps, b = Math.floor(rng() * v); // both drawn always: leaves keep their luck as eps moves
        return soft(redrawn ? b : a);
      });
    }
    throw new RangeError(`channel: ${kind}; allowed: epsilon, mask, uniform`);
  }

  /* Upward pass. weight[l][i][a][r] = prod_j up_{l, is+j}(rule r of a, place j); up_{l+1, i}(a) ∝ sum_r of it. */
  function upward(g, likelihood) {
    const up = [likelihood.map(normalise)], weight = [];
    for (let l = 0; l < g.L; l++) {
      weight[l] = [];
      for (let i = 0; i < up[l].length; i += g.s) {
        weight[l].push(g.rules[l].map((rules) => rules.map((b) => b.reduce((w, bj, j) => w * up[l][i + j][bj], 1))));
      }
      up[l + 1] = weight[l].map((w) => normalise(w.map(sum)));
    }
    return { up, weight };
  }

  /* Posterior of every node, [level][node][symbol]. Downward, the posterior is again a grammar: symbol a of this node
   * chooses rule r with probability weight(a, r) / sum_r weight(a, r). */
  function marginals(g, likelihood) {
    const { up, weight } = upward(g, likelihood), post = [];
    post[g.L] = up[g.L];
    for (let l = g.L - 1; l >= 0; l--) {
      post[l] = up[l].map(() => Array(g.v).fill(0));
      post[l + 1].forEach((belief, i) => belief.forEach((pa, a) => {
        if (pa === 0) return;
        const w = weight[l][i][a], z = sum(w);
        w.forEach((wr, r) => g.rules[l][a][r].forEach((b, j) => { post[l][i * g.s + j][b] += (pa * wr) / z; }));
      }));
    }
    return post;
  }

  /* One exact sample of the whole tree given the noisy leaves: the way back of a U-turn. */
  function samplePosterior(g, likelihood, rng) {
    const { up, weight } = upward(g, likelihood);
    return grow(g, pick(up[g.L][0], rng), (l, i, a) => pick(weight[l][i][a], rng));
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

  const CSS = `
.belief-tree { --bt-kept: #0072b2; --bt-changed: #d55e00; /* Okabe and Ito: told apart by the colour-blind */
  --bt-line: var(--pst-color-border, var(--jp-border-color2, rgba(128,128,128,.4)));
  box-sizing: border-box; border: 1px solid var(--bt-line); border-radius: .4rem; padding: .8rem 1rem .7rem; margin: 1rem 0;
  color: var(--pst-color-text-base, var(--jp-content-font-color1, inherit)); font-size: .92rem; line-height: 1.45; }
html[data-theme="dark"] .belief-tree, body[data-jp-theme-light="false"] .belief-tree, html[theme="dark"] .belief-tree {
  --bt-kept: #56b4e9; --bt-changed: #ef7a30; }
html[data-theme="dark"] body .bd-content div.cell_output .text_html:has(.belief-tree) {
  background: transparent; color: inherit; padding: 0; border-radius: 0; }
.belief-tree .bt-bar { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .6rem; }
.belief-tree label { display: inline-flex; align-items: center; gap: .5rem; margin: 0; font: inherit; }
.belief-tree .bt-noise { flex: 1 1 14rem; padding-bottom: .3rem; }
.belief-tree .bt-noise output { min-width: 2.2em; font-variant-numeric: tabular-nums; }
.belief-tree .bt-slide { position: relative; flex: 1; min-width: 6rem; display: flex; }
.belief-tree input { width: 100%; height: 1.5rem; margin: 0; accent-color: var(--bt-kept); }
.belief-tree .bt-star { position: absolute; top: 1.3rem; transform: translateX(-50%); font-size: .72rem; line-height: 1;
  white-space: nowrap; pointer-events: none; opacity: .75; text-align: center; }
.belief-tree .bt-star::before { content: ""; display: block; width: 1px; height: .35rem; margin: 0 auto 1px; background: currentColor; }
.belief-tree button, .belief-tree select { font: inherit; line-height: 1.3; color: inherit; background: transparent;
  border: 1px solid var(--bt-line); border-radius: .3rem; padding: 0 .65rem; margin: 0; cursor: pointer; width: auto; height: 1.95rem; }
.belief-tree option { color: CanvasText; background: Canvas; }
.belief-tree button:hover, .belief-tree select:hover { border-color: currentColor; }
.belief-tree button[aria-pressed="true"] { background: var(--bt-kept); border-color: var(--bt-kept); color: #fff; }
html[data-theme="dark"] .belief-tree button[aria-pressed="true"], body[data-jp-theme-light="false"] .belief-tree button[aria-pressed="true"],
html[theme="dark"] .belief-tree button[aria-pressed="true"] { color: #111; }
.belief-tree :focus-visible { outline: 2px solid var(--bt-kept); outline-offset: 2px; }
.belief-tree [hidden] { display: none; }
.belief-tree svg { display: block; width: 100%; margin: .9rem 0 .3rem; overflow: visible; }
.belief-tree svg text { font-size: 12px; fill: currentColor; font-variant-numeric: tabular-nums; }
.belief-tree .bt-quiet { opacity: .7; }
.belief-tree .bt-kept { fill: var(--bt-kept); } .belief-tree .bt-changed { fill: var(--bt-changed); }
.belief-tree .bt-edge { stroke: currentColor; stroke-opacity: .22; } .belief-tree .bt-edge-kept { stroke: var(--bt-kept); stroke-opacity: .85; stroke-width: 1.8; }
.belief-tree .bt-rim { stroke: var(--bt-kept); stroke-opacity: .65; } .belief-tree .bt-ring { fill: none; stroke: var(--bt-changed); stroke-width: 1.7; }
.belief-tree .bt-tick { stroke: currentColor; stroke-width: 1.6; }
.belief-tree .bt-legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .82rem; opacity: .85; }
.belief-tree .bt-legend svg { display: inline-block; width: 14px; height: 14px; margin: 0 .35rem 0 0; vertical-align: -2px; }
.belief-tree .bt-says { min-height: 1.45em; }
@media (max-width: 480px) { .belief-tree { padding: .7rem .7rem .6rem; } }`;

  const HTML = `<div class="bt-bar">
<label class="bt-noise"><span>noise <i>ε</i></span><span class="bt-slide"><input type="range" min="0" max="1" step="0.01" aria-label="noise epsilon">
<span class="bt-star" aria-hidden="true" title="mean-field transition of the infinite tree"><i>ε</i>*</span></span><output></output></label>
<select aria-label="noise channel">
<option value="epsilon">ε process</option><option value="mask">masking</option><option value="uniform">uniform</option></select>
<button type="button" data-do="turn" aria-pressed="false" title="add noise, then denoise: one exact posterior sample">U-turn</button>
<button type="button" data-do="again" hidden>draw again</button>
<button type="button" data-do="tree">another tree</button></div>
<svg class="bt-fig" role="img"></svg><div class="bt-says" role="status"></div><div class="bt-legend" aria-hidden="true"></div>`;

  const f2 = (x) => x.toFixed(2);
  const circle = (x, y, r, more) => `<circle cx="${f2(x)}" cy="${f2(y)}" r="${f2(r)}" ${more}/>`;
  const diamond = (x, y, r, more) => `<path d="M${f2(x)} ${f2(y - r)}l${f2(r)} ${f2(r)} ${f2(-r)} ${f2(r)} ${f2(-r)} ${f2(-r)}z" ${more}/>`;
  const key = (mark, words) => `<span><svg viewBox="0 0 14 14">${mark}</svg>${words}</span>`;

  /* Everything there is to show for one state of the controls. */
  function look(g, state) {
    const rng = (k) => mulberry32(Math.imul(state.seed, 0x9e3779b1) + Math.imul(k, 0x85ebca6b)); // one stream per purpose
    const truth = sampleTree(g, rng(1));
    const likelihood = channel(state.kind, truth[0], state.eps, g.v, rng(2));
    const post = marginals(g, likelihood);
    const belief = post.map((row, l) => row.map((p, i) => p[truth[l][i]]));
    const draw = state.turn ? samplePosterior(g, likelihood, rng(3 + state.draw)) : null;
    const kept = draw && draw.map((row, l) => row.map((a, i) => (a === truth[l][i] ? 1 : 0)));
    return { truth, likelihood, post, belief, draw, kept, field: state.kind === "epsilon" ? meanField(g, state.eps).marginal : null };
  }

  /* The tree and, on the same rows (below it where the page is narrow), the mean over each level. */
  function paint(g, now, width) {
    const { L, s } = g, wide = width >= 560, W = wide ? width - 210 : width, top = 22;
    const row = wide ? Math.max(40, Math.min(62, 310 / L)) : Math.max(34, Math.min(46, 240 / L));
    const pitch = (l) => W / s ** (L - l), X = (l, i) => (i + 0.5) * pitch(l), Y = (l) => top + (L - l) * row;
    const R = (l) => Math.max(1.7, Math.min(4.6 + 0.9 * l, 0.34 * pitch(l)));
    const noiseY = Y(0) + Math.max(4, R(0)) + 9, foot = noiseY + 8;
    const edges = [], nodes = [], bars = [];
    for (let l = L; l >= 0; l--) {
      now.truth[l].forEach((a, i) => {
        const x = X(l, i), y = Y(l), r = R(l), b = now.belief[l][i], best = argmax(now.post[l][i]), kept = now.kept && now.kept[l][i];
        if (l < L) { // an edge ends where its nodes begin, so that pale nodes stay clean
          const j = Math.floor(i / s), dx = X(l + 1, j) - x, dy = Y(l + 1) - y, d = Math.hypot(dx, dy);
          const e = (R(l) + 1.5) / d, f = 1 - (R(l + 1) + 1.5) / d;
          const both = kept && now.kept[l + 1][j];
          edges.push(`<line class="bt-edge${both ? " bt-edge-kept" : ""}" x1="${f2(x + dx * e)}" y1="${f2(y + dy * e)}" ` +
            `x2="${f2(x + dx * f)}" y2="${f2(y + dy * f)}"/>`);
        }
        let says = `${l === L ? "class" : l === 0 ? "leaf" : "level " + l}: true symbol ${a}, belief in it ${b.toFixed(3)}`, mark;
        if (now.draw) {
          says += kept ? "; kept" : `; became ${now.draw[l][i]}`;
          mark = kept ? circle(x, y, r, 'class="bt-kept"') : diamond(x, y, r * 1.2, 'class="bt-changed"');
        } else {
          mark = circle(x, y, r, `class="bt-kept bt-rim" fill-opacity="${b.toFixed(3)}"`);
          if (misses(now.post[l][i], a)) {
            mark += circle(x, y, r + 1.3, 'class="bt-ring"');
            says += `; most probable ${best} (${now.post[l][i][best].toFixed(3)})`;
          }
        }
        nodes.push(`<g><title>${says}</title>${mark}</g>`);
      });
      const y = wide ? Y(l) : foot + 36 + (L - l) * 19, x0 = (wide ? W + 18 : 0) + 54, len = width - x0 - 34;
      const at = mean((now.kept || now.belief)[l]);
      bars.push(`<text x="${x0 - 8}" y="${y + 4}" text-anchor="end" class="bt-quiet">${l === L ? "class" : l === 0 ? "leaves" : "level " + l}</text>` +
        `<rect x="${x0}" y="${y - 5}" width="${len}" height="10" fill="currentColor" fill-opacity=".08"/>` +
        (now.kept ? `<rect x="${x0}" y="${y - 5}" width="${f2(len * mean(now.belief[l]))}" height="10" class="bt-kept" fill-opacity=".3"/>` : "") +
        `<rect x="${x0}" y="${y - (now.kept ? 2.5 : 5)}" width="${f2(len * at)}" height="${now.kept ? 5 : 10}" class="bt-kept"/>` +
        (now.field ? `<path class="bt-tick" d="M${f2(x0 + len * now.field[l])} ${y - 8}v16"/>` : "") +
        `<text x="${width}" y="${y + 4}" text-anchor="end">${f2(at)}</text>`);
    }
    const barTop = wide ? W + 72 : 54, head = wide ? 4 : foot + 18;
    bars.push(`<text x="${barTop}" y="${head}" class="bt-quiet">${now.kept ? "part kept" : "mean belief"}</text>`);
    const noisy = now.truth[0].map((a, i) => {
      const left = now.likelihood[i][a];
      return `<rect x="${f2(X(0, i) - R(0))}" y="${f2(noiseY)}" width="${f2(2 * R(0))}" height="5" fill="currentColor" ` +
        `fill-opacity="${(0.07 + 0.78 * left).toFixed(3)}"><title>leaf: the noise left likelihood ${left.toFixed(3)} of ${a}</title></rect>`;
    });
    if (wide) bars.push(`<text x="${W + 64}" y="${f2(noiseY + 8)}" text-anchor="end" class="bt-quiet">data</text>`);
    const height = wide ? noiseY + 14 : foot + 36 + L * 19 + 12;
    return { height, body: `<g>${edges.join("")}</g>${nodes.join("")}${noisy.join("")}${bars.join("")}` };
  }

  function sentence(g, now) {
    const L = g.L, n = now.truth[0].length;
    if (now.kept) {
      const stay = sum(now.kept[0]), same = now.kept[L][0];
      if (same) return stay === n ? "Nothing changed: the way back returned the same data." : `The class stayed; ${n - stay} of ${n} leaves changed.`;
      return `The class changed, ${stay} of ${n} leaves stayed${stay > n / g.v + 1 ? ": old parts in a new whole." : "."}`;
    }
    const b = (l) => f2(mean(now.belief[l])) + (now.field ? ` (mean field ${f2(now.field[l])})` : "");
    const wrong = now.post[0].filter((p, i) => misses(p, now.truth[0][i])).length;
    return `Belief in the true class ${b(L)}, in the leaves ${b(0)}${wrong ? `; the best guess is wrong at ${wrong} of them.` : "."}`;
  }

  function mount(el) {
    const g = JSON.parse(el.dataset.config), star = transition(g);
    const state = { seed: g.seed, eps: g.epsilon, kind: "epsilon", turn: false, draw: 0 };
    el.innerHTML = `<style>${CSS}</style>${HTML}`;
    const find = (q) => el.querySelector(q), fig = find(".bt-fig"), slider = find("input"), says = find(".bt-says");
    slider.value = state.eps;
    if (star) find(".bt-star").style.left = `calc(8px + (100% - 16px) * ${star.eps.toFixed(4)})`;
    let width = 0;
    function show() {
      const now = look(g, state), { height, body } = paint(g, now, width || 700);
      find("output").textContent = f2(state.eps);
      find(".bt-star").hidden = !star || state.kind !== "epsilon";
      find("[data-do=turn]").setAttribute("aria-pressed", state.turn);
      find("[data-do=again]").hidden = !state.turn;
      fig.setAttribute("viewBox", `0 0 ${width || 700} ${height}`);
      fig.setAttribute("aria-label", `Tree of ${now.truth[0].length} leaves. ` +
        `${state.turn ? "Part kept" : "Mean belief in the true symbol"}, class to leaves: ` + (now.kept || now.belief).map((row) => f2(mean(row))).reverse().join(", "));
      fig.innerHTML = body;
      says.textContent = sentence(g, now);
      const tick = now.field ? key('<path class="bt-tick" d="M7 1v12"/>', "mean field") : "";
      find(".bt-legend").innerHTML = (state.turn
        ? key(circle(7, 7, 5, 'class="bt-kept"'), "kept") + key(diamond(7, 7, 6, 'class="bt-changed"'), "changed") +
          key('<rect y="3" width="14" height="8" class="bt-kept" fill-opacity=".3"/>', "exact probability of being kept")
        : key(circle(7, 7, 5, 'class="bt-kept bt-rim" fill-opacity=".5"'), "belief in the true symbol (full: certain)") +
          key(circle(7, 7, 5, 'class="bt-ring"'), "best guess is wrong")) + tick;
    }
    slider.addEventListener("input", () => { state.eps = Number(slider.value); show(); });
    find("select").addEventListener("change", (event) => { state.kind = event.target.value; show(); });
    find("[data-do=turn]").addEventListener("click", () => { state.turn = !state.turn; show(); });
    find("[data-do=again]").addEventListener("click", () => { state.draw += 1; show(); });
    find("[data-do=tree]").addEventListener("click", () => { state.seed += 1; state.draw = 0; show(); });
    const fit = () => { const w = Math.round(fig.getBoundingClientRect().width); if (w && w !== width) { width = w; show(); } };
    show();
    fit();
    if (typeof ResizeObserver === "function") new ResizeObserver(fit).observe(el);
  }

  function mountAll() {
    document.querySelectorAll(".belief-tree:not([data-mounted])").forEach((el) => { el.dataset.mounted = ""; mount(el); });
  }

  if (typeof module === "object" && module.exports) {
    module.exports = { mulberry32, sampleTree, channel, marginals, samplePosterior, upwardMap, meanField, transition };
  } else if (document.readyState === "loading") {
    mountAll(); // the script follows its element
    document.addEventListener("DOMContentLoaded", mountAll);
  } else mountAll();
})();
