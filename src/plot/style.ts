// Colours and texts of all pictures, for white paper and for dark.

// Okabe and Ito's colours, distinct also for the colour-blind, and more of their kind; for white and for dark paper.
const light = [
  "#0072b2",
  "#d55e00",
  "#007a5a",
  "#b0508a",
  "#8a6d00",
  "#5b4bb5",
  "#1482a5",
  "#a33b20",
  "#5c6b00",
  "#7a4a6a",
];
const dark = [
  "#56b4e9",
  "#f4924a",
  "#2fc49a",
  "#e59ac6",
  "#e0c040",
  "#a99cf0",
  "#6fd0e8",
  "#f08a70",
  "#b9cc4a",
  "#d0a6c4",
];

export const colorCount = light.length;

/** Of the colours that a style sheet has; `index` is below their number. */
export function colorOf(index: number): string {
  return `var(--c${index})`;
}

/** With so many colours, or all there are. */
export function styleSheet(colors: number): string {
  const palette = (list: readonly string[]) =>
    list
      .slice(0, colors)
      .map((color, i) => `--c${i}: ${color};`)
      .join(" ");
  return `
svg { font: 12px system-ui, sans-serif; --paper: #ffffff; --ink: #1f2328; --quiet: #59636e; --grid: #e3e6ea; ${palette(light)} }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14171a; --ink: #e6e9ec; --quiet: #9aa4ae; --grid: #30363d; ${palette(dark)} }
}
text { fill: var(--ink); }
.paper { fill: var(--paper); }
.quiet { fill: var(--quiet); }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: var(--grid); }
.axis { stroke: var(--quiet); }
`;
}
