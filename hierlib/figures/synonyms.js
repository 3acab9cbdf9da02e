/* Hierarchical clustering of synonyms by their contexts in the Random Hierarchy Model, and the figure that shows it.
 * Conventions of hierlib.rhm: level 0 = tokens, level L = class; g = {v, m, s, L, rules}, where rules[l][a][r] lists the
 * s level-l symbols that symbol a of level l + 1 becomes. */
const { sum, range, mulberry32, stream, BAR, style, f1, f2, label, rect, circle, diamond, legend, place, WIDE, fit, publish, buttons } = core;

/* n strings, one after the other: tokens (n · s^L). The first strings do not depend on how many follow. */
function sample(g, n, rng) {
  const { v, m, s, L } = g, d = s ** L, flat = g.rules.map((rules) => Uint8Array.from([].concat(...[].concat(...rules))));
  const x = new Uint8Array(n * d);
  for (let o = 0; o < n * d; o += d) {
    x[o] = Math.floor(rng() * v);
    for (let l = L - 1, width = 1; l >= 0; l--, width *= s) { // written over itself, from the right
      for (let i = width - 1; i >= 0; i--) {
        const rule = (x[o + i] * m + Math.floor(rng() * m)) * s;
        for (let j = 0; j < s; j++) x[o + i * s + j] = flat[l][rule + j];
      }
    }
  }
  return x;
}

/* Codes, in base v, of the s-tuples of symbols. */
function encode(symbols, v, s) {
  const codes = new Float64Array(symbols.length / s);
  for (let t = 0, o = 0; t < codes.length; t++) {
    let code = 0;
    for (const end = o + s; o < end; o++) code = code * v + symbols[o];
    codes[t] = code;
  }
  return codes;
}

/* Parse tokens as far as they follow the rules: per level 0..L the symbols and whether the whole subtree is right. */
function climb(g, x) {
  const { v, s, L } = g, symbols = [Uint8Array.from(x)], ok = [new Uint8Array(x.length).fill(1)];
  for (let l = 0; l < L; l++) {
    const parent = new Int16Array(v ** s).fill(-1);
    g.rules[l].forEach((rules, a) => encode([].concat(...rules), v, s).forEach((code) => { parent[code] = a; }));
    const codes = encode(symbols[l], v, s), n = codes.length;
    symbols.push(new Uint8Array(n));
    ok.push(new Uint8Array(n));
    for (let t = 0; t < n; t++) {
      const a = parent[codes[t]];
      let good = a >= 0 ? 1 : 0;
      for (let j = 0; j < s; j++) good &= ok[l][t * s + j];
      symbols[l + 1][t] = Math.max(a, 0);
      ok[l + 1][t] = good;
    }
  }
  return { symbols, ok };
}

/* Ward's agglomeration of n points down to k clusters, from squared Euclidean distances (Lance and Williams). */
function ward(squared, n, k) {
  const d = Float64Array.from(squared), size = Array(n).fill(1), label = range(n), alive = range(n);
  while (alive.length > k) {
    let least = Infinity, p = 0, q = 1;
    for (let a = 0; a < alive.length; a++) {
      for (let b = a + 1; b < alive.length; b++) {
        const t = d[alive[a] * n + alive[b]];
        if (t < least) { least = t; p = a; q = b; }
      }
    }
    const i = alive[p], j = alive[q];
    alive.splice(q, 1);
    for (const c of alive) {
      if (c === i) continue;
      d[i * n + c] = d[c * n + i] = ((size[i] + size[c]) * d[i * n + c] + (size[j] + size[c]) * d[j * n + c] - size[c] * least) /
        (size[i] + size[j] + size[c]);
    }
    size[i] += size[j];
    label.forEach((a, t) => { if (a === j) label[t] = i; });
  }
  return label.map((a) => alive.indexOf(a));
}

/* One-to-one assignment row -> column of largest total weight in a square table (Kuhn and Munkres, O(n^3)). */
function assign(table) {
  const n = table.length, u = Array(n + 1).fill(0), w = Array(n + 1).fill(0), row = Array(n + 1).fill(0);
  for (let i = 1; i <= n; i++) {
    const least = Array(n + 1).fill(Infinity), done = Array(n + 1).fill(false), from = Array(n + 1).fill(0);
    let j = 0;
    row[0] = i;
    do {
      done[j] = true;
      let delta = Infinity, next = 0;
      for (let b = 1; b <= n; b++) {
        if (done[b]) continue;
        const cost = -table[row[j] - 1][b - 1] - u[row[j]] - w[b];
        if (cost < least[b]) { least[b] = cost; from[b] = j; }
        if (least[b] < delta) { delta = least[b]; next = b; }
      }
      for (let b = 0; b <= n; b++) {
        if (done[b]) { u[row[b]] += delta; w[b] -= delta; } else least[b] -= delta;
      }
      j = next;
    } while (row[j] !== 0);
    while (j) { row[j] = row[from[j]]; j = from[j]; }
  }
  const out = Array(n);
  for (let b = 1; b <= n; b++) out[row[b] - 1] = b - 1;
  return out;
}

