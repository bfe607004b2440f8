// A small line of the newest values. Its number is beside it as text, so it is hidden from screen readers.

const width = 120;
const height = 32;

export function Sparkline({ values }: { values: (number | undefined)[] }) {
  const known = values.filter((value) => value !== undefined && Number.isFinite(value)) as number[];
  const top = 1.2 * Math.max(...known, 0) || 1;
  const step = width / Math.max(values.length - 1, 1);
  // Gaps, where nothing was known, part the line.
  let path = "";
  let isOpen = false;
  for (const [i, value] of values.entries()) {
    if (value === undefined || !Number.isFinite(value)) {
      isOpen = false;
      continue;
    }
    path += `${isOpen ? "L" : "M"}${(i * step).toFixed(1)} ${(height - 1 - (value / top) * (height - 2)).toFixed(1)}`;
    isOpen = true;
  }
  return (
    <svg class="sparkline" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
