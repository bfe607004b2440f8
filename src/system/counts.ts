// Numbers of things in words.

/** "12,000". */
export function groupDigits(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** "1 step", "2 steps", with `format` "12,000 steps". */
export function countOf(count: number, what: string, format: (count: number) => string = String): string {
  return `${format(count)} ${what}${count === 1 ? "" : "s"}`;
}
