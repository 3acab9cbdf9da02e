/* What the interactive figures share: mounting, theme, drawing in SVG, controls, pointer and keys, random numbers.
 * hierlib.figures.core puts it and the script of one figure into one function: no global name, any number of times a page.
 * No library, no request; ES2017. */
const core = (() => {
  const sum = (x) => x.reduce((a, b) => a + b, 0);
  const range = (n) => Array.from({ length: n }, (_, i) => i);

  /* ------------------------------------------------------------------ random numbers */

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
  /* n standard normal numbers, n even, by Box and Muller's transform. */
  function normal(n, rng) {
    const out = new Float64Array(n);
    for (let i = 0; i < n; i += 2) {
      const r = Math.sqrt(-2 * Math.log(1 - rng())), angle = 2 * Math.PI * rng();
      out[i] = r * Math.cos(angle);
      out[i + 1] = r * Math.sin(angle);
    }
    return out;
  }
  const stream = (seed, k) => mulberry32(Math.imul(seed, 0x9e3779b1) + Math.imul(k, 0x85ebca6b)); // one per purpose, or draw

  /* ------------------------------------------------------------------ the theme */

  const dark = (rest) => ['html[data-theme="dark"] ', 'body[data-jp-theme-light="false"] ', 'html[theme="dark"] ']
    .map((mode) => mode + rest).join(", ");
  const SHEET = `
& { --@-ground: var(--pst-color-background, var(--jp-layout-color0, #fff));
  --@-line: var(--pst-color-border, var(--jp-border-color2, rgba(128,128,128,.4)));
  box-sizing: border-box; border: 1px solid var(--@-line); border-radius: .4rem; padding: .8rem 1rem .7rem; margin: 1rem 0;
  color: var(--pst-color-text-base, var(--jp-content-font-color1, inherit)); font-size: .92rem; line-height: 1.45; }
${dark("&")} { --@-ground: var(--pst-color-background, var(--jp-layout-color0, #1e1e1e)); }
html[data-theme="dark"] body .bd-content div.cell_output .text_html:has(&) {
  background: transparent; color: inherit; padding: 0; border-radius: 0; }
& label { display: flex; align-items: center; gap: .5rem; margin: 0; font: inherit; }
& output { font-variant-numeric: tabular-nums; }
& input { margin: 0; accent-color: var(--@-accent); } & input[type="range"] { width: 100%; height: 1.5rem; }
& button, & select { font: inherit; color: inherit; border: 1px solid var(--@-line); border-radius: .3rem; cursor: pointer; }
& button:hover, & select:hover { border-color: currentColor; }
& :focus-visible { outline: 2px solid var(--@-accent); outline-offset: 2px; }
& [hidden] { display: none; }
& .@-grid { display: grid; margin: .9rem 0 0; }
& svg { display: block; width: 100%; overflow: visible; }
& svg text { font-size: 12px; fill: currentColor; font-variant-numeric: tabular-nums; }
& svg .@-small { font-size: 10.5px; } & svg .@-head { font-weight: 600; } & .@-quiet { opacity: .72; }
& .@-axis { stroke: currentColor; stroke-opacity: .26; fill: none; } & .@-faint { stroke-opacity: .13; }
& .@-legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .82rem; opacity: .85; }
& .@-legend svg { display: inline-block; width: 18px; height: 14px; margin: 0 .35rem 0 0; vertical-align: -2px; }
@media (max-width: 480px) { & { padding: .7rem .7rem .6rem; } }`;
  const BAR = `
& .@-bar { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .6rem; }
& label { display: inline-flex; }
& .@-slide { position: relative; flex: 1; min-width: 6rem; display: flex; }
& .@-star { position: absolute; top: 1.3rem; font-size: .72rem; line-height: 1; white-space: nowrap; pointer-events: none; }
& .@-star::before { content: ""; width: 1px; height: .35rem; background: currentColor; }
& button, & select { line-height: 1.3; background: transparent; padding: 0 .65rem; margin: 0; width: auto; height: 1.95rem; }
& button[aria-pressed="true"] { background: var(--@-accent); border-color: var(--@-accent); color: #fff; }
${dark('& button[aria-pressed="true"]')} { color: #111; }
& .@-legend svg { width: 14px; } & .@-says { min-height: 1.45em; }`;
  const DIALS = `
& .@-bar { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .25rem 1.6rem; }
& label { flex: 1; } & output { text-align: right; } & input[type="range"] { flex: 1; min-width: 4rem; }
& button, & select { background: var(--@-ground); } & button { padding: .1rem .6rem; }
& svg text { user-select: none; } & svg[tabindex] { cursor: crosshair; touch-action: manipulation; border-radius: .3rem; }
& .@-says { min-height: 2.9em; margin-top: .7rem; } & .@-legend { margin-top: .6rem; }
@media (max-width: 480px) { & .@-says { min-height: 5.8em; } }`;
  /* The style sheet of a figure of a class, &, and a prefix, @-: its colours on light and on dark pages, and its own rules. */
  const style = (kind, prefix, family, light, night, own) =>
    `${SHEET}${family}\n& { ${light} }\n${dark("&")} { ${night} }${own}`.replace(/&/g, `.${kind}`).replace(/@-/g, `${prefix}-`);

  /* ------------------------------------------------------------------ drawing */

  const f1 = (x) => x.toFixed(1), f2 = (x) => x.toFixed(2);
  const decimal = (x) => f2(x).replace("-", "−").replace(/^−(0\.00)$/, "$1"); // typeset
  const label = (x, y, words, cls = "", anchor = "start", more = "") =>
    `<text x="${f1(x)}" y="${f1(y)}" class="${cls}" text-anchor="${anchor}" ${more}>${words}</text>`;
  const rect = (x, y, w, h, more) => `<rect x="${f1(x)}" y="${f1(y)}" width="${f1(w)}" height="${f1(h)}" ${more}/>`;
  const circle = (x, y, r, more) => `<circle cx="${f2(x)}" cy="${f2(y)}" r="${f2(r)}" ${more}/>`;
  const dot = ([x, y], r, cls) => circle(x, y, r, `class="${cls}"`);
  const diamond = (x, y, r, more) => `<path d="M${f2(x)} ${f2(y - r)}l${f2(r)} ${f2(r)} ${f2(-r)} ${f2(r)} ${f2(-r)} ${f2(-r)}z" ${more}/>`;
  const line = (points) => "M" + points.map(([x, y]) => `${f1(x)} ${f1(y)}`).join("L");
  const path = (points, cls) => `<path class="${cls}" d="${line(points)}"/>`;
  const it = (letter, more = "") => `<tspan font-style="italic" ${more}>${letter}</tspan>`;
  /* The keys [mark, words] of a legend; false ones are left out. */
  const legend = (keys, width = 18) => keys.filter(Boolean)
    .map(([mark, words]) => `<span><svg viewBox="0 0 ${width} 14">${mark}</svg>${words}</span>`).join("");
  /* A frame with ticks, x or [x, words], and heights: the place of (x, y) in the plot and back, and what is drawn of it. */
  const frame = (prefix) => (left, top, w, h, [x0, x1], [y0, y1], ticksX, ticksY) => {
    const X = (x) => left + (w * (x - x0)) / (x1 - x0), Y = (y) => top + h - (h * (y - y0)) / (y1 - y0);
    const rule = (d, more = "") => `<path class="${prefix}-axis ${more}" d="${d}"/>`;
    const faint = `${prefix}-faint`, words = `${prefix}-small ${prefix}-quiet`, pairs = ticksX.map((tick) => [].concat(tick, tick));
    const drawn = [
      ...pairs.map(([x, text]) => rule(`M${f1(X(x))} ${f1(top)}v${f1(h)}`, faint) + label(X(x), top + h + 14, text, words, "middle")),
      ...ticksY.map((y) => rule(`M${f1(left)} ${f1(Y(y))}h${f1(w)}`, faint) + label(left - 5, Y(y) + 4, y, words, "end")),
      rule(`M${f1(left)} ${f1(top)}v${f1(h)}h${f1(w)}`)].join("");
    const back = (px, py) => [x0 + ((px - left) * (x1 - x0)) / w, y0 + ((top + h - py) * (y1 - y0)) / h];
    return { X, Y, at: ([x, y]) => [X(x), Y(y)], back, drawn };
  };
  function place(svg, width, height, body, words) {
    svg.setAttribute("viewBox", `0 0 ${width} ${f1(height)}`);
    svg.innerHTML = body;
    if (words) svg.setAttribute("aria-label", words);
  }

  /* ------------------------------------------------------------------ the page */

  const WIDE = 560;
  /* Two columns where the page is wide, the left one with its share: their widths, and whether there are two. */
  function columns(grids, all, share, gap) {
    const wide = all >= WIDE, between = wide ? gap : 14, part = wide ? Math.floor((all - between) * share) : all, side = wide ? all - between - part : all;
    grids.forEach((grid) => { grid.style.cssText = `grid-template-columns: ${wide ? `${part}px ${side}px` : "100%"}; gap: 1rem ${between}px`; });
    return { wide, part, side };
  }
  /* The width that an element has now, for drawings; `draw` is called when it changes. */
  function fit(el, measured, draw) {
    let drawn = 0;
    const now = () => Math.floor(measured.getBoundingClientRect().width);
    if (typeof ResizeObserver === "function") new ResizeObserver(() => { if (now() && now() !== drawn) draw(); }).observe(el);
    return () => { drawn = now(); return drawn || 700; };
  }
  /* Mounts a figure on every element of its class that has none; in node hands out its inside. */
  function publish({ kind, css, html, mount }, inside) {
    if (typeof module === "object" && module.exports) { module.exports = inside; return; }
    const all = () => document.querySelectorAll(`.${kind}:not([data-mounted])`).forEach((el) => {
      el.dataset.mounted = "";
      el.innerHTML = `<style>${css}</style>${html}`;
      mount(el, JSON.parse(el.dataset.config), (q) => el.querySelector(q), (q) => Array.from(el.querySelectorAll(q)));
    });
    all(); // the script follows its element
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  }

  /* ------------------------------------------------------------------ controls, pointer, keys */

  const dial = ([key, name, least, most, step, words]) => `<label><span>${name}</span><input type="range" data-key="${key}" min="${least}" ` +
    `max="${most}" step="${step}" aria-label="${words}"><output></output></label>`;
  function turn(input, value, words, spoken) { // to a value, with its words beside it
    input.value = value;
    if (input.nextElementSibling) input.nextElementSibling.textContent = words;
    if (spoken) input.setAttribute("aria-valuetext", spoken);
  }
  /* Calls act[what]() when the button data-do="what" is pressed. */
  const buttons = (all, act) => all("[data-do]").forEach((b) => b.addEventListener("click", () => act[b.dataset.do]()));
  const spot = (svg, e) => { // of the pointer, in the units of the drawing
    const box = svg.getBoundingClientRect(), unit = svg.viewBox.baseVal.width / box.width;
    return [(e.clientX - box.left) * unit, (e.clientY - box.top) * unit];
  };
  function drag(svg, act) {
    svg.addEventListener("pointerdown", (e) => act(...spot(svg, e)));
    svg.addEventListener("pointermove", (e) => { if (e.buttons === 1 && e.pointerType === "mouse") act(...spot(svg, e)); });
  }
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  /* Calls act for every key that `known` holds, arrows if not given, with what it holds. */
  const keys = (svg, act, known = ARROWS) => svg.addEventListener("keydown", (e) => {
    if (!(e.key in known)) return;
    e.preventDefault();
    act(...known[e.key]);
  });

  return { sum, range, mulberry32, normal, stream, dark, BAR, DIALS, style, f1, f2, decimal, label, rect, circle, dot, diamond, line, path, it, legend,
    frame, place, WIDE, columns, fit, publish, dial, turn, buttons, spot, drag, keys };
})();