/* Adjusted Rand index of two partitions from their table of counts; 1 where both are trivial. */
function adjustedRand(table) {
  const pairs = (x) => sum(x.map((n) => (n * (n - 1)) / 2)), rows = table.map(sum);
  const both = pairs([].concat(...table)), a = pairs(rows), b = pairs(table[0].map((_, j) => sum(table.map((row) => row[j]))));
  const chance = (a * b) / pairs([sum(rows)]), most = (a + b) / 2;
  return most - chance > 0 ? (both - chance) / (most - chance) : 1;
}

/* Squared Euclidean distances of n rows of features. */
function distances(h, n) {
  const d = new Float64Array(n * n), c = h.length / n;
  for (let a = 0; a < n; a++) {
    for (let b = 0; b < a; b++) {
      let t = 0;
      for (let i = 0; i < c; i++) t += (h[a * c + i] - h[b * c + i]) ** 2;
      d[a * n + b] = d[b * n + a] = t;
    }
  }
  return d;
}

/* R: mean squared distance of synonyms over that of non-synonyms; null where there are no such pairs. */
function distanceRatio(d, parents) {
  const n = parents.length, total = [0, 0], count = [0, 0];
  for (let a = 0; a < n; a++) {
    for (let b = 0; b < a; b++) {
      const other = parents[a] === parents[b] ? 0 : 1;
      total[other] += d[a * n + b];
      count[other]++;
    }
  }
  return count[0] && total[1] > 0 ? total[0] / count[0] / (total[1] / count[1]) : null;
}

/* Features of the level-k tuples, rows 0..n-1: for every place i under the parent, sibling j and slot q of its context,
 * empirical P(symbol | tuple) − P(symbol). row: one tuple per node, pooled over strings and nodes; context: slots symbols per node. */
function features(g, row, n, context, slots) {
  const { v, s } = g, block = (s - 1) * slots * v, c = s * block, h = new Float64Array(n * c);
  const count = new Float64Array(n * s), mean = new Float64Array(c), total = new Float64Array(s);
  for (let first = 0; first < row.length; first += s) {
    for (let i = 0; i < s; i++) {
      const r = row[first + i];
      count[r * s + i]++;
      total[i]++;
      for (let j = 0, at = r * c + i * block; j < s; j++) {
        if (j === i) continue;
        for (let q = (first + j) * slots, end = q + slots; q < end; q++, at += v) h[at + context[q]]++;
      }
    }
  }
  for (let a = 0; a < n; a++) for (let b = 0; b < c; b++) mean[b] += h[a * c + b] / total[Math.floor(b / block)];
  for (let a = 0; a < n; a++) {
    for (let b = 0; b < c; b++) {
      const seen = count[a * s + Math.floor(b / block)]; // a tuple never seen at this place: nothing known, 0
      h[a * c + b] = seen ? h[a * c + b] / seen - mean[b] : 0;
    }
  }
  return h;
}

/* Recover the grammar from strings of it, level by level: levels[k], k = 1..L-1, and the top tuples.
 * The clusters get the names of the true symbols that fit best; the truth is used for nothing else. */
function study(g, x, latent) {
  const { v, s, L } = g, truth = climb(g, x).symbols, levels = [];
  let current = truth[0];
  for (let k = 1; k < L; k++) {
    const codes = encode(current, v, s), nodes = codes.length, place = new Int32Array(v ** s), row = new Int32Array(nodes), rows = [];
    for (let t = 0; t < nodes; t++) place[codes[t]] = 1;
    place.forEach((seen, code) => {
      if (seen) place[code] = rows.push({ tuple: range(s).map((j) => Math.floor(code / v ** (s - 1 - j)) % v) }) - 1;
    });
    const n = rows.length, parents = new Float64Array(n * v);
    for (let t = 0; t < nodes; t++) parents[(row[t] = place[codes[t]]) * v + truth[k][t]]++;
    rows.forEach((r, i) => {
      r.parents = Array.from(parents.subarray(i * v, i * v + v)); // nodes by true symbol: of several where level k - 1 is wrong
      r.count = sum(r.parents);
      r.truth = r.parents.indexOf(Math.max(...r.parents));
    });
    const slots = latent ? s : s ** k, h = features(g, row, n, latent ? current : truth[0], slots), d = distances(h, n);
    const label = ward(d, n, v), table = range(v).map(() => Array(v).fill(0)); // cluster x true symbol
    rows.forEach((r, i) => { table[label[i]][r.truth]++; });
    const name = assign(table);
    rows.forEach((r, i) => { r.found = name[label[i]]; });
    levels[k] = { rows, slots, features: h, ari: adjustedRand(table), ratio: distanceRatio(d, rows.map((r) => r.truth)) };
    current = new Uint8Array(nodes);
    for (let t = 0; t < nodes; t++) current[t] = rows[row[t]].found;
  }
  return { levels, top: current };
}

