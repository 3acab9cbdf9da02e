/* On paper nothing opens by a click: proofs are printed open (solutions are by their own script), folded code is not. */
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.sd-dropdown:not([open])")];
  for (const it of opened) it.open = true;
});
addEventListener("afterprint", () => { for (const it of opened) it.open = false; });

/* A term that was searched for is marked in the text, not inside scripts and style sheets, which it would break. */
addEventListener("DOMContentLoaded", () => {
  for (const it of document.querySelectorAll("body script, body style")) it.classList.add("nohighlight");
});

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

/* A figure is shown as large as the window; without a script its link opens the image. */
addEventListener("click", (event) => {
  const link = event.target.closest("a.enlarge");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const box = document.body.appendChild(document.createElement("dialog"));
  box.className = "enlarged";
  box.append(link.querySelector("img").cloneNode());
  box.onclick = () => box.close();
  box.onclose = () => box.remove();
  box.showModal();
});
