/* Plotly figures take their ink, grid and control colours from the page's theme, and follow its switch. */
(function () {
  "use strict";

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const get = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
    return {
      ink: get("--pst-color-text-base", "#222"),
      line: get("--pst-color-border", "#ccc"),
      surface: get("--pst-color-surface", "#f5f5f5"),
    };
  }

  function update(layout, c) {
    const out = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": c.ink,
      "hoverlabel.bgcolor": c.surface,
      "hoverlabel.font.color": c.ink,
    };
    for (const key of Object.keys(layout)) {
      if (/^[xyz]axis\d*$/.test(key)) {
        out[key + ".gridcolor"] = c.line;
        out[key + ".zerolinecolor"] = c.line;
        out[key + ".linecolor"] = c.ink;
        out[key + ".tickcolor"] = c.ink;
      }
    }
    (layout.sliders || []).forEach((_, i) => {
      out[`sliders[${i}].bgcolor`] = c.line;
      out[`sliders[${i}].bordercolor`] = c.line;
      out[`sliders[${i}].tickcolor`] = c.ink;
    });
    (layout.updatemenus || []).forEach((_, i) => {
      out[`updatemenus[${i}].bgcolor`] = c.surface;
      out[`updatemenus[${i}].bordercolor`] = c.line;
    });
    return out;
  }

  function paint() {
    if (!window.Plotly) return;
    const c = colours();
    for (const figure of document.querySelectorAll(".js-plotly-plot")) {
      window.Plotly.relayout(figure, update(figure.layout, c));
    }
  }

  window.addEventListener("load", paint);
  new MutationObserver(paint).observe(document.documentElement, {
    attributes: true,
    attributeFilter: ["data-theme"],
  });
})();
