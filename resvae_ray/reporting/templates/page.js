"use strict";
for (const place of document.querySelectorAll(".plot")) {
  const { data, layout } = JSON.parse(document.getElementById(`${place.id}-data`).textContent);
  Plotly.newPlot(place, data, layout, {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // the share button would upload the figure
    plotlyServerURL: "",
    displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  });
}