/* n strings of the recovered grammar: a top tuple seen in the data, then tuples of each cluster as often as they were seen.
 * Returns the symbols of levels 0..L-1. */
function generate(g, found, n, rng) {
  const { v, s, L } = g, P = found.top.length / s, out = [];
  out[L - 1] = new Uint8Array(n * s);
  for (let i = 0; i < n; i++) {
    const p = Math.floor(rng() * P);
    out[L - 1].set(found.top.subarray(p * s, p * s + s), i * s);
  }
  for (let k = L - 1; k > 0; k--) {
    const members = range(v).map((a) => found.levels[k].rows.filter((r) => r.found === a));
    const total = members.map((rows) => sum(rows.map((r) => r.count)));
    out[k - 1] = new Uint8Array(out[k].length * s);
    out[k].forEach((a, t) => {
      let u = rng() * total[a], r = 0;
      while (r < members[a].length - 1 && (u -= members[a][r].count) >= 0) r++;
      out[k - 1].set(members[a][r].tuple, t * s);
    });
  }
  return out;
}

/* P*_2 .. P*_L = v m^(l+1)/(1 - f): strings needed for level l, by finding the synonyms of level l - 1 from tokens;
 * from the symbols found so far v m^3/(1 - f) at every level. null where f = 1: no correlations at all. */
function thresholds({ v, m, s, L }, latent) {
  const f = m / v ** (s - 1);
  return range(L - 1).map((k) => (f < 1 ? (v * m ** (latent ? 3 : k + 3)) / (1 - f) : null));
}

/* Which strings of y are among those of x, 0 or 1; one character a symbol, which is below 128. */
function copies({ s, L }, y, x) {
  const d = s ** L, texts = (z) => { const all = new TextDecoder().decode(z); return range(z.length / d).map((i) => all.slice(i * d, i * d + d)); };
  const known = new Set(texts(x));
  return texts(y).map((text) => (known.has(text) ? 1 : 0));
}

/* Everything there is to show: clusters of P fresh strings and 500 strings of the grammar recovered from them. */
const MADE = 500;
function look(g, { seed, P, latent }) {
  const x = sample(g, P, stream(seed, 1)), found = study(g, x, latent), made = generate(g, found, MADE, stream(seed, 2));
  const parsed = climb(g, made[0]), old = copies(g, made[0], x);
  const fresh = sum(old.map((copy, i) => (parsed.ok[g.L][i] && !copy ? 1 : 0))) / MADE;
  return { ...found, made, parsed, accuracy: parsed.ok.map((level) => sum(level) / level.length), fresh };
}

/* ------------------------------------------------------------------ the figure */

const LOW = 8, HIGH = 20000, STEPS = 180, SHADES = 12;
const NAMES = ["abcdefghijkl", "ABCDEFGHIJKL", "αβγδεζηθικλμ"].map((s) => [...s]).concat([range(12).map((i) => String(i + 1))]);
const nameOf = (l, a) => (NAMES[l] ? NAMES[l][a] : NAMES[3][a] + "′".repeat(l - 3));
const SUBSCRIPTS = "₀₁₂₃₄₅";
const LIGHT = ["#0068a8", "#b84f00", "#00795a", "#a83a80", "#7d6200", "#5650c4", "#bd2c48", "#1f7a91", "#587a14", "#86503f", "#566070", "#9442c4"];
const DARK = ["#5cb8ec", "#f28d4f", "#35c79c", "#e793c3", "#d8bc45", "#a8a3f7", "#f48393", "#70cfe0", "#a9cc5c", "#cf9f8f", "#aeb8c6", "#d29df2"];
const palette = (colours) => colours.map((c, i) => `--sy-${i}: ${c};`).join(" ");

