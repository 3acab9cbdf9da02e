/* Bumps on a canvas, the graph of their overlaps, its clusters, and the figure that shows them.
 * p = {size, sigma, theta, torus}: labels (x, y) in [0, N)², N = size pixels, x the column, y the row; overlap of two bumps
 * exp(−Δ²/4σ²), linked where it exceeds θ. */
const { range, stream, DIALS, style, f1, f2, label, dot, line, path, it, legend, place, columns, fit, publish, dial, turn, buttons, spot, drag, keys } = core;
const frame = core.frame("dr");

/* ------------------------------------------------------------------ lengths, thresholds, laws */

const ETA_C = 1.12808737; // critical filling of overlapping discs in the plane
const NEAR = 1.4, HALF = 1.678347; // rival law: two bumps within NEAR σ; 1 − e⁻ᵐ (1 + m) = ½ at m = HALF
const reach = ({ sigma, theta }) => 2 * sigma * Math.sqrt(-Math.log(theta)); // r
const perEta = (p) => (4 * p.size ** 2) / (Math.PI * reach(p) ** 2); // bumps per unit of η = M π(r/2)²/N²
const critical = (p) => ETA_C * perEta(p);
const perNear = (p) => p.size ** 2 / (Math.PI * (NEAR * p.sigma) ** 2); // bumps per unit of m
const law = (p, M) => { const m = M / perNear(p); return 1 - Math.exp(-m) * (1 + m); };

