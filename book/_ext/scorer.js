/* Ranks what the search finds: Sphinx's own weights, with all of the library after all of the chapters. */
var Scorer = {
  score: ([docname, , , , score]) => score - (/^book\/api\//.test(docname) ? 1000 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
