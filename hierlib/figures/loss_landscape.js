/* The loss landscape of one neuron that denoises the mixed cumulant model, and the figure that shows it.
 * Conventions of hierlib.cumulants: p = {activation, parameter, alpha_bar, beta_u, beta_v, kappa, latents};
 * a² = ᾱ (alpha_bar), b² = 1 − ᾱ; the denoiser is D(x) = a x + κ w φ(w·x), |w| = 1. */
const { sum, range, DIALS, style, f1, decimal, label, rect, line, path, it, legend, place, columns, fit, publish, dial, turn, drag, keys } = core;

/* ------------------------------------------------------------------ quadrature and special functions */

/* Gauss–Legendre nodes and weights on [−1, 1], by Newton's method. */
function legendre(n) {
  const x = [], w = [];
  for (let i = 0; i < n; i++) {
    let z = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5)), slope = 1;
    for (let step = 0; step < 8; step++) {
      let p = 1, before = 0;
      for (let k = 1; k <= n; k++) [p, before] = [((2 * k - 1) * z * p - (k - 1) * before) / k, p];
      slope = (n * (z * p - before)) / (z * z - 1);
      z -= p / slope;
    }
    x.push(z);
    w.push(2 / ((1 - z * z) * slope * slope));
  }
  return { x, w };
}
const FINE = legendre(12), COARSE = legendre(6); // for numbers; for colours

/* Composite rule between ascending ends, with panels no wider than `width`: the ends are the kinks of the integrand. */
function panels(ends, width, { x, w: mass } = FINE) {
  const s = [], w = [];
  for (let e = 1; e < ends.length; e++) {
    const count = Math.max(1, Math.ceil((ends[e] - ends[e - 1]) / width)), half = (ends[e] - ends[e - 1]) / count / 2;
    for (let k = 0; k < count; k++) {
      x.forEach((z, i) => { s.push(ends[e - 1] + half * (2 * k + 1 + z)); w.push(half * mass[i]); });
    }
  }
  return { s, w };
}

/* erfcx(x) = exp(x²) erfc(x), x >= 0: (1 + 2x) erfcx(x) as a Chebyshev series in t = (x − K)/(x + K). The coefficients
 * come from (1 + 2x) erfcx(x) = 2/√π ∫ exp(−y²/(1 + 2x)² − 2xy/(1 + 2x)) dy over y > 0. */
const K = 3.75, TERMS = 27;
const CHEBYSHEV = (() => {
  const { s, w } = panels([0, 40], 1), angle = range(TERMS).map((j) => (Math.PI * (j + 0.5)) / TERMS);
  const values = angle.map((theta) => {
    const x = (K * (1 + Math.cos(theta))) / (1 - Math.cos(theta)), c = 1 / (1 + 2 * x);
    return (2 / Math.sqrt(Math.PI)) * sum(s.map((y, i) => w[i] * Math.exp(-c * y * (c * y + 2 * x))));
  });
  return Float64Array.from(range(TERMS), (k) => (2 / TERMS) * sum(values.map((f, j) => f * Math.cos(k * angle[j]))));
})();
function erfcx(x) {
  const t = (x - K) / (x + K);
  let b1 = 0, b2 = 0;
  for (let k = TERMS - 1; k > 0; k--) { const b = 2 * t * b1 - b2 + CHEBYSHEV[k]; b2 = b1; b1 = b; }
  return (t * b1 - b2 + CHEBYSHEV[0] / 2) / (1 + 2 * x);
}
/* Φ(x), the normal distribution function. */
function normal(x) {
  const z = Math.abs(x) * Math.SQRT1_2, tail = 0.5 * Math.exp(-z * z) * erfcx(z);
  return x < 0 ? tail : 1 - tail;
}

/* ------------------------------------------------------------------ neuron and data */

const ACTIVATIONS = { // formula; [name, least, most, step, usual] of the parameter c; value and derivative; kinks
  sine: { form: "sin ωs", dial: ["ω", 0.5, 3, 0.05, 1.5], at: (s, c) => [Math.sin(c * s), c * Math.cos(c * s)] },
  tanh: { form: "tanh gs", dial: ["g", 0.5, 3, 0.05, 2], at: (s, c) => { const f = Math.tanh(c * s); return [f, c * (1 - f * f)]; } },
  relu: { form: "max(0, s)", at: (s) => (s > 0 ? [s, 1] : [0, 0]), kinks: () => [0] },
  "biased-relu": { form: "max(0, s − θ)", dial: ["θ", -1.5, 1.5, 0.05, 0.5],
    at: (s, c) => (s > c ? [s - c, 1] : [0, 0]), kinks: (c) => [c] },
  "sine-cosine": { form: "sin ωs + ½ cos ωs", dial: ["ω", 0.5, 3, 0.05, 1.5],
    at: (s, c) => { const f = Math.sin(c * s), g = Math.cos(c * s); return [f + g / 2, c * (g - f / 2)]; } },
};
const usual = (activation) => (ACTIVATIONS[activation].dial ? ACTIVATIONS[activation].dial[4] : 0);
const MEDIAN = 0.6744897501960817; // of |λ|, λ ~ N(0, 1)
const density0 = (s) => Math.exp((-s * s) / 2) / Math.sqrt(2 * Math.PI);
const spike = (p) => p.beta_v / (1 + p.beta_v); // r²

