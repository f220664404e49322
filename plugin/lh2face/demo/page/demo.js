// Sends two photos to the server on this machine, and shows its answers on the page.

const one = (selector, within = document) => within.querySelector(selector);
const about = await (await fetch("about")).json();
const slots = [...document.querySelectorAll(".photo")].map((section) => ({ section }));

async function ask(path, body) {
  const json = typeof body === "string";
  const type = json ? "application/json" : "application/octet-stream";
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body, headers: { "Content-Type": type } });
  } catch {
    throw new Error("the server does not answer; is lh2face demo still running?");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function say(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

// Takes a photo, or a drawn face, which is already aligned.
async function take(slot, file, aligned = !about.detector) {
  const { section } = slot;
  const turn = (slot.turn = (slot.turn ?? 0) + 1); // if a later photo was chosen meanwhile, that one counts
  Object.assign(slot, { file, crop: null });
  URL.revokeObjectURL(one(".preview", section).src);
  one(".preview", section).src = URL.createObjectURL(file);
  one(".shown", section).hidden = false;
  one(".box", section).hidden = one(".as-is", section).hidden = one(".found", section).hidden = true;
  one(".ask b", section).textContent = "Another photo";
  one(".or", section).hidden = true;
  say(one(".error", section), "");
  one(".notes", section).textContent = one(".kappa", section).textContent = "";
  one(".drop", section).classList.add("busy");
  await compare();
  let found, problem;
  try {
    if (file.size > about.most_bytes) {
      throw new Error(`a photo has at most ${about.most_bytes / 2 ** 20} MiB`);
    }
    found = await ask(`face?aligned=${Number(aligned)}`, file);
  } catch (error) {
    problem = error.message;
  }
  if (turn !== slot.turn) return;
  one(".drop", section).classList.remove("busy");
  if (problem) {
    say(one(".error", section), problem);
    one(".as-is", section).hidden = aligned || !problem.includes("no face");
    return;
  }
  slot.crop = found.crop;
  one(".crop", section).src = found.crop;
  one(".found", section).hidden = false;
  one(".notes", section).textContent = found.notes.join(". ");
  const box = one(".box", section);
  box.hidden = !found.box;
  ["left", "top", "width", "height"].forEach((side, i) => {
    box.style[side] = found.box ? `${100 * found.box[i]}%` : "";
  });
  one(".turning", section).hidden = !found.turned;
  if (found.turned) {
    one(".turn", section).style.backgroundImage = `url(${found.turned})`;
    one("#slider").hidden = false;
    turnFaces();
  }
  await compare();
}

// Shows the score if there are two faces.
async function compare() {
  const [first, second] = slots.map((slot) => slot.crop);
  const result = one("#result");
  say(one("#error"), "");
  say(one("#refusal"), "");
  one("#doubts").replaceChildren();
  one("#numbers").textContent = "";
  one("#scale").hidden = true;
  delete result.dataset.score;
  if (!first || !second) {
    one("#verdict").textContent = first || second ? "One more photo, please" : "Two photos, please";
    return;
  }
  let found;
  try {
    found = await ask("score", JSON.stringify({ first, second }));
  } catch (error) {
    one("#verdict").textContent = "No score";
    say(one("#error"), error.message);
    return;
  }
  if (slots[0].crop !== first || slots[1].crop !== second) return;
  result.dataset.score = found.score;
  one("#verdict").textContent = about.refusal ? "No verdict, only a score" : capital(found.verdict);
  say(one("#refusal"), about.refusal && `${capital(about.refusal)}.`);
  const limit = about.threshold === null ? "no threshold" : `threshold ${about.threshold.toFixed(4)}, ${about.origin}`;
  one("#numbers").textContent = `Score ${found.score.toFixed(4)}, ${limit}.`;
  showScale(found.score);
  one("#doubts").replaceChildren(...found.doubts.map((doubt) => {
    const item = document.createElement("li");
    item.textContent = `${capital(doubt)}.`;
    return item;
  }));
  found.kappa.forEach((kappa, i) => {
    const place = one(".kappa", slots[i].section);
    const value = document.createElement("b");
    value.textContent = `κ ${kappa.value.toFixed(2)}`;
    const usual = kappa.usual && ` (${kappa.usual})`;
    place.replaceChildren(value, usual + (kappa.low ? ": low, a poor photo; the score may mislead" : ""));
    place.classList.toggle("low", kappa.low);
  });
}

function showScale(score) {
  const at = (value) => `${50 * (1 + Math.max(-1, Math.min(1, value)))}%`;
  one("#scale").hidden = false;
  one("#scale").setAttribute("aria-label", `score ${score.toFixed(4)} between −1 and 1`);
  one("#dot").style.left = at(score);
  one("#mark").hidden = about.threshold === null;
  one("#mark").style.left = at(about.threshold ?? 0);
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function turnFaces() {
  const at = Number(one("#yaw").value);
  const last = about.angles.length - 1;
  const degrees = `${about.angles[at] > 0 ? "+" : ""}${about.angles[at]}°`.replace("-", "−");
  one("#yaw").setAttribute("aria-valuetext", degrees);
  for (const { section } of slots) {
    const face = one(".turn", section);
    face.style.backgroundSize = `${100 * (last + 1)}% 100%`;
    face.style.backgroundPosition = `${(100 * at) / last}% 0`;
    face.setAttribute("aria-label", `the canonical face turned by ${degrees}`);
    one(".angle", section).textContent = degrees;
  }
}

for (const slot of slots) {
  const { section } = slot;
  const drop = one(".drop", section);
  const input = one("input", drop);
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = ""; // so that the same file can be chosen again
    if (file) take(slot, file);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    section.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
    });
  }
  section.addEventListener("drop", (event) => {
    // Two files dropped together are the first and the second photo.
    const files = [...event.dataTransfer.files];
    const from = files.length > 1 ? slots : [slot];
    from.forEach((to, i) => files[i] && take(to, files[i]));
  });
  one(".preview", section).addEventListener("error", () => { one(".shown", section).hidden = true; });
  one(".as-is", section).addEventListener("click", () => take(slot, slot.file, true));
}
// A browser would show a photo dropped elsewhere in place of the page.
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => event.preventDefault());
}

for (const button of document.querySelectorAll("#examples button")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { faces } = await ask(`example?same=${button.dataset.same}`, new Blob());
      const files = await Promise.all(faces.map(async (face) => {
        const content = Uint8Array.from(atob(face.split(",")[1]), (c) => c.charCodeAt(0));
        return new Blob([content], { type: "image/png" });
      }));
      await Promise.all(files.map((file, i) => take(slots[i], file, true)));
      for (const { section } of slots) one(".notes", section).textContent = `drawn: ${button.textContent}`;
    } catch (error) {
      say(one("#error"), error.message);
    }
    button.disabled = false;
  });
}

const slider = one("#yaw");
Object.assign(slider, { min: 0, max: about.angles.length - 1, step: 1 });
slider.value = Math.floor(about.angles.length / 2);
slider.addEventListener("input", turnFaces);
const lacks = [
  about.detector ? "" : "There is no detector (pip install \"lh2face[detect]\"): choose aligned faces, which are square.",
  about.reconstructor ? "" : "Turned faces need --reconstructor.",
];
say(one("#lacks"), lacks.filter(Boolean).join(" "));
document.body.dataset.ready = "";