/* --sy-right, --sy-wrong: Okabe and Ito's colours, told apart by the colour-blind. */
const CSS = style("synonyms", "sy", BAR, `${palette(LIGHT)} --sy-right: #0072b2; --sy-wrong: #d55e00; --sy-accent: var(--sy-right);
  --sy-plus: #b5430b; --sy-minus: #1565a9; --sy-level-1: #7b3fb5; --sy-level-2: #00806a; --sy-level-3: #8f6a00; --sy-level-4: #b03a70;`,
`${palette(DARK)} --sy-right: #56b4e9; --sy-wrong: #ef7a30; --sy-plus: #ff9a57; --sy-minus: #63b7f5;
  --sy-level-1: #c39bf5; --sy-level-2: #3cc9ae; --sy-level-3: #dcb94a; --sy-level-4: #f092ba;`, `
& .sy-size { flex: 1 1 100%; padding-bottom: .55rem; } & .sy-size output { min-width: 3.6em; }
& .sy-star { width: 0; } & .sy-star::before { position: absolute; left: -.5px; }
& .sy-star span { position: absolute; top: .42rem; transform: translateX(-50%); }
& .sy-start span { transform: translateX(-3px); } & .sy-end span { transform: translateX(calc(-100% + 3px)); }
& .sy-choice { display: inline-flex; align-items: center; } & .sy-choice span { margin-right: .5rem; }
& .sy-choice button:first-of-type { border-radius: .3rem 0 0 .3rem; }
& .sy-choice button:last-of-type { border-radius: 0 .3rem .3rem 0; margin-left: -1px; }
& .sy-trees { margin: 1rem 0 .5rem; }
& svg .sy-tiny { font-size: 9.5px; }
& svg .sy-mono { font-family: var(--pst-font-family-monospace, ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace); }
& .sy-plus { fill: var(--sy-plus); } & .sy-minus { fill: var(--sy-minus); }
& .sy-row { fill: transparent; } & .sy-row:hover { fill: currentColor; fill-opacity: .09; }
& .sy-unseen { stroke: currentColor; stroke-opacity: .3; stroke-dasharray: 1 3; fill: none; }
& .sy-dash { stroke: currentColor; stroke-width: 1.2; stroke-dasharray: 4 3; fill: none; }
& .sy-right { fill: var(--sy-right); } & .sy-ring { fill: none; stroke: var(--sy-wrong); stroke-width: 1.6; }
& .sy-cross { fill: none; stroke: var(--sy-wrong); stroke-width: 1.6; stroke-linecap: round; }
& .sy-edge { stroke: currentColor; stroke-opacity: .28; } & .sy-edge-right { stroke: var(--sy-right); stroke-opacity: .85; stroke-width: 1.6; }
& svg .sy-on { fill: var(--sy-ground); font-weight: 600; } & .sy-legend { margin-top: .2rem; }`);

const HTML = `<div class="sy-bar"><label class="sy-size"><span>strings <i>P</i></span><span class="sy-slide">
<input type="range" min="0" max="${STEPS}" step="1" aria-label="number of training strings P"></span><output></output></label>
<div class="sy-choice" role="group" aria-label="context"><span>context</span><button type="button" data-context="token"
title="the tokens below the sibling">tokens</button><button type="button" data-context="latent"
title="the symbols found so far below the sibling">found symbols</button></div>
<button type="button" data-do="sweep" title="go through all P">sweep <i>P</i></button>
<button type="button" data-do="sample">new sample</button><button type="button" data-do="clear" hidden>clear dots</button></div>
<div class="sy-grid sy-maps"></div><div class="sy-grid sy-curves"></div><svg class="sy-trees" role="img"></svg>
<div class="sy-says" role="status"></div><div class="sy-legend" aria-hidden="true"></div>`;

const cross = (x, y, r) => `<path class="sy-cross" d="M${f1(x - r)} ${f1(y - r)}l${f1(2 * r)} ${f1(2 * r)}m0 ${f1(-2 * r)}l${f1(-2 * r)} ${f1(2 * r)}"/>`;
const svg = (width, height, says, body) => `<svg viewBox="0 0 ${width} ${f1(height)}" role="img" aria-label="${says}">${body}</svg>`;
const MARKS = [ // one shape per level, of equal weight
  circle,
  (x, y, r, more) => diamond(x, y, 1.3 * r, more),
  (x, y, r, more) => rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r, more),
  (x, y, r, more) => `<path d="M${f1(x)} ${f1(y - 1.2 * r)}l${f1(1.2 * r)} ${f1(2.1 * r)}h-${f1(2.4 * r)}z" ${more}/>`,
];
const plural = (s) => (s === 2 ? "pairs" : s === 3 ? "triples" : "tuples");
const strings = (P) => String(P).replace(/^(..)(...)$/, "$1\u202f$2");
/* Where labels stand at ascending places x, each `room` wide: beside their place where the next is near, null between two. */
function anchors(x, room) {
  return x.map((a, i) => {
    const before = i > 0 && a - x[i - 1] < room, after = i + 1 < x.length && x[i + 1] - a < room;
    return before && after ? null : before ? "start" : after ? "end" : "middle";
  });
}
/* Thresholds within the slider's range: [level index, P]; from found symbols all are one. */
const visible = (g, latent) => thresholds(g, latent).map((P, k) => [k, P])
  .filter(([k, P]) => P !== null && P >= LOW && P <= HIGH && !(latent && k));
const logPlace = (P) => Math.log(P / LOW) / Math.log(HIGH / LOW);
const right = (rows) => rows.filter((r) => r.found === r.truth).length;