/* Density of s = w·x_t at overlaps (α_u, α_v), in closed form: given the latents (λ, ν), s is normal with mean
 * c_u λ + c_v ν, c_u = a α_u √β_u, c_v = a α_v r, and variance 1 − c_v². */
function law(p, au, av) {
  const a = Math.sqrt(p.alpha_bar), cu = a * au * Math.sqrt(p.beta_u), cv = a * av * Math.sqrt(spike(p));
  const v = 1 - cv * cv, tau2 = v + cu * cu, tau = Math.sqrt(tau2), sigma = Math.sqrt(v), one = 1 / (tau * Math.sqrt(2 * Math.PI));
  const bell = (x) => one * Math.exp((-x * x) / (2 * tau2));
  if (p.latents === "independent") return (s) => (bell(s - cv) + bell(s + cv)) / 2;
  if (p.latents === "sign") { // the probability that λ has the sign of ν, given s
    const c = cu / (sigma * tau);
    const part = (x, g) => (g > 1e-18 ? g * normal(x) : 0);
    return (s) => part(c * (s - cv), bell(s - cv)) + part(-c * (s + cv), bell(s + cv));
  }
  if (p.latents === "abs") { // the probability that |λ| lies below its median, given s
    const slope = cu / (tau * sigma), t = (MEDIAN * tau) / sigma;
    const inside = (x, g) => (g > 1e-18 ? g * (normal(t - slope * x) - normal(-t - slope * x)) : 0);
    return (s) => { const plus = bell(s - cv); return plus - inside(s - cv, plus) + inside(s + cv, bell(s + cv)); };
  }
  const B = Math.abs(cv) * Math.SQRT1_2; // Laplace of scale B and a normal variable of variance τ²
  if (B < 1e-9) return bell;
  const side = (s) => {
    const y = (tau / B - s / tau) * Math.SQRT1_2, g = Math.exp((-s * s) / (2 * tau2));
    return y >= 0 ? g * erfcx(y) : 2 * Math.exp(tau2 / (2 * B * B) - s / B) - g * erfcx(-y);
  };
  return (s) => (side(s) + side(-s)) / (4 * B);
}

/* F(s) = −κ (b²/a)(s φ − φ') + ½ κ² φ², so that L = E F(s). */
function charge(p) {
  const { at } = ACTIVATIONS[p.activation], c = (p.kappa * (1 - p.alpha_bar)) / Math.sqrt(p.alpha_bar), k2 = p.kappa * p.kappa;
  return (s) => { const [f, slope] = at(s, p.parameter); return (k2 * f * f) / 2 - c * (s * f - slope); };
}
/* Nodes and weights for an expectation over s; half of them, s > 0, where the law is symmetric. */
function nodes(p, half, gauss = FINE) {
  const { kinks = () => [] } = ACTIVATIONS[p.activation];
  const end = Math.max(9.5 * Math.sqrt(1 + p.alpha_bar * p.beta_u), p.latents === "laplace" ? 25 : 0);
  const inner = half ? kinks(p.parameter).map(Math.abs).filter(Boolean) : kinks(p.parameter);
  return panels([half ? 0 : -end, ...inner, end], Math.min(gauss === COARSE ? 0.9 : 0.5, 1.7 * Math.sqrt(1 - p.alpha_bar * spike(p))), gauss);
}
/* L(α_u, α_v) − L(0, 0) as a function of the overlaps. */
function landscape(p, gauss = FINE) {
  const half = p.latents !== "abs", { s, w } = nodes(p, half, gauss), F = charge(p), n = s.length;
  const weight = s.map((x, i) => w[i] * (half ? F(x) + F(-x) : F(x))), base = s.map(density0);
  return (au, av) => {
    const density = law(p, au, av);
    let L = 0;
    for (let i = 0; i < n; i++) L += weight[i] * (density(s[i]) - base[i]);
    return L;
  };
}

/* ℓ_m = −κ (b²/a) c_{m−1} + ½ κ² q_m, m = 0..order, with φ = Σ c_k He_k and φ² = Σ q_k He_k; and
 * σ² = E[((b q − κφ) κφ')² + b² κ² φ²], the variance of the projected gradient per direction. */
