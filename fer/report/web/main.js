// The page: its sections in order, and the table of contents.

showHead();
showSweep();
showMembers();
showResults();
showNeurons();
showClasses();
showCalibration();
showTraining();
showPruning();
showRun();
document.getElementById("images").remove(); // their frames: the sections have taken the images
main.append(
  el(
    "footer",
    `Made by fer ${page.version}, ${page.made}, from the folder ${page.name}. `,
    "Intervals are 95 % Wilson intervals. Nothing on this page was loaded from anywhere.",
  ),
);

// On a small screen the contents are closed at first; on a large one they mark the current section.
const contents = document.getElementById("contents");
const small = matchMedia("(max-width: 66rem)");
const fold = () => (contents.open = !small.matches);
small.addEventListener("change", fold);
fold();
contents.addEventListener("click", (event) => {
  if (event.target.closest("a") && small.matches) contents.open = false;
});
const links = new Map(
  [...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]),
);
const watch = (entries) => {
  for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(target.id)?.setAttribute("aria-current", "location");
  }
};
const observer = new IntersectionObserver(watch, { rootMargin: "-20% 0px -70% 0px" });
document.querySelectorAll("section").forEach((each) => observer.observe(each));
