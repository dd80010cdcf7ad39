// The voting page: two films in step, one choice, the next pair at once. It talks to ui/vote/routes.py, which decides
// what counts; nothing here is trusted. Mounted once: Streamlit calls the default export again at every rerun.

const STORED = "dreamarena.voter";
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "tie", ArrowDown: "both_bad", s: "skip", S: "skip" };
const DRIFT = 0.06; // seconds that the two films may be apart before the right one is set to the left one
const RETRIES = [400, 1200, 3000]; // milliseconds
const NAMES = { left: "the left one", right: "the right one", tie: "equally good", both_bad: "both bad" };

export default function (component) {
  const root = component.parentElement;
  if (root.arena) return;
  root.arena = new Arena(root, component.data || {});
  root.arena.enter();
  return () => root.arena.leave();
}

class Arena {
  constructor(root, data) {
    this.data = data;
    this.find = (selector) => root.querySelector(selector);
    this.all = (selector) => [...root.querySelectorAll(selector)];
    this.base = new URL(data.base || ".", document.baseURI);
    this.pairs = [];
    this.lessons = [];
    this.ready = false;
    this.fetched = new Map();
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
    this.all("[data-choice]").forEach((button) => {
      button.onclick = () => this.choose(button.dataset.choice);
    });
    this.all("[data-share]").forEach((input) => {
      input.oninput = () => {
        input.dataset.said = "yes";
        this.find(`.${input.dataset.share}-share`).textContent = `${input.value}%`;
      };
    });
    this.ticker = setInterval(() => this.keepInStep(), 200);
  }

  leave() {
    document.removeEventListener("keydown", this.onKey);
    clearInterval(this.ticker);
  }

  // ---- talking to the server

  async post(path, body = {}) {
    const headers = { "Content-Type": "application/json" };
    if (this.credential) headers.Authorization = `Bearer ${this.credential}`;
    for (let attempt = 0; ; attempt++) {
      try {
        const answer = await fetch(new URL(`vote/${path}`, this.base), {
          method: "POST",
          headers,
          body: JSON.stringify(body),
        });
        const said = await answer.json();
        if (answer.status < 500) return { status: answer.status, ...said };
      } catch (error) {
        if (attempt >= RETRIES.length) throw error;
      }
      if (attempt >= RETRIES.length) throw new Error("the server does not answer");
      await new Promise((done) => setTimeout(done, RETRIES[attempt]));
    }
  }

  async enter() {
    const credential = this.data.credential || this.remembered();
    const said = await this.post("enter", { credential, parameters: this.data.parameters }).catch((error) => ({
      message: error.message,
      refused: "unreachable",
    }));
    if (said.refused) return this.tell(said.message, true);
    this.credential = said.credential;
    this.remember(said.credential);
    this.lessons = said.lessons;
    this.take(said);
    this.find(".arena").hidden = false;
    this.next();
  }

  // A private window may have no storage: then every visit is a new voter's.
  remembered() {
    try {
      return localStorage.getItem(STORED);
    } catch {
      return null;
    }
  }

  remember(credential) {
    try {
      localStorage.setItem(STORED, credential);
    } catch {}
  }

  take(said) {
    this.pairs = said.pairs;
    const many = said.votes === 1 ? "vote" : "votes";
    const owed = said.completion ? ` of ${said.completion.needed}` : "";
    this.find(".count").textContent = `${said.votes}${owed} ${many}`;
    const done = this.find(".done");
    const link = said.completion && said.completion.link;
    done.hidden = !link;
    if (link) done.href = link;
    this.pairs.forEach((pair) => [...pair.left, ...pair.right].forEach((film) => this.fetchFilm(film)));
    const kept = new Set(this.pairs.flatMap((pair) => [...pair.left, ...pair.right]));
    if (this.shown) [...this.shown.left, ...this.shown.right].forEach((film) => kept.add(film));
    for (const [film, promise] of this.fetched) {
      if (kept.has(film)) continue;
      this.fetched.delete(film);
      promise.then((url) => URL.revokeObjectURL(url)).catch(() => {});
    }
  }

  // Films are fetched whole and ahead, so that both sides start together, and at once.
  fetchFilm(film) {
    if (!this.fetched.has(film)) {
      const promise = fetch(new URL(film, this.base)).then(async (answer) => {
        if (!answer.ok) throw new Error("a film could not be fetched");
        return URL.createObjectURL(await answer.blob());
      });
      promise.catch(() => this.fetched.delete(film));
      this.fetched.set(film, promise);
    }
    return this.fetched.get(film);
  }

  // ---- what is shown

  get lesson() {
    return this.lessons[0];
  }

  async next() {
    const pair = this.lesson || this.pairs[0];
    this.shown = pair;
    this.ready = false;
    this.lock();
    this.all(".side").forEach((side) => side.classList.remove("chosen"));
    this.clearSaid();
    if (!pair) {
      this.find(".arena").hidden = true;
      return this.tell("You have seen everything that there is to compare. Thank you! Come back when there is more.");
    }
    this.find(".arena").hidden = false;
    this.find(".instruction").textContent = pair.instruction;
    if (this.lesson && !this.told) this.tell("First, two pairs to learn how it goes. Which one did what it was told?");
    try {
      await Promise.all(["left", "right"].map((side) => this.load(side, pair)));
    } catch (error) {
      return this.tell(`${error.message}: reload the page`, true);
    }
    if (this.shown !== pair) return;
    this.videos().forEach((video) => {
      video.currentTime = 0;
      video.play().catch(() => {});
    });
    this.wait(pair);
  }