function coefficients(p, order) {
  const { at } = ACTIVATIONS[p.activation], b2 = 1 - p.alpha_bar, a = Math.sqrt(p.alpha_bar), { s, w } = nodes(p, false);
  const c = Array(order + 1).fill(0), q = Array(order + 1).fill(0), k2 = p.kappa * p.kappa;
  let sigma2 = 0;
  s.forEach((x, i) => {
    const [f, slope] = at(x, p.parameter), mass = w[i] * density0(x);
    sigma2 += mass * k2 * (slope * slope * (b2 + k2 * f * f) + b2 * f * f);
    for (let k = 0, he = 1, before = 0, factorial = 1; k <= order; k++) {
      c[k] += (mass * f * he) / factorial;
      q[k] += (mass * f * f * he) / factorial;
      [he, before] = [x * he - k * before, he];
      factorial *= k + 1;
    }
  });
  return { ell: range(order + 1).map((m) => (k2 / 2) * q[m] - (m ? ((p.kappa * b2) / a) * c[m - 1] : 0)), sigma2 };
}

/* Joint cumulants of x_u and x_v that are not those of N(0, 1): key "uuv" = κ(x_u, x_u, x_v). */
function cumulants(p) {
  const r = Math.sqrt(spike(p)), root = Math.sqrt(p.beta_u), k = { uu: p.beta_u };
  k.vvvv = (p.latents === "laplace" ? 3 : -2) * r ** 4;
  if (p.latents === "sign") { // E|λ| = √(2/π), E|λ|³ = 2√(2/π)
    const e = Math.sqrt(2 / Math.PI);
    k.uv = root * r * e;
    k.uuuv = -(root ** 3) * r * e;
    k.uuvv = -2 * p.beta_u * r * r * e * e;
    k.uvvv = -2 * root * r ** 3 * e;
  }
  if (p.latents === "abs") k.uuv = 4 * MEDIAN * density0(MEDIAN) * p.beta_u * r; // E λ²ν = 4 t φ(t)
  return k;
}

/* The terms m = 2, 3, 4 of L − L(0) = Σ ℓ_m a^m E He_m(w·x_0). */
function expansion(p, ell, au, av) {
  const k = cumulants(p), count = { uv: 2, uuv: 3, uuuv: 4, uuvv: 6, uvvv: 4 }, order = [0, 0, 0, 0, 0];
  Object.keys(k).forEach((key) => {
    const nu = key.replace(/v/g, "").length;
    order[key.length] += (count[key] || 1) * k[key] * au ** nu * av ** (key.length - nu);
  });
  order[4] += 3 * order[2] ** 2; // E He_4 = κ_4 + 3 (E He_2)²
  return [2, 3, 4].map((m) => ell[m] * p.alpha_bar ** (m / 2) * order[m]);
}

/* Smallest m <= 4 with ℓ_m ≠ 0 and an order-m cumulant that holds the direction; null where there is none. */
function exponent(p, ell, direction) {
  const k = cumulants(p), seen = Object.keys(k).filter((key) => key.includes(direction) && Math.abs(k[key]) > 1e-9);
  const orders = seen.map((key) => key.length).concat(seen.some((key) => key.length === 2) ? 4 : []) // He_4 holds (E He_2)²
    .filter((m) => Math.abs(ell[m]) > 1e-9);
  return orders.length ? Math.min(...orders) : null;
}

/* L ≈ −C₂ (α·e)² along the best direction e of the plane of u and v, L ≈ −C₄ α_v⁴ along v. */
function rates(p) {
  const { ell, sigma2 } = coefficients(p, 6), k = cumulants(p), c = k.uv || 0, root = Math.sqrt(p.beta_u ** 2 + 4 * c * c);
  const eigen = [(p.beta_u + root) / 2, (p.beta_u - root) / 2].map((x) => -ell[2] * p.alpha_bar * x);
  return { ell, sigma2, C2: c ? Math.max(...eigen) : eigen[0], C4: -ell[4] * p.alpha_bar ** 2 * k.vvvv,
    exponents: { u: exponent(p, ell, "u"), v: exponent(p, ell, "v") } };
}

/* ------------------------------------------------------------------ the plane: grid, flow, level sets */

const N = 47, STEP = 2 / (N - 1); // points each way on [−1, 1]²; the formulas hold in the corners too
function grid(p) {
  const L = landscape(p, COARSE), f = new Float64Array(N * N), mid = (N - 1) / 2;
  for (let j = 0; j < N; j++) {
    for (let i = 0; i < (p.latents === "abs" ? mid + 1 : N); i++) {
      if (p.latents !== "abs" && j > mid) f[j * N + i] = f[(N - 1 - j) * N + N - 1 - i]; // (λ, ν) -> (−λ, −ν)
      else f[j * N + i] = L(i * STEP - 1, j * STEP - 1);
    }
    if (p.latents === "abs") for (let i = mid + 1; i < N; i++) f[j * N + i] = f[j * N + N - 1 - i]; // λ -> −λ
  }
  return f;
}