/* One level: observed tuples by true parent x features, and beside each row the symbol found for it. */
function paintMap(g, level, k, width) {
  const { v, m, s } = g, { rows, slots, features: h } = level, c = h.length / rows.length, roomy = width > 240;
  const order = range(rows.length).sort((a, b) => rows[a].truth - rows[b].truth || a - b);
  const groups = new Set(rows.map((r) => r.truth)).size, gap = 3, usual = Math.max(5, Math.min(13, 240 / (v * m)));
  const full = v * m * usual + (v - 1) * gap; // height, whatever the number of rows: nothing jumps as P moves
  const tall = Math.min(14, (full - (groups - 1) * gap) / rows.length), named = tall >= 9.4, top = 54;
  const left = 17 + (roomy && usual >= 9.4 ? 7 * s + 6 : 0), end = width - 31;
  const per = (s - 1) * slots, blocks = s * per, step = (b) => (b % per === 0 ? 6 : roomy ? 2 : 1); // gaps between places, slots
  const spare = sum(range(blocks - 1).map((b) => step(b + 1))), cell = (end - left - spare) / c, X = [];
  for (let b = 0, x = left; b < blocks; b++) {
    if (b) x += step(b);
    for (let a = 0; a <= v; a++) X.push(Math.round((x + a * cell) * 2) / 2); // v + 1 edges per slot
    x += v * cell;
  }
  const from = (i) => X[i * per * (v + 1)], to = (i) => X[(i + 1) * per * (v + 1) - 1]; // edges of the i-th place
  const scale = Float64Array.from(h, Math.abs).sort()[Math.floor(0.98 * (h.length - 1))] || 1;
  const shades = range(2 * SHADES + 1).map(() => ""), marks = [], bands = [], unseen = [];
  let y = top, start = top;
  order.forEach((i, n) => {
    const r = rows[i], y0 = Math.round(y * 2) / 2, y1 = Math.round((y + tall) * 2) / 2, mid = (y0 + y1) / 2, good = r.found === r.truth;
    for (let b = 0; b < c; b++) {
      const shade = Math.max(-SHADES, Math.min(SHADES, Math.round((h[i * c + b] / scale) * SHADES)));
      if (shade === 0) continue;
      const x0 = X[b + Math.floor(b / v)], x1 = X[b + Math.floor(b / v) + 1];
      shades[shade + SHADES] += `M${x0} ${y0}H${x1}V${y1}H${x0}z`;
    }
    range(s).forEach((place) => { // a place at which the tuple was never seen
      const cells = h.subarray(i * c + (place * c) / s, i * c + ((place + 1) * c) / s);
      if (!cells.some(Boolean)) unseen.push(`M${from(place)} ${mid}H${to(place)}`);
    });
    const colour = `var(--sy-${r.found})`, pad = tall > 6 ? 0.75 : 0.25, high = y1 - y0 - 2 * pad;
    const parents = r.parents.map((count, a) => [count, a]).filter(([count]) => count).sort((p, q) => q[0] - p[0])
      .map(([count, a]) => nameOf(k, a) + (count < r.count ? ` (${count})` : ""));
    const word = r.tuple.map((a) => nameOf(k - 1, a)), found = nameOf(k, r.found);
    if (roomy && named) marks.push(label(15, mid + 3.5, word.join(""), "sy-tiny sy-mono sy-quiet"));
    marks.push(good ? rect(end + 5, y0 + pad, 14, high, `rx="2" style="fill:${colour}"`)
      : rect(end + 5.6, y0 + pad + 0.6, 12.8, Math.max(0.6, high - 1.2), `rx="2" style="fill:none;stroke:${colour};stroke-width:1.2"`) +
        cross(end + 26, mid, Math.min(3, Math.max(1, tall / 2 - 1))));
    if (named) marks.push(label(end + 12, mid + 3.2, found, good ? "sy-tiny sy-on" : "sy-tiny", "middle"));
    marks.push(`<g><title>${word.join(" ")}: seen ${r.count} times, true symbol ${parents.join(", ")}, found ${found}</title>` +
      `${rect(0, y0, width, y1 - y0, 'class="sy-row"')}</g>`);
    y += tall;
    if (n + 1 === order.length || rows[order[n + 1]].truth !== r.truth) {
      bands.push(rect(11, start, 2.5, y - start, `rx="1" style="fill:var(--sy-${r.truth})"`),
        `<text x="0" y="${f1((start + y) / 2 + 4)}" class="sy-head" style="fill:var(--sy-${r.truth})">${nameOf(k, r.truth)}</text>`);
      start = y += gap;
    }
  });
  const shade = (i) => `class="${i < 0 ? "sy-minus" : "sy-plus"}" fill-opacity="${f2(Math.abs(i) / SHADES)}"`;
  const heat = shades.map((d, i) => (d ? `<path ${shade(i - SHADES)} d="${d}"/>` : ""));
  const side = s === 2 ? (roomy ? ["right sibling", "left sibling"] : ["right", "left"]) : range(s).map((i) => `place ${i + 1}`);
  const places = side.map((words, i) => label((from(i) + to(i)) / 2, top - 6, words, "sy-small sy-quiet", "middle"));
  const foot = top + full + 11, one = roomy ? 5 : 3, mid = Math.round((left + end) / 2), shown = scale.toFixed(scale < 0.095 ? 3 : 2);
  const bar = range(2 * SHADES).map((i) => i - SHADES).map((i) => rect(mid + i * one, foot, one, 6, shade(i < 0 ? i : i + 1)));
  const good = right(rows), wrong = rows.length - good;
  return svg(width, foot + 10, `Level ${k}: ${rows.length} ${plural(s)} of level ${k - 1} symbols seen, ${good} clustered right, ` +
    `adjusted Rand index ${f2(level.ari)}, distance ratio ${level.ratio === null ? "undefined" : f2(level.ratio)}`, [
    label(0, 12, `Level ${k}`, "sy-head"), label(0, 28, `${rows.length} ${plural(s)} seen`, "sy-quiet sy-small"),
    label(width, 12, `ARI ${f2(level.ari)}`, "", "end"), label(width, 28, wrong ? `${wrong} wrong` : "all right", "sy-quiet sy-small", "end"),
    ...places, '<g shape-rendering="crispEdges">', ...heat, ...bar, "</g>", `<path class="sy-unseen" d="${unseen.join("")}"/>`, ...bands, ...marks,
    label(mid - SHADES * one - 5, foot + 6.5, "−" + shown, "sy-small sy-quiet", "end"),
    label(mid + SHADES * one + 5, foot + 6.5, "+" + shown, "sy-small sy-quiet"),
  ].join(""));
}

