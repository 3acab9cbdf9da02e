/* Exact inference on one tree of the Random Hierarchy Model, and what the figures that show it share.
 * Conventions of hierlib.rhm: level 0 = leaves, level L = root; g = {v, m, s, L, rules}, where rules[l][a][r] lists the
 * s level-l symbols that symbol a of level l + 1 becomes. */
const inference = (() => {
  const { sum, buttons } = core;
  const mean = (x) => sum(x) / x.length;
  const argmax = (x) => x.indexOf(Math.max(...x));
  const misses = (p, a) => Math.max(...p) > p[a] * (1 + 1e-9); // another symbol is more probable than a; a tie is no miss

  function normalise(x) {
    const z = sum(x);
    if (!(z > 0 && z < Infinity)) throw new RangeError("likelihood: these leaves have probability 0 under the grammar");
    return x.map((a) => a / z);
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
    for (let l = g.L - 1; l >= 0; l--) tree[l] = [].concat(...tree[l + 1].map((a, i) => g.rules[l][a][rule(l, i, a)]));
    return tree;
  }

  const sampleTree = (g, rng) => grow(g, Math.floor(rng() * g.v), () => Math.floor(rng() * g.m));

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
  function marginals(g, likelihood, { up, weight } = upward(g, likelihood)) {
    const post = [];
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
  function samplePosterior(g, likelihood, rng, { up, weight } = upward(g, likelihood)) {
    return grow(g, pick(up[g.L][0], rng), (l, i, a) => pick(weight[l][i][a], rng));
  }

  /* All that can be said of a tree whose leaves have this likelihood; with random numbers, a posterior sample as well. */
  function infer(g, truth, likelihood, rng) {
    const messages = upward(g, likelihood), post = marginals(g, likelihood, messages);
    const draw = rng ? samplePosterior(g, likelihood, rng, messages) : null;
    const belief = post.map((row, l) => row.map((p, i) => p[truth[l][i]]));
    const kept = draw && draw.map((row, l) => row.map((a, i) => (a === truth[l][i] ? 1 : 0)));
    return { truth, likelihood, post, belief, draw, kept };
  }

  /* ------------------------------------------------------------------ what is shown of it */

  const rowName = (g, l, leaf) => (l === g.L ? "class" : l === 0 ? leaf : `level ${l}`);
  /* Tooltip of a node. */
  function tell(g, now, l, i, leaf) {
    const a = now.truth[l][i], p = now.post[l][i], best = argmax(p);
    const says = `${rowName(g, l, leaf)}: true symbol ${a}, belief in it ${p[a].toFixed(3)}`;
    if (now.draw) return says + (now.kept[l][i] ? "; kept" : `; became ${now.draw[l][i]}`);
    return says + (misses(p, a) ? `; most probable ${best} (${p[best].toFixed(3)})` : "");
  }
  /* What a U-turn did, and the end of a sentence on beliefs. */
  function outcome(g, now, leaves) {
    const n = now.kept[0].length, stay = sum(now.kept[0]);
    if (!now.kept[g.L][0]) return `The class changed, ${stay} of ${n} ${leaves} stayed${stay > n / g.v + 1 ? ": old parts in a new whole." : "."}`;
    return stay === n ? "Nothing changed: the way back returned the same data." : `The class stayed; ${n - stay} of ${n} ${leaves} changed.`;
  }
  function errors(now) {
    const wrong = now.post[0].filter((p, i) => misses(p, now.truth[0][i])).length;
    return wrong ? `; the best guess is wrong at ${wrong} of them.` : ".";
  }

  /* Okabe and Ito's colours: told apart by the colour-blind. */
  const LIGHT = "--@-kept: #0072b2; --@-changed: #d55e00; --@-accent: var(--@-kept);", NIGHT = "--@-kept: #56b4e9; --@-changed: #ef7a30;";
  const MARKS = `
& .@-kept { fill: var(--@-kept); } & .@-changed { fill: var(--@-changed); }
& .@-rim { stroke: var(--@-kept); stroke-opacity: .65; } & .@-ring { fill: none; stroke: var(--@-changed); stroke-width: 1.7; }
& .@-noise { flex: 1 1 14rem; padding-bottom: .3rem; } & .@-noise output { min-width: 2.2em; }`;
  const ways = (thing) => `<button type="button" data-do="turn" aria-pressed="false" title="add noise, then denoise: one exact posterior sample">U-turn</button>
<button type="button" data-do="again" hidden>draw again</button>
<button type="button" data-do="other">another ${thing}</button></div>`;
  /* Their work: show() is called after state {turn, draw, seed} has changed. */
  const steer = (find, all, state, show) => buttons(all, {
    turn() {
      state.turn = !state.turn;
      find("[data-do=turn]").setAttribute("aria-pressed", state.turn);
      find("[data-do=again]").hidden = !state.turn;
      show();
    },
    again() { state.draw += 1; show(); },
    other() { state.seed += 1; state.draw = 0; show(); },
  });

  return { mean, misses, sampleTree, marginals, samplePosterior, infer, rowName, tell, outcome, errors, LIGHT, NIGHT, MARKS, ways, steer };
})();
