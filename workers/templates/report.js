(() => {
  const films = [...document.querySelectorAll("video")];
  const button = document.getElementById("pause");
  if (!button) return;
  let stopped = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const visible = new Set();
  const settle = (film) => {
    if (stopped || !visible.has(film)) film.pause();
    else film.play().catch(() => { film.controls = true; });
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target); else visible.delete(target);
      settle(target);
    }
  });
  const show = () => { button.textContent = stopped ? "Play all" : "Pause all"; films.forEach(settle); };
  films.forEach((film) => {
    watcher.observe(film);
    film.addEventListener("click", () => { film.controls = true; });
  });
  button.addEventListener("click", () => { stopped = !stopped; show(); });
  button.hidden = false;
  show();
})();