const QUANTITIES = { // title, title where the page is narrow, ends of the axis
  ari: ["Clusters: adjusted Rand index (ARI)", "adjusted Rand index", -0.15, 1.06],
  ratio: ["Signal: distance ratio R", "distance ratio R", 0, 1.3],
};

/* One quantity of all levels against P: where the reader has been, where he is, where theory puts the thresholds. */
function paintCurve(g, state, trail, what, width) {
  const [title, short, least, most] = QUANTITIES[what], left = 24, end = width - 6, top = 36, bottom = 150;
  const X = (P) => left + (end - left) * logPlace(P);
  const Y = (q) => bottom - ((bottom - top) * (Math.max(least, Math.min(most, q)) - least)) / (most - least);
  const out = [label(0, 12, width > 240 ? title : short, "sy-head")];
  [0, 0.5, 1].forEach((q) => out.push(`<path class="sy-axis sy-faint" d="M${left} ${f1(Y(q))}H${f1(end)}"/>`,
    label(left - 5, Y(q) + 4, q === 0.5 ? "½" : q, "sy-small sy-quiet", "end")));
  out.push(`<path class="sy-axis" d="M${left} ${bottom}H${f1(end)}"/>`);
  [10, 100, 1000, 10000].forEach((P) => out.push(`<path class="sy-axis" d="M${f1(X(P))} ${bottom}v4"/>`,
    label(X(P), bottom + 15, P === 10000 ? "10⁴" : P === 1000 ? "10³" : P, "sy-small sy-quiet", "middle")));
  out.push(`<path class="sy-axis" d="M${f1(X(state.P))} ${top}V${bottom}" style="stroke-width:5"/>`);
  const stars = visible(g, state.latent), anchor = anchors(stars.map(([, P]) => X(P)), 22);
  stars.forEach(([k, P], i) => {
    const colour = state.latent ? "" : `style="color:var(--sy-level-${k + 1})"`, shift = { start: -3, middle: 0, end: 3 }[anchor[i]];
    const name = `<tspan font-style="italic">P</tspan>*${state.latent ? "" : SUBSCRIPTS[k + 2]}`;
    out.push(`<g ${colour}><path class="sy-dash" d="M${f1(X(P))} ${top - 4}V${bottom}"/>` +
      `${anchor[i] ? label(X(P) + shift, top - 9, name, "sy-small", anchor[i]) : ""}</g>`);
  });
  trail.forEach((p) => p.levels.forEach((q, k) => {
    if (q[what] === null) return;
    const same = p.latent === state.latent, colour = `var(--sy-level-${k + 1})`;
    const paint = same ? `fill:${colour};fill-opacity:.5` : `fill:none;stroke:${colour};stroke-opacity:.45`;
    out.push(MARKS[k](X(p.P), Y(q[what]), same ? 2.3 : 2, `style="${paint}"`));
  }));
  const now = trail[trail.length - 1];
  now.levels.forEach((q, k) => q[what] !== null && out.push(
    MARKS[k](X(now.P), Y(q[what]), 4.8, `style="fill:var(--sy-level-${k + 1});stroke:var(--sy-ground);stroke-width:1.5"`)));
  const values = now.levels.map((q, k) => `level ${k + 1} ${q[what] === null ? "undefined" : f2(q[what])}`);
  return svg(width, bottom + 20, `${title} at P = ${now.P}: ${values.join(", ")}`, out.join(""));
}

