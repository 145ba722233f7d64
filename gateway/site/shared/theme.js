// Light or dark: as the system has it, until somebody chooses.

const KEPT = "theme";

/** @param {HTMLElement} button that changes it */
export function setUpTheme(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (/** @type {string} */ theme) => {
    document.documentElement.dataset.theme = theme;
  };
  let chosen = stored();
  set(chosen ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => {
    if (!chosen) set(dark.matches ? "dark" : "light");
  });
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    set(chosen);
    try {
      localStorage.setItem(KEPT, chosen);
    } catch {
      // Kept for this visit only.
    }
  });
}

function stored() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}
