/* The exact denoiser of an image of the Random Hierarchy Model, s = 4, in pixel space (hierlib.rhm.pictures).
 * g = {v, m, s, L, rules, pixels, channels, tiles}: tiles[a] lists the pixels of symbol a's tile, channel by channel, row by
 * row. An image is a list of tiles in the order of leaves. */
const { sum, range, mulberry32, normal, stream, BAR, style, f2, rect, diamond, legend, place, publish } = core;
const { mean, misses, sampleTree, marginals, samplePosterior, infer, rowName, tell, outcome, errors, LIGHT, NIGHT, MARKS, ways, steer } = inference;

/* The image with noise: √ᾱ x0 + √(1−ᾱ) ε; the same noise for every ᾱ. */
function noisy(image, signal, noise) {
  const a = Math.sqrt(signal), b = Math.sqrt(1 - signal);
  return image.map((tile, i) => tile.map((x, k) => a * x + b * noise[i * tile.length + k]));
}

/* Likelihood of each token given its noisy tile: exp(−|y − √ᾱ T|²/2(1−ᾱ)), the largest 1, none below 1e-30. */
function likelihood(g, image, signal) {
  const a = Math.sqrt(signal), norms = g.tiles.map((tile) => sum(tile.map((t) => t * t)));
  return image.map((y) => {
    const score = g.tiles.map((tile, c) => (a * tile.reduce((z, t, k) => z + t * y[k], 0) - (signal / 2) * norms[c]) / (1 - signal));
    const most = Math.max(...score);
    return score.map((x) => Math.max(Math.exp(x - most), 1e-30));
  });
}

/* E[x0 | y] from the posterior of the tokens. */
const posteriorMean = (g, post) => post.map((p) => g.tiles[0].map((_, k) => p.reduce((z, pa, a) => z + pa * g.tiles[a][k], 0)));

/* Row and column, among 2^depth, of node i of a quad-tree whose nodes come block by block. */
const cell = (i, depth) => range(depth).reduce(([row, column], k) => {
  const digit = (i >> (2 * (depth - 1 - k))) & 3;
  return [2 * row + (digit >> 1), 2 * column + (digit & 1)];
}, [0, 0]);

/* An image as red, green, blue, opacity of its pixels, row by row: the range of the tiles is black to white. */
function bitmap(g, image) {
  const { pixels, channels } = g, side = 2 ** g.L * pixels, out = new Uint8ClampedArray(4 * side * side).fill(255);
  const most = Math.max(...g.tiles.map((tile) => Math.max(...tile.map(Math.abs))));
  image.forEach((tile, i) => {
    const [row, column] = cell(i, g.L);
    range(pixels * pixels).forEach((k) => {
      const at = 4 * ((row * pixels + Math.floor(k / pixels)) * side + column * pixels + (k % pixels));
      range(3).forEach((c) => { out[at + c] = 127.5 * (1 + tile[(c % channels) * pixels * pixels + k] / most); });
    });
  });
  return out;
}

/* ------------------------------------------------------------------ the figure */

const CSS = style("hierarchical-image", "hi", BAR, LIGHT, NIGHT, `${MARKS}
& .hi-noise { white-space: nowrap; } & .hi-noise output { min-width: 2.9em; }
& .hi-row { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .8rem; margin-top: .8rem; max-width: 62rem; }
& .hi-box { position: relative; aspect-ratio: 1; outline: 1px solid var(--hi-line); }
& .hi-box.hi-wait { outline-style: dashed; display: grid; place-items: center; text-align: center; }
& canvas { display: block; width: 100%; height: 100%; image-rendering: pixelated; }
& .hi-frames { position: absolute; inset: 0; height: 100%; }
& .hi-row svg * { vector-effect: non-scaling-stroke; }
& .hi-frames rect { fill: none; stroke: #fff; stroke-width: 3.4; } & .hi-frames .hi-ring { stroke: var(--hi-changed); stroke-width: 1.8; }
& .hi-cap { font-size: .82rem; line-height: 1.3; margin-top: .3rem; font-variant-numeric: tabular-nums; }
& .hi-cap span { display: block; min-height: 1.3em; } & .hi-says { margin-top: .6rem; }
@media (max-width: 520px) { & .hi-images { grid-template-columns: repeat(2, minmax(0, 1fr)); } & .hi-maps { gap: .5rem; } & .hi-maps .hi-cap { font-size: .74rem; } }`);

const panel = (view, words) => `<div><div class="hi-box" data-box="${view}"><canvas role="img" data-view="${view}"></canvas></div>
<div class="hi-cap">${words}<span class="hi-quiet" data-note="${view}"></span></div></div>`;
const HTML = `<div class="hi-bar">
<label class="hi-noise"><span>signal <i>ᾱ</i></span><input type="range" min="0" max="0.995" step="0.005" aria-label="signal alpha-bar"><output></output></label>
${ways("image")}
<div class="hi-row hi-images">${panel("clean", "image <i>x</i>₀")}${panel("noisy", "with noise, <i>y</i>")}${panel("mean", "mean E[<i>x</i>₀ | <i>y</i>]")}${panel("sample", "sample of <i>x</i>₀ | <i>y</i>")}</div>
<div class="hi-row hi-maps"></div><div class="hi-says" role="status"></div><div class="hi-legend" aria-hidden="true"></div>`;