/* A few generated strings with the tree over them, and the part of right nodes per level. */
function paintTrees(g, now, width) {
  const { s, L } = g, d = s ** L, wide = width >= WIDE, room = wide ? width - 196 : width, out = [];
  const each = Math.max(1, Math.min(3, Math.floor(room / (d * 16)))), pitch = Math.min(24, room / (each * (d + 0.8)));
  const span = room / each, row = 38, top = 40, r = Math.max(4, Math.min(9, 0.42 * pitch * s));
  const Y = (l) => top + (L - l) * row, X = (t, l, i) => t * span + (wide ? 0 : (span - pitch * d) / 2) + (i + 0.5) * pitch * s ** l;
  out.push(label(0, 12, "Strings written by the rules found", "sy-head"));
  for (let t = 0; t < each; t++) {
    for (let l = L; l >= 0; l--) {
      const n = s ** (L - l);
      for (let i = 0; i < n; i++) {
        const at = t * n + i, x = X(t, l, i), y = Y(l), good = now.parsed.ok[l][at];
        if (l === 0) {
          out.push(label(x, y + 4, nameOf(0, now.made[0][at]), pitch > 11 ? "sy-mono" : "sy-mono sy-small", "middle"));
          continue;
        }
        for (let j = 0; j < s; j++) { // edges end where the nodes begin
          const dx = X(t, l - 1, i * s + j) - x, far = Math.hypot(dx, row), a = (r + 1) / far, b = 1 - (l > 1 ? r + 1 : 9) / far;
          out.push(`<line class="${good ? "sy-edge-right" : "sy-edge"}" x1="${f1(x + a * dx)}" y1="${f1(y + a * row)}" ` +
            `x2="${f1(x + b * dx)}" y2="${f1(y + b * row)}"/>`);
        }
        const name = good ? nameOf(l, now.parsed.symbols[l][at]) : l < L ? nameOf(l, now.made[l][at]) : "";
        out.push(`<g><title>level ${l}: ${good ? `right, ${name}` : "wrong: not all of it follows the rules"}</title>` +
          circle(x, y, good ? r : r - 0.5, `class="${good ? "sy-right" : "sy-ring"}"`) +
          `${r > 6.5 ? label(x, y + 3.7, name, good ? "sy-small sy-on" : "sy-small", "middle") : ""}</g>`);
      }
    }
  }
  const side = wide ? room + 24 : 0, x0 = side + 46, len = width - x0 - 36, head = wide ? 12 : Y(0) + 34;
  const line = (l) => (wide ? Y(l) : head + 4 + (L - l + 1) * 19), last = wide ? Y(0) + 4 : line(0) + 8;
  out.push(label(side, head, `Right nodes${wide ? "," : " in"} ${MADE} strings`, "sy-head"));
  for (let l = L; l > 0; l--) {
    const y = line(l), a = now.accuracy[l];
    out.push(label(x0 - 8, y + 4, `<tspan font-style="italic">A</tspan>${SUBSCRIPTS[l]}`, "", "end"), label(width, y + 4, f2(a), "", "end"),
      rect(x0, y - 5, len, 10, 'fill="currentColor" fill-opacity=".08"'), rect(x0, y - 5, len * a, 10, 'class="sy-right"'));
  }
  out.push(label(side, last, `grammatical and new: ${f2(now.fresh)}`, "sy-quiet"));
  return { body: out.join(""), height: last + 7 };
}

function sentence(g, state, now) {
  const parts = now.levels.slice(1).map(({ rows }, k) => `${right(rows)} of ${rows.length}${k ? "" : " " + plural(g.s)} at level ${k + 1}`);
  const last = parts.pop(), list = parts.length ? `${parts.join(", ")} and ${last}` : last;
  return `From ${strings(state.P)} strings: ${list} clustered right; ` +
    `the rules found write ${Math.round(100 * now.accuracy[g.L])}\u202f% grammatical strings.`;
}

/* What the marks mean. */
function explained(g, latent, both, unseen) {
  const star = latent ? "<i>P</i>* = <i>vm</i>³/(1−<i>f</i>)" : "<i>P</i>*<sub>ℓ</sub> = <i>vm</i><sup>ℓ+1</sup>/(1−<i>f</i>)";
  return legend([...range(g.L - 1).map((k) => [MARKS[k](7, 7, 4.8, `style="fill:var(--sy-level-${k + 1})"`), `level ${k + 1}`]),
    [rect(0, 2, 14, 10, 'rx="2" class="sy-right"'), "found right"],
    [rect(0.7, 2.7, 7.6, 8.6, 'rx="2" class="sy-ring"') + cross(12, 7, 2), "found wrong"],
    visible(g, latent).length && ['<path class="sy-dash" d="M7 0v14"/>', star],
    both && [circle(7, 7, 4, 'fill="none" stroke="currentColor"'), "with the other context"],
    unseen && ['<path class="sy-unseen" d="M0 7h14"/>', "not seen at this place"]], 14);
}