/* Minus the gradient on the sphere, −(1 − α αᵀ) ∇L, at a point of the disc, from the grid. */
function descent(f, [au, av]) {
  const place = (x) => Math.max(0, Math.min(N - 1.000001, (x + 1) / STEP)), x = place(au), y = place(av);
  const i0 = Math.floor(x), j0 = Math.floor(y), g = [0, 0];
  [[i0, j0], [i0 + 1, j0], [i0, j0 + 1], [i0 + 1, j0 + 1]].forEach(([i, j]) => {
    const share = (1 - Math.abs(x - i)) * (1 - Math.abs(y - j));
    const [l, r, d, u] = [Math.max(i - 1, 0), Math.min(i + 1, N - 1), Math.max(j - 1, 0), Math.min(j + 1, N - 1)];
    g[0] += (share * (f[j * N + r] - f[j * N + l])) / ((r - l) * STEP);
    g[1] += (share * (f[u * N + i] - f[d * N + i])) / ((u - d) * STEP);
  });
  const along = au * g[0] + av * g[1];
  return [au * along - g[0], av * along - g[1]];
}

/* Path of the mean flow of projected SGD (step size -> 0), in steps of equal length, until it stands. */
function flow(f, start, scale) {
  const path = [start], inside = ([x, y]) => { const r = Math.hypot(x, y); return r > 1 ? [x / r, y / r] : [x, y]; };
  for (let n = 0, old = null; n < 400; n++) {
    const at = path[path.length - 1], ds = 0.012, go = (g, h) => inside(at.map((x, i) => x + (h * g[i]) / Math.hypot(...g)));
    const first = descent(f, at);
    if (!(Math.hypot(...first) > 1e-6 * scale)) break;
    const g = descent(f, go(first, ds / 2));
    if (!(Math.hypot(...g) > 1e-6 * scale) || (old && g[0] * old[0] + g[1] * old[1] < 0)) break;
    path.push(go(g, ds));
    old = g;
  }
  return path;
}

/* Closed loops around the region f > t of the grid, in units of α (marching squares; saddles apart). */
function region(f, t) {
  const value = (i, j) => (i < 0 || j < 0 || i >= N || j >= N ? -1e9 : f[j * N + i] - t), next = new Map(), point = new Map();
  for (let j = -1; j < N; j++) {
    for (let i = -1; i < N; i++) {
      const z = [value(i, j), value(i + 1, j), value(i + 1, j + 1), value(i, j + 1)], crossings = [];
      if (z.every((x) => x > 0) || z.every((x) => x <= 0)) continue;
      const corner = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      z.forEach((x, k) => {
        const k1 = (k + 1) % 4;
        if (x > 0 === z[k1] > 0) return;
        const low = k === 0 || k === 1 ? k : k === 2 ? 3 : 0, id = 2 * ((corner[low][1] + 1) * (N + 1) + corner[low][0] + 1) + (k % 2);
        const part = x / (x - z[k1]), mix = (c) => (corner[k][c] + part * (corner[k1][c] - corner[k][c])) * STEP - 1;
        point.set(id, [mix(0), mix(1)]);
        crossings.push([id, x > 0]);
      });
      crossings.forEach(([id, leaves], q) => { if (leaves) next.set(id, crossings[(q + 1) % crossings.length][0]); });
    }
  }
  const loops = [];
  while (next.size) {
    const loop = [];
    for (let id = next.keys().next().value; next.has(id);) {
      loop.push(point.get(id));
      const after = next.get(id);
      next.delete(id);
      id = after;
    }
    loops.push(loop);
  }
  return loops;
}

/* Everything there is to show. */
const LEAST = 0.03, BLIND = 1e-12;
function look(p) {
  const L = landscape(p), f = grid(p), r = rates(p), alphas = range(41).map((i) => LEAST ** (1 - i / 40));
  const along = (du, dv) => ({
    loss: alphas.map((x) => L(x * du, x * dv)), terms: alphas.map((x) => sum(expansion(p, r.ell, x * du, x * dv))),
    slope: Math.abs(L(0.1 * du, 0.1 * dv)) > BLIND ? Math.log2(L(0.1 * du, 0.1 * dv) / L(0.05 * du, 0.05 * dv)) : null,
  });
  const scale = f.reduce((most, x, n) => Math.max(most, Math.hypot((n % N) * STEP - 1, Math.floor(n / N) * STEP - 1) <= 1 ? Math.abs(x) : 0), 0);
  return { ...r, f, scale, alphas, u: along(1, 0), v: along(0, 1) };
}

/* ------------------------------------------------------------------ the figure */

const BANDS = 10, RING = 16, FROM = 0.1, EDGE = 25;
const LATENTS = {
  independent: "ν = ±1, independent of λ", sign: "ν = sign λ", abs: "ν = sign(|λ| − median)", laplace: "ν Laplace, independent of λ",
};
const SLIDERS = [["parameter", "", 0, 1, 0.05, "parameter of the activation"], ["alpha_bar", "<i>ᾱ</i>", 0.05, 0.95, 0.01, "signal ᾱ"],
  ["kappa", "<i>κ</i>", -1, 1, 0.05, "output strength κ"],
  ["beta_u", "<i>β<sub>u</sub></i>", 0, 4, 0.05, "strength β of u"], ["beta_v", "<i>β<sub>v</sub></i>", 0, 30, 0.1, "strength β of v"]];