/* Cosine of two N × N images of bumps at distance Δ along a row, centred in it. */
const profile = (sigma, x) => Math.exp((-x * x) / (2 * sigma * sigma));
function cosine(p, distance) {
  const middle = (p.size - 1) / 2, of = (at) => range(p.size).map((i) => profile(p.sigma, i - at));
  const a = of(middle - distance / 2), b = of(middle + distance / 2), dot = (u, v) => u.reduce((s, x, i) => s + x * v[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/* ------------------------------------------------------------------ clusters */

/* The graph of bumps that are added one by one: union–find with the displacement to the parent, on a list of cells.
 * The first LINKS links [i, j, Δx, Δy] are kept where there is a list for them. */
const LINKS = 9000;
function graph(p, links = null) {
  const { size: N, torus } = p, r = reach(p), fit = Math.floor(N / r), cells = fit < 3 ? 1 : fit;
  const lists = range(cells * cells).map(() => []), x = [], y = [], parent = [], mass = [], dx = [], dy = [];
  const sides = []; // of the box that discs of a cluster touch: left 1, right 2, top 4, bottom 8
  const wound = [false, false]; // whether a cluster winds around the torus, or joins opposite sides of the box
  const g = { x, y, wound, links: 0, largest: 0, clusters: 0 };
  const nearest = (d) => (torus ? d - N * Math.round(d / N) : d);
  const cell = (v) => Math.min(cells - 1, Math.floor((v / N) * cells));

  g.find = (i) => { // the root; afterwards dx[i], dy[i] lead from it to i
    let root = i, u = 0, v = 0;
    while (parent[root] !== root) { u += dx[root]; v += dy[root]; root = parent[root]; }
    while (parent[i] !== root) {
      const next = parent[i], du = dx[i], dv = dy[i];
      [parent[i], dx[i], dy[i]] = [root, u, v];
      u -= du; v -= dv; i = next;
    }
    return root;
  };
  function join(i, j, du, dv) { // j lies at (du, dv) from i
    let a = g.find(i), b = g.find(j), u = dx[i] + du - dx[j], v = dy[i] + dv - dy[j]; // from a to b
    if (a === b) { // a closed way that leads elsewhere winds around
      if (Math.abs(u) > N / 2) wound[0] = true;
      if (Math.abs(v) > N / 2) wound[1] = true;
      return;
    }
    if (mass[a] < mass[b]) [a, b, u, v] = [b, a, -u, -v];
    [parent[b], dx[b], dy[b]] = [a, u, v];
    mass[a] += mass[b];
    sides[a] |= sides[b];
    g.clusters--;
    settle(a);
  }
  function settle(a) {
    g.largest = Math.max(g.largest, mass[a]);
    if ((sides[a] & 3) === 3) wound[0] = true;
    if ((sides[a] & 12) === 12) wound[1] = true;
  }
  const touched = (v) => (torus ? 0 : (v < r / 2 ? 1 : 0) | (v > N - r / 2 ? 2 : 0));
  g.mass = (i) => mass[g.find(i)];
  g.add = (px, py) => {
    const i = x.length, cx = cell(px), cy = cell(py), steps = cells > 1 ? [-1, 0, 1] : [0];
    x.push(px); y.push(py); parent.push(i); mass.push(1); dx.push(0); dy.push(0);
    sides.push(touched(px) | (touched(py) << 2));
    g.clusters++;
    settle(i);
    for (const sx of steps) {
      for (const sy of steps) {
        let u = cx + sx, v = cy + sy;
        if (torus) { u = (u + cells) % cells; v = (v + cells) % cells; }
        if (u < 0 || v < 0 || u >= cells || v >= cells) continue;
        for (const j of lists[v * cells + u]) {
          const du = nearest(x[j] - px), dv = nearest(y[j] - py);
          if (du * du + dv * dv >= r * r) continue;
          g.links++;
          if (links && links.length < LINKS) links.push([i, j, du, dv]);
          join(i, j, du, dv);
        }
      }
    }
    lists[cy * cells + cx].push(i);
  };
  return g;
}

/* Share of labels, at the centres of FINE × FINE cells, with at least two bumps within NEAR σ. */
const FINE = 64;
function coverage(p, points) {
  const counts = new Uint8Array(FINE * FINE), step = p.size / FINE, R = NEAR * p.sigma, ends = (v) => [Math.ceil((v - R) / step - 0.5), Math.floor((v + R) / step - 0.5)];
  const wrap = (k) => (p.torus ? (k + FINE) % FINE : k);
  points.forEach(([px, py]) => {
    const [left, right] = ends(px), [top, bottom] = ends(py);
    for (let j = top; j <= bottom; j++) {
      for (let i = left; i <= right; i++) {
        const u = wrap(i), v = wrap(j), dx = (i + 0.5) * step - px, dy = (j + 0.5) * step - py;
        if (u < 0 || v < 0 || u >= FINE || v >= FINE || dx * dx + dy * dy > R * R) continue;
        if (counts[v * FINE + u] < 2) counts[v * FINE + u]++;
      }
    }
  });
  return counts.reduce((n, c) => n + (c > 1), 0) / counts.length;
}

/* Everything there is to show about some bumps. */
function look(p, points) {
  const links = [], g = graph(p, links), M = points.length, seen = new Map();
  points.forEach(([x, y]) => g.add(x, y));
  const cluster = points.map((_, i) => { // clusters count in the order of their first bumps
    const root = g.find(i);
    if (!seen.has(root)) seen.set(root, seen.size);
    return seen.get(root);
  });
  const biggest = M ? cluster[points.findIndex((_, i) => g.mass(i) === g.largest)] : -1;
  return { M, r: reach(p), critical: critical(p), half: HALF * perNear(p), eta: M / perEta(p), degree: M ? (2 * g.links) / M : 0,
    share: M ? g.largest / M : 0, largest: g.largest, clusters: g.clusters, wound: g.wound, coverage: coverage(p, points),
    links: g.links > LINKS ? [] : links, alone: points.map((_, i) => g.mass(i) === 1), cluster, biggest };
}

/* n random places. */
function scatter(p, n, rng) {
  return range(n).map(() => { const x = rng() * p.size; return [x, rng() * p.size]; });
}
/* Share of the largest cluster at the values ETAS of η, in one random draw. */
const END = 2.5, ETAS = range(101).map((i) => (END * i) / 100), DRAWS = 48;
const amount = (p, eta) => Math.max(1, Math.round(eta * perEta(p)));
function growth(p, rng) {
  const g = graph(p);
  return ETAS.map((eta) => {
    for (const to = amount(p, eta); g.x.length < to;) { const x = rng() * p.size; g.add(x, rng() * p.size); }
    return g.largest / g.x.length;
  });
}
/* Mean and standard deviation of the growth over draws, which are added one by one. */
function average(p, seed) {
  const total = ETAS.map(() => 0), square = ETAS.map(() => 0), of = { draws: 0 };
  of.more = () => {
    growth(p, stream(seed, of.draws++)).forEach((s, i) => { total[i] += s; square[i] += s * s; });
  };
  of.mean = () => total.map((s) => s / of.draws);
  of.spread = () => total.map((s, i) => Math.sqrt(Math.max(0, square[i] / of.draws - (s / of.draws) ** 2)));
  return of;
}

/* ------------------------------------------------------------------ the figure */

const MOST = 3000, LAYERS = 12; // bumps; how deep they lie on each other where dots replace them
const HUES = 5; // of clusters that are not the largest

const CSS = style("bump-drops", "dr", DIALS, `--dr-big: #b5430b; --dr-near: #00745f; --dr-you: #a8255c; --dr-edge: #7b3fb5; --dr-pair: #1565a9;
  --dr-0: #4c8fcb; --dr-1: #6fae5a; --dr-2: #a58bd0; --dr-3: #4fb3ad; --dr-4: #b8a13c; --dr-accent: var(--dr-pair);`,
"--dr-big: #ff9a57; --dr-near: #3cc9ae; --dr-you: #ff8fb8; --dr-edge: #c39bf5; --dr-pair: #63b7f5; color-scheme: dark;", `
& .dr-keys { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .5rem; margin-top: .4rem; }
& .dr-keys label { flex: none; margin-left: .4rem; } & output { flex: 0 0 3rem; }
& svg svg { overflow: hidden; } & .dr-plot { cursor: ew-resize; }
& .dr-frame { stroke: currentColor; stroke-opacity: .6; fill: none; } & .dr-glued { stroke-dasharray: 5 4; }
& .dr-disc { fill-opacity: .5; } & .dr-disc.dr-biggest { fill: var(--dr-big); fill-opacity: .6; }
& .dr-link { fill: none; stroke-width: 1; stroke-opacity: .75; vector-effect: non-scaling-stroke; }
& .dr-link.dr-biggest { stroke: var(--dr-big); stroke-width: 1.6; stroke-opacity: 1; }
& .dr-disc.dr-alone { fill: currentColor; fill-opacity: .12; }
${range(HUES).map((k) => `& .dr-disc.dr-hue${k} { fill: var(--dr-${k}); } & .dr-link.dr-hue${k} { stroke: var(--dr-${k}); }`).join("\n")}
& stop { stop-color: currentColor; } & .dr-cross { stroke: var(--dr-you); stroke-width: 2; fill: none; vector-effect: non-scaling-stroke; }
& .dr-mean { stroke: var(--dr-big); stroke-width: 2; fill: none; stroke-linejoin: round; }
& .dr-band { fill: var(--dr-big); fill-opacity: .18; } & svg .dr-big { fill: var(--dr-big); }
& .dr-law { stroke: var(--dr-near); stroke-width: 1.6; stroke-dasharray: 5 3; fill: none; }
& .dr-at { stroke: var(--dr-edge); stroke-width: 1.5; } & svg .dr-edge { fill: var(--dr-edge); }
& .dr-cursor { stroke: var(--dr-you); stroke-width: 1.2; } & .dr-you { fill: var(--dr-you); stroke: var(--dr-ground); stroke-width: 1.5; }
& .dr-ring { fill: var(--dr-ground); stroke: var(--dr-near); stroke-width: 2.2; }
& .dr-pixel { fill: currentColor; } & .dr-one { fill: var(--dr-pair); fill-opacity: .3; } & .dr-both { stroke: currentColor; stroke-width: 1.8; fill: none; }
& .dr-facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: .35rem 1rem; margin: .5rem 0 0 !important; }
& .dr-facts div { border-top: 1px solid var(--dr-line); padding-top: .15rem; }
& .dr-facts dt { font-weight: 400; font-size: .8rem; opacity: .8; margin: 0; } & .dr-facts dd { margin: 0 !important; font-variant-numeric: tabular-nums; }`);

const SLIDERS = [["sigma", "<i>σ</i>", 0.5, 1, 0.01, "width σ of the bumps in pixels"],
  ["theta", "<i>θ</i>", -2.3, -0.3, 0.01, "overlap threshold θ, logarithmic"], ["count", "<i>M</i>", 0, 1, 1, "number M of bumps"]];
const HTML = `<div class="dr-bar">${SLIDERS.map(dial).join("")}</div>
<div class="dr-keys"><button type="button" data-do="10">drop 10</button><button type="button" data-do="100">drop 100</button><button type="button" data-do="new">new draw</button><button
 type="button" data-do="clear">clear</button><label><input type="checkbox">torus (sides glued)</label></div>
<div class="dr-grid"><svg class="dr-canvas" role="group" tabindex="0"></svg><svg class="dr-plot" role="img"></svg></div>
<div class="dr-says" role="status"></div><dl class="dr-facts"></dl>
<div class="dr-grid"><svg class="dr-pair" role="img"></svg><svg class="dr-cut" role="img"></svg></div>`;

const percent = (x) => `${(100 * x).toFixed(0)}\u00a0%`, whole = (x) => (x >= 10 ? x.toFixed(0) : x.toPrecision(2)), two = (x) => x.toPrecision(2);
const heading = (words) => label(0, 12, words, "dr-head");

const kind = (now, i) => (now.cluster[i] === now.biggest ? "dr-biggest" : now.alone[i] ? "dr-alone" : `dr-hue${now.cluster[i] % HUES}`);
/* The canvas: discs of radius r/2, which overlap where bumps are linked, links, and the bumps themselves. */
function paintCanvas(p, points, now, width, id) {
  const N = p.size, top = 24, discs = {}, links = {}, a = now.r / 2, bumps = [];
  const layers = (2 * Math.PI * now.M * p.sigma ** 2) / N ** 2, dots = layers > LAYERS, blur = dots ? N / 200 : 2.5 * p.sigma;
  const add = (to, key, text) => { (to[key] = to[key] || []).push(text); };
  const copies = (x, y, R, draw) => { // with those that reach in across the glued sides
    const shifts = (v) => (p.torus ? [0, ...(v < R ? [N] : []), ...(v > N - R ? [-N] : [])] : [0]);
    shifts(x).forEach((u) => shifts(y).forEach((v) => draw(x + u, y + v)));
  };
  const disc = `a${f2(a)} ${f2(a)} 0 1 0 ${f2(2 * a)} 0a${f2(a)} ${f2(a)} 0 1 0 ${f2(-2 * a)} 0`;
  points.forEach(([x, y], i) => {
    copies(x, y, a, (u, v) => add(discs, kind(now, i), `M${f2(u - a)} ${f2(v)}${disc}`));
    copies(x, y, blur, (u, v) => bumps.push(`<circle cx="${f2(u)}" cy="${f2(v)}" r="${f2(blur)}"/>`));
  });
  now.links.forEach(([i, j, du, dv]) => {
    const from = ([x, y], s) => add(links, kind(now, i), `M${f2(x)} ${f2(y)}l${f2(s * du)} ${f2(s * dv)}`);
    from(points[i], 1);
    if (Math.hypot(points[j][0] - points[i][0] - du, points[j][1] - points[i][1] - dv) > 1e-9) from(points[j], -1); // across a glued side
  });
  const groups = (parts, cls) => Object.keys(parts).sort((u, v) => (u === "dr-biggest") - (v === "dr-biggest"))
    .map((key) => `<path class="${cls} ${key}" d="${parts[key].join("")}"/>`).join("");
  const most = 0.4 / Math.max(1, 1.5 * layers); // fainter where they lie on each other
  const stops = range(11).map((k) => `<stop offset="${10 * k}%" stop-opacity="${profile(1, k / 4).toFixed(3)}"/>`).join("");
  const sizes = `${now.M} bump${now.M === 1 ? "" : "s"} on ${N} × ${N} pixels`;
  return { height: top + width, body: heading(sizes) + label(width, 12, `${p.torus ? "torus" : "box"}: click to drop one`, "dr-small", "end") +
    `<defs><radialGradient id="${id}">${stops}</radialGradient></defs><svg x="0" y="${top}" width="${width}" height="${width}" viewBox="0 0 ${N} ${N}">` +
    `<rect width="${N}" height="${N}" fill-opacity="0"/>${groups(discs, "dr-disc")}${groups(links, "dr-link")}` +
      `<g ${dots ? 'fill="currentColor"' : `fill="url(#${id})" fill-opacity="${most.toFixed(3)}"`}>${bumps.join("")}</g><g class="dr-aim"></g></svg>` +
    `<rect class="dr-frame ${p.torus ? "dr-glued" : ""}" x=".5" y="${top + 0.5}" width="${width - 1}" height="${width - 1}"/>` };
}

/* Share of the largest cluster against η, the threshold, and the coverage beside it. */
function paintPlot(p, now, width, height) {
  const left = 30, top = 24, w = width - left - 10, h = height - top - 46, { X, Y, drawn } = frame(left, top, w, h, [0, END], [0, 1], [0, 0.5, 1, 1.5, 2, 2.5], [0, 0.5, 1]);
  const far = X(END), at = X(Math.min(END, now.eta)), c = X(ETA_C), halfway = now.half / perEta(p), aside = halfway > ETA_C && halfway < ETA_C + 0.7;
  const M = [0.5, 1, 1.5, 2, 2.5].map((eta) => label(X(eta), top + h + 28, (eta * perEta(p)).toFixed(0), "dr-small dr-quiet", "middle")).join("");
  const rival = range(101).map((i) => (END * i) / 100).map((eta) => [X(eta), Y(law(p, eta * perEta(p)))]);
  const mark = halfway <= END ? `<path class="dr-law" d="M${f1(X(halfway))} ${f1(Y(0.5))}V${f1(Y(0))}"/>` : "";
  const body = heading("Share of the largest cluster") + drawn + M + label(0, top + h + 14, it("η"), "dr-small") + label(0, top + h + 28, it("M"), "dr-small") +
    `<path class="dr-at" d="M${f1(c)} ${top}v${f1(h)}"/>` + label(c + (aside ? -4 : 4), Y(0.03),
      `${it("M")}<tspan dy="2" font-size="9">c</tspan><tspan dy="-2"> = ${whole(now.critical)}</tspan>`, "dr-edge dr-small", aside ? "end" : "start") +
    label(left + w / 2, top + h + 44, `filling ${it("η")} = ${it("M")}π(${it("r")}/2)²/${it("N")}², number ${it("M")}`, "dr-small", "middle") +
    path(rival, "dr-law") + mark + '<g class="dr-curve"></g>' + `<path class="dr-cursor" d="M${f1(at)} ${top}v${f1(h)}"/>` +
    (now.M ? dot([at, Y(now.coverage)], 4.5, "dr-ring") + dot([at, Y(now.share)], 5.5, "dr-you") : "") +
      (now.eta > END ? label(far - 9, top + 14, `η = ${f2(now.eta)} →`, "dr-small", "end") : "");
  const curve = (of) => {
    const mean = of.mean(), spread = of.spread(), side = (s) => ETAS.map((eta, i) => [X(eta), Y(Math.max(0, Math.min(1, mean[i] + s * spread[i])))]);
    return `<path class="dr-band" d="${line([...side(1), ...side(-1).reverse()])}z"/>` + path(side(0), "dr-mean") + label(width - 10, 12, `mean of ${of.draws} draws`, "dr-big dr-small", "end");
  };
  return { body, curve, amount: (x) => Math.round(Math.max(0, Math.min(END, ((x - left) / w) * END)) * perEta(p)) };
}

/* Two bumps whose overlap is θ: pixels of both images and of their sum. */
function paintPair(p, now, width) {
  const n = Math.min(p.size, 2 * Math.ceil((now.r + 6 * p.sigma) / 2) + 1), gap = 10, side = (width - 2 * gap) / 3, unit = side / n, middle = (n - 1) / 2;
  const one = (s) => (i, j) => profile(p.sigma, i - middle - (s * now.r) / 2) * profile(p.sigma, j - middle), first = one(-1), second = one(1);
  const images = [["bump 1", first], ["bump 2", second], ["sum", (i, j) => Math.min(1, first(i, j) + second(i, j))]].map(([words, f], k) => {
    const pixels = range(n * n).map((c) => [c % n, Math.floor(c / n)]).map(([i, j]) => [i, j, f(i, j)]).filter(([, , v]) => v > 0.01);
    const rects = pixels.map(([i, j, v]) => `<rect x="${i}" y="${j}" width="1" height="1" fill-opacity="${v.toFixed(2)}"/>`).join("");
    const x = k * (side + gap);
    return `<svg x="${f1(x)}" y="24" width="${f1(side)}" height="${f1(side)}" viewBox="0 0 ${n} ${n}"><g class="dr-pixel" shape-rendering="crispEdges">${rects}</g></svg>` +
      `<rect class="dr-axis" x="${f1(x)}" y="24" width="${f1(side)}" height="${f1(side)}"/>` + label(x + side / 2, 24 + side + 14, words, "dr-small", "middle");
  }).join("");
  const text = label(0, 24 + side + 34, `Closer bumps are linked. Cosine on the pixels: ${two(cosine(p, now.r))}.`, "dr-small");
  return { height: 24 + side + 40, body: heading(`Two bumps of overlap ${it("θ")} = ${two(p.theta)}`) + images + text, unit };
}
/* Profiles along the line through both bumps. */
function paintCut(p, now, width, height) {
  const { r } = now, end = r / 2 + 3 * p.sigma, tick = end > 8 ? 5 : end > 3 ? 2 : 1;
  const ticks = range(41).map((i) => (i - 20) * tick).filter((x) => Math.abs(x) <= end).map((x) => [x, String(x).replace("-", "−")]);
  const of = (x) => [profile(p.sigma, x + r / 2), profile(p.sigma, x - r / 2)], peaks = r > 2 * p.sigma ? "two peaks" : "one peak";
  const places = range(161).map((i) => end * (i / 80 - 1)), top = Math.max(1, of(0)[0] * 2);
  const left = 30, w = width - left - 10, h = height - 24 - 34, { X, Y, drawn } = frame(left, 24, w, h, [-end, end], [0, 1.18 * top], ticks, [0, 0.5, 1]);
  const hill = (k) => `<path class="dr-one" d="${line([[X(-end), Y(0)], ...places.map((x) => [X(x), Y(of(x)[k])]), [X(end), Y(0)]])}z"/>`, y = Y(1.08 * top);
  return heading("Profile through both") + label(width - 10, 12, `their sum has ${peaks}`, "dr-small", "end") + drawn + hill(0) + hill(1) +
    path(places.map((x) => [X(x), Y(of(x)[0] + of(x)[1])]), "dr-both") +
    `<path class="dr-cursor" d="M${f1(X(-r / 2))} ${f1(y - 4)}v8M${f1(X(r / 2))} ${f1(y - 4)}v8M${f1(X(-r / 2))} ${f1(y)}H${f1(X(r / 2))}"/>` +
    label(X(r / 2) + 6, y + 4, `${it("r")} = ${f2(r / p.sigma)} ${it("σ")}`, "dr-small") + label(left + w / 2, 24 + h + 29, "pixels", "dr-small", "middle");
}

/* What happens, in words and numbers. */
const winds = ({ wound: [x, y] }) => (x && y ? "both ways" : x ? "left–right" : y ? "top–bottom" : "no");
function says(p, now) {
  const rival = `Half of all labels have two bumps within ${NEAR}\u00a0<i>σ</i> from <i>M</i> ≈ ${whole(now.half)} on`;
  if (!now.M) return `An empty canvas: click to drop a bump. Clusters percolate from <i>M</i><sub>c</sub> ≈ ${whole(now.critical)} on. ${rival}.`;
  const side = Math.abs(now.eta / ETA_C - 1) < 0.1 ? "about as many as" : now.eta < ETA_C ? "fewer than" : "more than";
  const across = p.torus ? "around the torus" : "from side to side of the box", way = winds(now) === "no" ? `none leads ${across}` : `a cluster leads ${across} (${winds(now)})`;
  return `<i>M</i> = ${now.M}, ${side} <i>M</i><sub>c</sub> ≈ ${whole(now.critical)}: the largest cluster holds ${percent(now.share)} of the bumps; ${way}. ` +
    `${rival}; here ${percent(now.coverage)} have.`;
}
const facts = (p, now) => [["link distance <i>r</i>", `${f2(now.r)} px`], ["threshold <i>M</i><sub>c</sub>", whole(now.critical)],
  ["filling <i>η</i> (<i>η</i><sub>c</sub> = 1.128)", f2(now.eta)], ["mean degree (4<i>η</i>)", `${f2(now.degree)} (${f2(4 * now.eta)})`], ["largest cluster", now.M ? `${now.largest} of ${now.M}` : "–"],
  ["clusters", now.clusters], [p.torus ? "around the torus" : "side to side", winds(now)], [`two within ${NEAR} <i>σ</i>`, percent(now.coverage)]];

const LEGEND = `<div class="dr-legend" aria-hidden="true">${legend([
  ['<circle cx="7" cy="7" r="5.5" class="dr-disc dr-biggest"/><circle cx="13" cy="7" r="5" class="dr-disc dr-biggest"/><path class="dr-link dr-biggest" d="M7 7h6"/>',
    "largest cluster; discs of radius <i>r</i>/2"],
  ['<circle cx="6" cy="7" r="5" class="dr-disc dr-hue0"/><circle cx="13" cy="7" r="4.5" class="dr-disc dr-hue1"/>', "other clusters"],
  ['<path class="dr-mean" d="M0 7h18"/>', "largest share, random draws ± sd"], [dot([9, 7], 5, "dr-you"), "largest share, this canvas"],
  ['<path class="dr-at" d="M9 0v14"/>', "threshold, infinite plane"], ['<path class="dr-law" d="M0 7h18"/>', "two within 1.4 <i>σ</i>, law"],
  [dot([9, 7], 4.5, "dr-ring"), "the same, this canvas"],
])}</div>`;

function mount(el, { seed, count, ...p }, find, all) {
  const canvas = find(".dr-canvas"), plot = find(".dr-plot"), torus = find('[type="checkbox"]'), id = `${el.id}-bump`;
  const [sigma, theta, number] = SLIDERS.map(([key]) => find(`[data-key="${key}"]`)), width = fit(el, find(".dr-grid"), show);
  sigma.max = Math.floor((100 * p.size) / 12) / 100;
  let draw = DRAWS, rng, points = [], now = null, drawn = {}, mean = null, working = 0, aim = null;
  let shown = 0; // of the points

  function fresh() { rng = stream(seed, draw++); points = []; }
  function take(n) { // the first n points, and new ones where there are fewer
    shown = Math.max(0, Math.min(MOST, n));
    points = points.concat(scatter(p, shown - points.length, rng));
    show();
  }
  function drop(x, y) {
    if (shown === MOST) return;
    points = [...points.slice(0, shown), [x, y]];
    take(shown + 1);
  }
  function work() { // draws until the frame is due
    const end = performance.now() + 12;
    do mean.more(); while (mean.draws < DRAWS && performance.now() < end);
    find(".dr-curve").innerHTML = drawn.plot.curve(mean);
    working = mean.draws < DRAWS ? requestAnimationFrame(work) : 0;
  }
  function show() {
    const { wide, part, side } = columns(all(".dr-grid"), width(), 0.48, 26), mine = points.slice(0, shown), key = JSON.stringify(p);
    now = look(p, mine);
    const board = paintCanvas(p, mine, now, part, id), tall = wide ? board.height : 300, pair = paintPair(p, now, part), low = wide ? pair.height : 180;
    drawn = { part, plot: paintPlot(p, now, side, tall) };
    place(canvas, part, board.height, board.body, `Canvas with ${now.M} bumps in ${now.clusters} clusters. ` +
      "Arrow keys move a cross, Enter drops a bump there, Backspace takes the last one away");
    place(plot, side, tall, drawn.plot.body, `Share of the largest cluster against η: ${f2(now.share)} at ${f2(now.eta)}; threshold at ${ETA_C.toFixed(3)}`);
    place(find(".dr-pair"), part, pair.height, pair.body, `Pixels of two bumps at distance ${f2(now.r)}, and of their sum`);
    place(find(".dr-cut"), side, low, paintCut(p, now, side, low), "Profiles of the two bumps and of their sum");
    find(".dr-says").innerHTML = says(p, now);
    find(".dr-facts").innerHTML = facts(p, now).map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("");
    number.max = Math.max(shown, Math.min(MOST, amount(p, END)));
    [[sigma, p.sigma, f2(p.sigma)], [theta, Math.log10(p.theta), two(p.theta)], [number, shown, String(shown)]].forEach(([input, x, words]) => turn(input, x, words, words));
    torus.checked = p.torus;
    point();
    if (!mean || mean.key !== key) {
      mean = Object.assign(average(p, seed), { key });
      cancelAnimationFrame(working);
      work();
    } else find(".dr-curve").innerHTML = drawn.plot.curve(mean);
  }
  function point() { // the cross of the keyboard
    find(".dr-aim").innerHTML = aim ? `<path class="dr-cross" d="M${aim[0] - 1} ${aim[1]}h2M${aim[0]} ${aim[1] - 1}v2"/>` : "";
  }
  canvas.addEventListener("click", (e) => {
    const [x, y] = spot(canvas, e).map((v, k) => ((v - 24 * k) * p.size) / drawn.part);
    if (x >= 0 && x < p.size && y >= 0 && y < p.size) drop(x, y);
  });
  keys(canvas, (...by) => {
    if (!by.length) { points = points.slice(0, Math.max(0, shown - 1)); return take(shown - 1); }
    aim = (aim || [p.size / 2, p.size / 2]).map((v, k) => Math.max(0.5, Math.min(p.size - 0.5, v + by[k])));
    if (by.some(Boolean)) point();
    else drop(...aim);
  }, { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Enter: [0, 0], " ": [0, 0], Backspace: [] });
  canvas.addEventListener("blur", () => { aim = null; point(); });
  drag(plot, (x) => take(drawn.plot.amount(x)));
  sigma.addEventListener("input", () => { p.sigma = Number(sigma.value); show(); });
  theta.addEventListener("input", () => { p.theta = Number((10 ** Number(theta.value)).toPrecision(2)); show(); });
  number.addEventListener("input", () => take(Number(number.value)));
  torus.addEventListener("change", () => { p.torus = torus.checked; show(); });
  buttons(all, {
    10: () => take(shown + 10), 100: () => take(shown + 100),
    new() { fresh(); take(shown); },
    clear() { fresh(); take(0); },
  });
  fresh();
  take(count);
}

publish({ kind: "bump-drops", css: CSS, html: HTML + LEGEND, mount },
  { stream, reach, critical, law, cosine, scatter, look, average, says, facts, ETAS, DRAWS });
