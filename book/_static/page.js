/* On paper nothing opens by a click: proofs are printed open (solutions are by their own script), folded code is not. */
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.sd-dropdown:not([open])")];
  for (const it of opened) it.open = true;
});
addEventListener("afterprint", () => { for (const it of opened) it.open = false; });

/* A formula that is wider than its column scrolls, from the keyboard too. */
addEventListener("load", async () => {
  if (!window.MathJax?.startup) return;
  await MathJax.startup.promise;
  const all = document.querySelectorAll('mjx-container[display="true"]');
  const reach = () => all.forEach((it) => {
    if (it.scrollWidth > it.clientWidth) it.tabIndex = 0; else it.removeAttribute("tabindex");
  });
  new ResizeObserver(reach).observe(document.body);
});