const CSS = style("loss-landscape", "ls", DIALS, `--ls-minus: #1565a9; --ls-plus: #b5430b; --ls-u: #7b3fb5; --ls-v: #00806a; --ls-you: #a8255c;
  --ls-accent: var(--ls-minus);`,
"--ls-minus: #63b7f5; --ls-plus: #ff9a57; --ls-u: #c39bf5; --ls-v: #3cc9ae; --ls-you: #ff8fb8; color-scheme: dark;", `
& .ls-bar { grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); margin-bottom: .4rem; }
& .ls-picks { grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
& label > span { flex: 0 0 1.6rem; } & .ls-pick > span { flex-basis: 4.9rem; } & output { flex: 0 0 2.7rem; }
& select { flex: 1; min-width: 0; height: 1.95rem; padding: 0 .4rem; }
& .ls-minus { fill: var(--ls-minus); } & .ls-plus { fill: var(--ls-plus); }
& .ls-band { fill-opacity: .115; fill-rule: evenodd; stroke-width: .6; stroke-opacity: .3; }
& .ls-band.ls-minus { stroke: var(--ls-minus); } & .ls-band.ls-plus { stroke: var(--ls-plus); }
& .ls-flow { stroke: currentColor; stroke-opacity: .6; stroke-width: 1.1; fill: none; stroke-linejoin: round; }
& .ls-tip { fill: currentColor; fill-opacity: .75; }
& .ls-you { stroke: var(--ls-you); stroke-width: 2.4; fill: none; stroke-linejoin: round; }
& .ls-you-dot { fill: var(--ls-you); stroke: var(--ls-ground); stroke-width: 1.5; }
& .ls-curve { fill: none; stroke-width: 2; } & .ls-above { stroke-dasharray: 5 3; }
& .ls-terms { fill: none; stroke-width: 1.3; stroke-dasharray: 1 2.6; stroke-linecap: round; }
& .ls-cards { display: grid; gap: .8rem; align-content: start; }
& .ls-card { border-left: 3px solid; padding-left: .7rem; } & .ls-card > * { display: block; }
& sub, & sup { line-height: 0; } & .ls-says { min-height: 1.45em; margin-top: .6rem; }
@media (max-width: 480px) { & .ls-says { min-height: 4.35em; } }`);

const pick = (key, options) => `<label class="ls-pick"><span>${key}</span><select data-key="${key}" aria-label="${key}">` +
  `${options.map(([value, text]) => `<option value="${value}">${text}</option>`).join("")}</select></label>`;
const HTML = `<div class="ls-bar ls-picks">${pick("activation", Object.entries(ACTIVATIONS).map(([key, { form }]) => [key, form]))}
${pick("latents", Object.entries(LATENTS))}</div>
<div class="ls-bar">${SLIDERS.map(dial).join("\n")}</div>
<div class="ls-grid ls-plots"><svg class="ls-disc" role="group" tabindex="0"></svg><svg class="ls-log" role="img"></svg></div>
<div class="ls-says" role="status"></div><div class="ls-grid ls-facts"><svg class="ls-bars" role="img"></svg><div class="ls-cards"></div></div>`;

const SUPER = "⁰¹²³⁴⁵⁶⁷⁸⁹", power = (n) => (n < 0 ? "⁻" : "") + [...String(Math.abs(n))].map((c) => SUPER[c]).join("");
function short(x, digits = 2) { // with a typeset minus and power of ten
  if (Math.abs(x) < 1e-12) return "0";
  const y = Number(x.toPrecision(digits)), e = Math.floor(Math.log10(Math.abs(y)) + 1e-9);
  const text = e < -3 || e > 3 ? `${(y / 10 ** e).toFixed(digits - 1)}·10${power(e)}` : y.toFixed(Math.max(0, digits - 1 - e));
  return text.replace("-", "−");
}
const alpha = (which, rest = "") => it("α") + it(which, 'dy="3" font-size="9"') + (rest && `<tspan dy="-3">${rest}</tspan>`);
const al = (which) => `<i>α<sub>${which}</sub></i>`;

/* An arrow head on a path, where it has gone a given part of its way. */
function tip(way, part, size, cls) {
  if (way.length < 12) return "";
  const n = Math.floor(part * (way.length - 1)), [x, y] = way[n], [px, py] = way[n - 3], r = Math.hypot(x - px, y - py) || 1;
  const [c, s] = [((x - px) / r) * size, ((y - py) / r) * size];
  const head = [[x + c, y + s], [x - c - 0.7 * s, y - s + 0.7 * c], [x - 0.4 * c, y - 0.4 * s], [x - c + 0.7 * s, y - s - 0.7 * c]];
  return `<path class="${cls}" d="${line(head)}z"/>`;
}