/* Everything there is to show for one state of the controls. */
function look(g, state) {
  const truth = sampleTree(g, stream(state.seed, 1)), clean = truth[0].map((a) => g.tiles[a]);
  const y = noisy(clean, state.signal, normal(clean.length * g.tiles[0].length, stream(state.seed, 2)));
  const now = infer(g, truth, likelihood(g, y, state.signal), state.turn && stream(state.seed, 3 + state.draw));
  const guess = posteriorMean(g, now.post[0]), error = mean(guess.map((tile, i) => mean(tile.map((x, k) => (x - clean[i][k]) ** 2))));
  const own = mean(now.likelihood.map((row, i) => row[truth[0][i]] / sum(row))); // belief in a token from its own tile alone
  return { ...now, error, own, views: { clean, noisy: y, mean: guess, sample: now.draw && now.draw[0].map((a) => g.tiles[a]) } };
}

const SIZE = 96; // of a map in its own units
/* One level of the tree as a square map. */
const paint = (g, now, l) => now.truth[l].map((a, i) => {
  const depth = g.L - l, w = SIZE / 2 ** depth, gap = Math.min(1.5, 0.07 * w), [row, column] = cell(i, depth), x = column * w, y = row * w;
  const square = (inset, more) => rect(x + inset, y + inset, w - 2 * inset, w - 2 * inset, more);
  const belief = square(gap, `class="hi-kept hi-rim" fill-opacity="${now.belief[l][i].toFixed(3)}"`);
  const mark = now.kept ? (now.kept[l][i] ? square(gap, 'class="hi-kept"') : diamond(x + w / 2, y + w / 2, w / 2 - gap, 'class="hi-changed"'))
    : belief + (misses(now.post[l][i], a) ? square(gap + Math.min(3, 0.12 * w), 'class="hi-ring"') : "");
  return `<g><title>${tell(g, now, l, i, "tile")}</title>${mark}</g>`;
}).join("");

/* Frames around the tiles that a posterior sample changed. */
const frames = (g, now) => now.kept[0].map((stay, i) => {
  const [row, column] = cell(i, g.L);
  return stay ? "" : rect(column, row, 1, 1, "") + rect(column, row, 1, 1, 'class="hi-ring"');
}).join("");

function sentence(g, now) {
  if (now.kept) return outcome(g, now, "tiles");
  return `Belief in the true class ${f2(mean(now.belief[g.L]))}, in the tiles ${f2(mean(now.belief[0]))}` +
    ` (${f2(now.own)} from each one’s own pixels alone)${errors(now)}`;
}

function mount(el, g, find, all) {
  const state = { seed: g.seed, signal: g.alpha_bar, turn: false, draw: 0 }, slider = find("input"), side = 2 ** g.L * g.pixels, n = g.s ** g.L;
  const levels = range(g.L + 1).reverse();
  slider.value = Math.sqrt(g.alpha_bar); // its places are amplitudes: most happens where the signal is weak
  all("canvas").forEach((canvas) => { canvas.width = canvas.height = side; });
  find("[data-box=sample]").insertAdjacentHTML("beforeend", '<svg class="hi-frames" aria-hidden="true"></svg><span class="hi-cap hi-quiet">U-turn<br>draws one</span>');
  find(".hi-maps").innerHTML = levels.map((l) => `<div><svg class="hi-map" role="img"></svg>
<div class="hi-cap">${rowName(g, l, "tiles")}<span class="hi-quiet"></span></div></div>`).join("");
  function show() {
    const now = look(g, state), changed = now.kept && `${n - sum(now.kept[0])} of ${n} tiles changed`;
    const notes = { clean: `${n} tiles`, noisy: `signal to noise ${f2(state.signal / (1 - state.signal))}`, mean: `squared error ${f2(now.error)}`, sample: changed || "" };
    find("output").textContent = state.signal.toFixed(3);
    slider.setAttribute("aria-valuetext", `signal ${state.signal.toFixed(3)}`);
    all("canvas").forEach((canvas) => {
      const { view } = canvas.dataset, image = now.views[view];
      find(`[data-note=${view}]`).textContent = notes[view];
      canvas.hidden = !image;
      if (!image) return;
      canvas.setAttribute("aria-label", `${canvas.parentElement.nextElementSibling.firstChild.textContent}: ${notes[view]}`);
      canvas.getContext("2d").putImageData(new ImageData(bitmap(g, image), side, side), 0, 0);
    });
    find("[data-box=sample]").classList.toggle("hi-wait", !now.draw);
    find("[data-box=sample] span").hidden = Boolean(now.draw);
    place(find(".hi-frames"), 2 ** g.L, 2 ** g.L, now.kept ? frames(g, now) : "");
    all(".hi-map").forEach((map, k) => {
      const l = levels[k], belief = f2(mean(now.belief[l])), words = now.kept ? `${f2(mean(now.kept[l]))} kept` : `belief ${belief}`;
      place(map, SIZE, SIZE, paint(g, now, l), `${rowName(g, l, "tiles")}: ${words}`);
      map.nextElementSibling.lastChild.textContent = now.kept ? `${words}, ${belief} expected` : words;
    });
    find(".hi-says").textContent = sentence(g, now);
    find(".hi-legend").innerHTML = legend(now.kept
      ? [[rect(2, 2, 10, 10, 'class="hi-kept"'), "kept"], [diamond(7, 7, 6, 'class="hi-changed"'), "changed"], [rect(2, 2, 10, 10, 'class="hi-ring"'), "tile that changed"]]
      : [[rect(2, 2, 10, 10, 'class="hi-kept hi-rim" fill-opacity=".5"'), "belief in the true symbol (full: certain)"],
        [rect(2, 2, 10, 10, 'class="hi-ring"'), "best guess is wrong"]], 14);
  }
  slider.addEventListener("input", () => { state.signal = Number(slider.value) ** 2; show(); });
  steer(find, all, state, show);
  show();
}

publish({ kind: "hierarchical-image", css: CSS, html: HTML, mount },
  { mulberry32, normal, noisy, likelihood, posteriorMean, bitmap, look, sampleTree, marginals, samplePosterior });