function mount(el, g, find, all) {
  const state = { seed: g.seed, P: g.samples, latent: false }, slider = find("input"), slide = find(".sy-slide");
  const maps = find(".sy-maps"), curves = find(".sy-curves"), trees = find(".sy-trees"), width = fit(el, maps, show);
  const toP = (i) => Math.round(LOW * (HIGH / LOW) ** (i / STEPS));
  let trail = [], timer = 0, now = null;
  slider.value = STEPS * logPlace(state.P);

  function compute() {
    now = look(g, state);
    trail.push({ P: state.P, latent: state.latent, levels: now.levels.slice(1).map(({ ari, ratio }) => ({ ari, ratio })) });
    trail = trail.slice(-600);
  }
  function show() {
    const W = width(), gap = W >= WIDE ? 26 : 14, columns = g.L === 4 && W >= WIDE ? 3 : Math.min(g.L - 1, 2);
    const part = (n) => Math.floor((W - (n - 1) * gap) / n);
    [[maps, columns], [curves, 2]].forEach(([grid, n]) => {
      grid.style.cssText = `grid-template-columns: repeat(${n}, ${part(n)}px); gap: .9rem ${gap}px`;
    });
    maps.innerHTML = now.levels.slice(1).map((level, k) => {
      const alone = columns === 2 && k === g.L - 2 && k % 2 === 0; // an odd one out takes the whole row
      return paintMap(g, level, k + 1, alone ? W : part(columns)).replace("<svg", alone ? '<svg style="grid-column: span 2"' : "<svg");
    }).join("");
    curves.innerHTML = Object.keys(QUANTITIES).map((what) => paintCurve(g, state, trail, what, part(2))).join("");
    const { body, height } = paintTrees(g, now, W);
    place(trees, W, height, body, `Generated strings. Part of right nodes: ${range(g.L).map((l) => `level ${l + 1} ${f2(now.accuracy[l + 1])}`).join(", ")}`);
    find("output").textContent = strings(state.P);
    slider.setAttribute("aria-valuetext", `${state.P} strings`);
    all("[data-context]").forEach((b) => b.setAttribute("aria-pressed", (b.dataset.context === "latent") === state.latent));
    find("[data-do=clear]").hidden = trail.length < 2;
    find("[data-do=sweep]").innerHTML = timer ? "stop" : "sweep <i>P</i>";
    all(".sy-star").forEach((star) => star.remove());
    const stars = visible(g, state.latent), at = stars.map(([, P]) => logPlace(P));
    anchors(at.map((x) => x * (slide.clientWidth - 16)), 20).forEach((anchor, i) => {
      const colour = state.latent ? "" : `; color: var(--sy-level-${stars[i][0] + 1})`;
      const name = anchor ? `<span><i>P</i>*${state.latent ? "" : SUBSCRIPTS[stars[i][0] + 2]}</span>` : "";
      slide.insertAdjacentHTML("beforeend", `<span class="sy-star sy-${anchor}" aria-hidden="true" ` +
        `style="left: calc(8px + (100% - 16px) * ${at[i].toFixed(4)})${colour}">${name}</span>`);
    });
    if (!timer) find(".sy-says").textContent = sentence(g, state, now);
    find(".sy-legend").innerHTML = explained(g, state.latent, trail.some((p) => p.latent !== state.latent), find(".sy-maps .sy-unseen[d^=M]"));
  }
  const update = () => { compute(); show(); };
  const still = () => typeof matchMedia === "function" && matchMedia("(prefers-reduced-motion: reduce)").matches;
  const halt = () => { clearTimeout(timer); timer = 0; };
  function sweep(i) {
    state.P = toP(i);
    slider.value = i;
    timer = i < STEPS ? setTimeout(() => sweep(i + 3), 40) : 0;
    update();
  }
  slider.addEventListener("input", () => { halt(); state.P = toP(Number(slider.value)); update(); });
  all("[data-context]").forEach((b) => b.addEventListener("click", () => { halt(); state.latent = b.dataset.context === "latent"; update(); }));
  buttons(all, {
    sample() { halt(); state.seed += 1; update(); },
    clear() { halt(); trail = trail.slice(-1); show(); },
    sweep() {
      if (timer) { halt(); show(); } else if (still()) {
        for (let i = 0; i <= STEPS; i += 3) { state.P = toP(i); compute(); }
        slider.value = STEPS;
        show();
      } else sweep(0);
    },
  });
  update();
}

publish({ kind: "synonyms", css: CSS, html: HTML, mount },
  { mulberry32, sample, climb, ward, assign, adjustedRand, distances, distanceRatio, study, generate, thresholds, look });