function paintDisc(now, width, id) {
  const R = (width - 2 * EDGE) / 2, cx = width / 2, cy = 24 + EDGE + R, at = ([x, y]) => [cx + R * x, cy - R * y], out = [];
  const level = (k) => now.scale * (k / BANDS) ** 2;
  out.push(label(0, 12, `Loss ${it("L")}(${alpha("u", ", ")}${alpha("v", `) − ${it("L")}(0, 0)`)}`, "ls-head"));
  out.push(`<defs><clipPath id="${id}"><circle cx="${f1(cx)}" cy="${f1(cy)}" r="${f1(R)}"/></clipPath></defs><g clip-path="url(#${id})">`);
  [-1, 1].forEach((sign) => {
    const f = now.f.map((x) => sign * x), cls = sign < 0 ? "ls-minus" : "ls-plus";
    for (let k = 1; k < BANDS && now.scale > BLIND; k++) {
      const loops = region(f, level(k));
      if (loops.length) out.push(`<path class="ls-band ${cls}" d="${loops.map((loop) => line(loop.map(at)) + "z").join("")}"/>`);
    }
  });
  out.push(`<path class="ls-axis ls-faint" d="M${f1(cx - R)} ${f1(cy)}h${f1(2 * R)}M${f1(cx)} ${f1(cy - R)}v${f1(2 * R)}"/></g>`,
    `<circle class="ls-axis" cx="${f1(cx)}" cy="${f1(cy)}" r="${f1(R)}"/>`);
  now.paths.map((way) => way.map(at)).forEach((way) => out.push(path(way, "ls-flow"), tip(way, 0.5, 3.6, "ls-tip")));
  out.push(label(cx + R + 5, cy + 4, alpha("u")), label(cx, cy - R - 9, alpha("v"), "", "middle"),
    label(cx - R - 5, cy + 4, "−1", "ls-small ls-quiet", "end"), label(cx, cy + R + 13, "−1", "ls-small ls-quiet", "middle"));
  const foot = cy + R + 22, one = Math.min(12, (width - 150) / (2 * BANDS - 2)), shown = short(level(BANDS - 1), 2);
  range(BANDS - 1).forEach((k) => [-1, 1].forEach((sign) => { // stacked as on the disc
    const more = `class="ls-band ${sign < 0 ? "ls-minus" : "ls-plus"}" style="stroke:none"`;
    out.push(rect(cx + one * (sign < 0 ? 1 - BANDS : k), foot, one * (BANDS - 1 - k), 8, more));
  }));
  out.push(label(cx - one * (BANDS - 1) - 6, foot + 8, `−${shown}`, "ls-small ls-quiet", "end"),
    label(cx, foot + 19, "0", "ls-small ls-quiet", "middle"), label(cx + one * (BANDS - 1) + 6, foot + 8, shown, "ls-small ls-quiet"), '<g class="ls-probe"></g>');
  return { body: out.join(""), height: foot + 21, at, back: (x, y) => [(x - cx) / R, (cy - y) / R] };
}

const steep = (slope) => (slope === null ? "blind: the loss is constant" : Number.isNaN(slope) ? "changes its sign" : `slope ${decimal(slope)}`);
function paintLog(now, width, height) {
  const left = 36, end = width - 8, top = 66, bottom = height - 34;
  const out = [label(0, 12, `|${it("L")} − ${it("L")}(0)| along one direction`, "ls-head")];
  const seen = [...now.u.loss, ...now.v.loss].map(Math.abs).filter((x) => x > BLIND);
  const high = seen.length ? Math.ceil(Math.log10(Math.max(...seen))) : 0;
  const low = seen.length ? Math.max(-11, Math.floor(Math.log10(Math.min(...seen)))) : -4;
  const X = (x) => left + ((end - left) * Math.log(x / LEAST)) / -Math.log(LEAST);
  const Y = (y) => bottom - ((bottom - top) * (Math.log10(y) - low)) / (high - low);
  for (let e = low; e <= high; e++) {
    out.push(`<path class="ls-axis ls-faint" d="M${left} ${f1(Y(10 ** e))}H${f1(end)}"/>`);
    if ((high - e) % Math.ceil((high - low) / 7) === 0) out.push(label(left - 5, Y(10 ** e) + 4, `10${power(e)}`, "ls-small ls-quiet", "end"));
  }
  out.push(`<path class="ls-axis" d="M${left} ${f1(bottom)}H${f1(end)}"/>`);
  [0.03, 0.1, 0.3, 1].forEach((x) => out.push(`<path class="ls-axis" d="M${f1(X(x))} ${f1(bottom)}v4"/>`,
    label(X(x), bottom + 15, x, "ls-small ls-quiet", "middle")));
  out.push(label((left + end) / 2, bottom + 29, `overlap ${it("α")}`, "ls-small", "middle"));
  ["u", "v"].forEach((which, row) => {
    const { loss, terms, slope } = now[which], colour = `style="stroke:var(--ls-${which})"`;
    const kind = (cls, sign) => (cls === "ls-curve" && sign > 0 ? "ls-curve ls-above" : cls);
    const pieces = (y, cls) => [-1, 1].forEach((sign) => { // runs of one sign, and inside the frame
      let run = [];
      [...y, NaN].forEach((z, i) => {
        if (sign * z > Math.max(BLIND, 10 ** low) && z < 10 ** high) run.push([X(now.alphas[i]), Y(Math.abs(z))]);
        else {
          if (run.length > 1) out.push(`<path class="${kind(cls, sign)}" ${colour} d="${line(run)}"/>`);
          run = [];
        }
      });
    });
    pieces(loss, "ls-curve");
    pieces(terms, "ls-terms");
    out.push(label(left + 2, 32 + 16 * row, `along ${it(which)}: ${steep(slope)}`, "", "start", `style="fill:var(--ls-${which})"`));
  });
  return out.join("");
}