  async load(side, pair) {
    const stack = this.find(`[data-side=${side}] .stack`);
    const urls = await Promise.all(pair[side].map((film) => this.fetchFilm(film)));
    if (this.shown !== pair) return;
    const videos = urls.map((url) => {
      const video = document.createElement("video");
      Object.assign(video, { muted: true, loop: true, playsInline: true, preload: "auto", src: url });
      video.setAttribute("aria-label", `${side} film`);
      return video;
    });
    stack.replaceChildren(...videos);
    await Promise.all(
      videos.map((video) => new Promise((done, failed) => {
        video.onloadeddata = done;
        video.onerror = () => failed(new Error("a film cannot be played"));
      })),
    );
  }

  videos() {
    return this.all("video");
  }

  keepInStep() {
    const [first, ...others] = this.videos();
    if (!first || first.paused) return;
    others.forEach((video) => {
      const length = Math.min(first.duration, video.duration) || 1;
      const apart = Math.abs(video.currentTime - first.currentTime);
      if (Math.min(apart, length - apart) > DRIFT) video.currentTime = Math.min(first.currentTime, video.duration);
    });
  }

  wait(pair) {
    const milliseconds = 1000 * (this.lesson ? 1 : pair.watch) + 150;
    const bar = this.find(".watch i");
    bar.style.transitionDuration = "0s";
    bar.style.width = "0";
    requestAnimationFrame(() => requestAnimationFrame(() => {
      bar.style.transitionDuration = `${milliseconds}ms`;
      bar.style.width = "100%";
    }));
    setTimeout(() => {
      if (this.shown !== pair) return;
      this.ready = true;
      this.lock();
    }, milliseconds);
  }

  lock() {
    this.all("[data-choice]").forEach((button) => {
      button.disabled = !this.ready || (button.dataset.choice === "skip" && Boolean(this.lesson));
    });
  }

  tell(text, bad = false) {
    const told = this.find(".told");
    told.textContent = text;
    told.classList.toggle("bad", bad);
  }

  // ---- choosing

  key(event) {
    const typing = event.composedPath().some((element) => element.matches && element.matches("input, textarea, select"));
    const choice = KEYS[event.key];
    if (!choice || typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    event.preventDefault();
    this.choose(choice);
  }

  said() {
    const share = (side) => {
      const input = this.find(`[data-share=${side}]`);
      return input.dataset.said ? Number(input.value) / 100 : null;
    };
    return { left_success: share("left"), right_success: share("right"), reason: this.find("[data-reason]").value };
  }

  clearSaid() {
    this.all("[data-share]").forEach((input) => {
      input.value = 0;
      delete input.dataset.said;
      this.find(`.${input.dataset.share}-share`).textContent = "–";
    });
    this.find("[data-reason]").value = "";
  }

  async choose(choice) {
    if (!this.ready) return;
    const pair = this.shown;
    const ballot = { token: pair.token, choice, ...this.said() };
    this.ready = false; // a second click, or key, says nothing
    if (this.lesson) return this.learn(choice);
    this.pairs = this.pairs.filter((each) => each !== pair);
    this.next();
    const path = choice === "skip" ? "skip" : "cast";
    const answer = await this.post(path, ballot).catch((error) => ({ refused: "unreachable", message: error.message }));
    if (answer.refused) return this.refused(answer);
    this.settle(answer);
    if (answer.receipt) this.reveal(choice, answer.receipt);
    else this.tell("Skipped.");
  }

  // The pair that is already shown stays; the others are what the server says now.
  settle(answer) {
    const shown = this.shown && answer.pairs.find((pair) => pair.offer === this.shown.offer);
    this.take(answer);
    if (shown) this.shown.token = shown.token;
    if (shown) this.pairs = this.pairs.map((pair) => (pair === shown ? this.shown : pair));
    if (!this.shown && this.pairs.length) this.next();
  }

  async refused(answer) {
    this.tell(answer.refused === "token_spent" ? "That one was counted already." : answer.message, true);
    if (answer.refused === "unreachable") return;
    const now = await this.post("pairs").catch(() => null);
    if (!now || now.refused) return;
    this.take(now);
    this.next();
  }

  reveal(choice, receipt) {
    const told = this.find(".told");
    told.classList.remove("bad");
    const b = (text) => Object.assign(document.createElement("b"), { textContent: text });
    const known = { true: " That was the known answer.", false: " Most people see that one differently." };
    told.replaceChildren(
      `Stored: ${NAMES[choice]}. Left was `, b(receipt.left), ", right was ", b(receipt.right), ".",
      known[receipt.right_answer] || "",
    );
  }

  async learn(choice) {
    const lesson = this.lesson;
    this.told = true;
    if (choice !== lesson.answer) {
      this.tell(`Look again. ${lesson.why}`, true);
      this.ready = true;
      return;
    }
    this.lessons.shift();
    if (this.lesson) {
      this.tell(`Right! ${lesson.why} One more.`);
      return this.next();
    }
    const answer = await this.post("tutored").catch(() => null);
    this.tell(`Right! ${lesson.why} Now the real ones: keys or buttons, as you like.`);
    if (answer && !answer.refused) this.take(answer);
    this.next();
  }
}