/* What the loss charges for each Hermite moment of the projection. */
function paintBars(now, width) {
  const bars = range(5).map((k) => k + 2), most = Math.max(...bars.map((m) => Math.abs(now.ell[m])), 1e-12);
  const left = 26, end = width - 52, mid = (left + end) / 2;
  const out = [label(0, 12, `What the loss charges per order: ℓ${it("m", 'dy="3" font-size="9"')}`, "ls-head")];
  bars.forEach((m, row) => {
    const y = 26 + 22 * row, x = now.ell[m], long = (Math.abs(x) / most) * (mid - left);
    out.push(label(0, y + 11, `ℓ${"₀₁₂₃₄₅₆"[m]}`), `<path class="ls-axis ls-faint" d="M${f1(left)} ${y + 7}H${f1(end)}"/>`,
      rect(x < 0 ? mid - long : mid, y, long, 14, `class="${x < 0 ? "ls-minus" : "ls-plus"}" fill-opacity=".8"`),
      label(width, y + 11, Math.abs(x) < 1e-9 ? "0" : short(x), "ls-small", "end"));
  });
  out.push(`<path class="ls-axis" d="M${f1(mid)} 20V${26 + 22 * bars.length}"/>`);
  return { body: out.join(""), height: 30 + 22 * bars.length };
}

const SAMPLES_V = 0.021; // median n C₄²/(σ² d³) from the scaled stochastic equation at δ₀ = 9.1 C₄/σ², x₀ = 1
const many = (n, law, d) => `<i>n</i> ≈ ${short(n)} ${law} (${short(n * d)} at <i>d</i> = 100)`;

/* Per direction: what it does to the neuron, the leading term of the loss, the samples it takes. */
function facts(p, now) {
  const { exponents: { u, v }, C2, C4, sigma2, ell } = now, a = Math.sqrt(p.alpha_bar), k = cumulants(p), U = al("u"), V = al("v");
  const term = ([x, of], i) => (i ? (x < 0 ? "− " : "+ ") : x < 0 ? "−" : "") + `${short(Math.abs(x))} ${of}`;
  const loss = (...terms) => `<i>L</i> − <i>L</i>(0) ≈ ${terms.map(term).join(" ")}`;
  const linear = C2 > 0 ? many(sigma2 / (4 * C2 * C2), "<i>d</i> ln <i>d</i>", 100 * Math.log(100)) : "";
  const pull = (C) => (C > 0 ? "attracts the neuron" : "repels the neuron");
  if (v === 2) {
    const shared = loss([ell[2] * p.alpha_bar * p.beta_u, U + "²"], [2 * ell[2] * p.alpha_bar * k.uv, U + V]);
    return { u: ["is learnt together with <i>v</i>", shared, linear], v: ["is learnt together with <i>u</i>", shared, linear] };
  }
  const blind = ["is not seen", "no term up to order 4", ""];
  const cubic = C4 > 0 ? many((SAMPLES_V * sigma2) / (C4 * C4), "<i>d</i>³", 1e6) : "not found from a random start";
  return {
    u: u === 2 ? [pull(C2), loss([-C2, U + "²"]), linear] : u ? ["is seen late", "no term of order 2", ""] : blind,
    v: v === 4 ? [pull(C4), loss([-C4, V + "⁴"]), cubic]
      : v ? [C2 > 0 ? "is pulled in by <i>u</i>" : "is not reached: <i>u</i> repels",
        `<i>L</i> holds ${short(3 * ell[3] * a ** 3 * k.uuv)} ${U}²${V}`, C2 > 0 ? "<i>n</i> ∝ <i>d</i> once <i>u</i> is learnt" : ""]
        : blind,
  };
}
const card = (which, now, [does, term, samples]) => `<div class="ls-card" style="border-color:var(--ls-${which})">` +
  `<span><b style="color:var(--ls-${which})"><i>${which}</i></b> ${does}, information exponent ${now.exponents[which] || "none"}</span>` +
  `<span>${term}</span><span class="ls-quiet">${samples}</span></div>`;

const stroke = (cls) => `<path class="${cls}" style="stroke:currentColor" d="M1 7h17"/>`;
const LEGEND = `<div class="ls-legend" aria-hidden="true">${legend([
  [rect(2, 1, 14, 12, 'class="ls-minus" fill-opacity=".6"'), "below <i>L</i>(0)"],
  [rect(2, 1, 14, 12, 'class="ls-plus" fill-opacity=".6"'), "above <i>L</i>(0)"],
  ['<path class="ls-flow" d="M0 7h18"/><path class="ls-tip" d="M12 7l-5 -3v6z"/>', "mean flow of projected SGD from near the origin"],
  ['<path class="ls-you" d="M0 7h18"/>', "the same from a place you choose"],
  [stroke("ls-curve"), "curve below <i>L</i>(0)"], [stroke("ls-curve ls-above"), "curve above"], [stroke("ls-terms"), "expansion to order 4"],
])}</div>`;

function mount(el, p, find, all) {
  p.parameter = usual(p.activation);
  const id = `${el.id}-disc-${Array.from(document.querySelectorAll(".loss-landscape")).indexOf(el)}`, width = fit(el, find(".ls-plots"), show);
  const disc = find(".ls-disc"), parameter = find('[data-key="parameter"]'), inputs = all("[data-key]");
  let start = [0.08, 0.4], now = null, drawn = null;

  function compute() {
    now = look(p);
    const angles = now.scale > BLIND ? range(RING).map((k) => (2 * Math.PI * (k + 0.5)) / RING) : [];
    now.paths = angles.map((angle) => flow(now.f, [FROM * Math.cos(angle), FROM * Math.sin(angle)], now.scale));
    now.loss = landscape(p);
  }
  function probe() {
    const way = flow(now.f, start, Math.max(now.scale, BLIND)), moves = way.length > 1, points = way.map(drawn.at), [x, y] = points[0];
    const pair = (point) => `(${point.map(decimal).join(", ")})`;
    find(".ls-probe").innerHTML = (moves ? path(points, "ls-you") : "") + `<circle class="ls-you-dot" cx="${f1(x)}" cy="${f1(y)}" r="5.5"/>`;
    find(".ls-says").innerHTML = `At the dot, (${al("u")}, ${al("v")}) = ${pair(start)}, <i>L</i> − <i>L</i>(0) = ${short(now.loss(...start), 3)}; ` +
      (moves ? `from there the mean flow goes to ${pair(way[way.length - 1])}.` : "the mean flow stands still there.");
    disc.setAttribute("aria-label", `Heat map of the loss over the overlaps with u and v. Start at ${pair(start)}; arrow keys move it`);
  }
  function show() {
    const { wide, part, side } = columns(all(".ls-grid"), width(), 0.54, 30), says = facts(p, now);
    drawn = paintDisc(now, part, id);
    const tall = wide ? drawn.height - 8 : 260, bars = paintBars(now, part);
    place(disc, part, drawn.height, drawn.body);
    place(find(".ls-log"), side, tall, paintLog(now, side, tall), `Size of the loss change along u: ${steep(now.u.slope)}; along v: ${steep(now.v.slope)}`);
    place(find(".ls-bars"), part, bars.height, bars.body, range(5).map((k) => `ell ${k + 2}: ${short(now.ell[k + 2])}`).join(", "));
    find(".ls-cards").innerHTML = card("u", now, says.u) + card("v", now, says.v);
    inputs.forEach((input) => { const x = p[input.dataset.key]; turn(input, x, typeof x === "number" && decimal(x)); });
    probe();
  }
  function dress() { // the slider of the activation's own parameter
    const { dial: about } = ACTIVATIONS[p.activation], row = parameter.closest("label");
    row.hidden = !about;
    if (!about) return;
    row.firstElementChild.innerHTML = `<i>${about[0]}</i>`;
    [parameter.min, parameter.max, parameter.step] = about.slice(1);
    parameter.setAttribute("aria-label", `parameter ${about[0]} of the activation`);
  }
  const move = (to) => { const r = Math.hypot(...to); start = r > 0.999 ? to.map((x) => (0.999 * x) / r) : to; probe(); };
  drag(disc, (x, y) => { const to = drawn.back(x, y); if (Math.hypot(...to) < 1.05) move(to); });
  keys(disc, (u, v) => move([start[0] + 0.02 * u, start[1] + 0.02 * v]));
  inputs.forEach((input) => input.addEventListener("input", () => {
    p[input.dataset.key] = input.tagName === "SELECT" ? input.value : Number(input.value);
    if (input.dataset.key === "activation") { p.parameter = usual(p.activation); dress(); }
    compute();
    show();
  }));
  dress();
  compute();
  show();
}

publish({ kind: "loss-landscape", css: CSS, html: HTML + LEGEND, mount },
  { erfcx, normal, law, landscape, rates, expansion, grid, descent, flow, region, look, facts, usual, SAMPLES_V });
