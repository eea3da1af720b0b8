// What the page does: send a picture, show what comes back; read a stream of words; say which processes did the work.

const $ = (id) => document.getElementById(id);

// ---- The strip: HTTP worker -> dirty worker -------------------------------------------------------------------------

function show(route, { http, dirty, measure, busy }) {
  const row = $(route);
  if (http) row.querySelector(".http").textContent = http;
  if (dirty) row.querySelector(".dirty").textContent = dirty;
  if (measure) row.querySelector(".measure").textContent = measure;
  if (busy !== undefined) row.classList.toggle("busy", busy);
}

function problem(id, message) {
  $(id).textContent = message ?? "";
  $(id).hidden = !message;
}

/** The JSON of an answer; an Error with a message for the visitor when it is a refusal or no answer at all. */
async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error ?? `The server answered ${response.status} ${response.statusText}.`);
}

// ---- The picture ----------------------------------------------------------------------------------------------------

let maxUpload = Infinity; // bytes; the server says how much it takes, and checks it too

async function develop(file) {
  if (file.size > maxUpload) return problem("picture-problem", `This picture has ${weight(file.size)}, the most is ${weight(maxUpload)}.`);
  problem("picture-problem");
  show("picture-route", { measure: "working…", busy: true });
  try {
    const answer = await (await ask("/picture", { method: "POST", body: file })).json();
    showPicture(answer, file);
    show("picture-route", { http: answer.http, dirty: answer.pid, measure: `${answer.milliseconds} ms` });
  } catch (error) {
    problem("picture-problem", error.message);
    show("picture-route", { measure: "ready" });
  } finally {
    show("picture-route", { busy: false });
  }
}

async function drawSample() {
  problem("picture-problem");
  show("picture-route", { measure: "drawing…", busy: true });
  try {
    const drawn = await (await ask("/sample.jpg")).blob();
    await develop(new File([drawn], "landscape.jpg", { type: "image/jpeg" }));
  } catch (error) {
    problem("picture-problem", error.message);
    show("picture-route", { measure: "ready", busy: false });
  }
}

function showPicture({ original, sizes, colours }, file) {
  $("large").src = sizes[0].url;
  $("large").alt = `Your picture, ${file.name}`;
  $("original").textContent =
    `${file.name} · ${original.format} · ${original.width} × ${original.height} · ${weight(file.size)}`;
  $("sizes").replaceChildren(...sizes.map((size) => sizeItem(size, file.name)));
  $("colours").replaceChildren(...colours.map(colourItem));
  const vivid = colours.map(({ hex }) => hex).sort((one, other) => vividness(other) - vividness(one));
  ["--one", "--two", "--three"].forEach((name, index) => {
    document.documentElement.style.setProperty(name, vivid[index % vivid.length]); // the page takes on the picture's colours
  });
  $("developed").hidden = false;
}

function sizeItem(size, fileName) {
  const link = element("a", { href: size.url, download: `${fileName.replace(/\.\w+$/, "")}-${size.width}.jpg` });
  // Shown small, yet the larger the larger; the link has the whole.
  const longer = Math.max(size.width, size.height);
  const shown = Math.min(longer, 4 * Math.sqrt(longer)) / longer;
  link.append(
    element("img", { src: size.url, alt: "", width: Math.round(size.width * shown), height: Math.round(size.height * shown) }),
    element("b", { textContent: size.name }),
    `${size.width} × ${size.height}`,
    element("br"),
    weight(size.bytes),
  );
  const item = element("li");
  item.append(link);
  return item;
}

function colourItem({ hex, share }) {
  const percent = `${Math.max(1, Math.round(share * 100))} %`;
  const button = element("button", { type: "button", textContent: hex.slice(1), title: `${hex}, ${percent}. Click to copy.` });
  button.setAttribute("aria-label", `Copy ${hex}, ${percent} of the picture`);
  button.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(hex);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = hex.slice(1)), 900);
  });
  const item = element("li");
  item.style.setProperty("--share", share);
  item.style.setProperty("--colour", hex);
  item.style.setProperty("--on", brightness(hex) > 0.45 ? "#111" : "#fff");
  item.append(button);
  return item;
}

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
const vividness = (hex) => Math.max(...channels(hex)) - Math.min(...channels(hex));
const brightness = (hex) => [0.3, 0.59, 0.11].reduce((sum, part, index) => sum + part * channels(hex)[index], 0);

const weight = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);

$("file").addEventListener("change", () => {
  if ($("file").files[0]) develop($("file").files[0]);
  $("file").value = ""; // so that the same file can be chosen again
});
$("sample").addEventListener("click", drawSample);
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) develop(event.dataTransfer.files[0]);
  });
}

// ---- The text: one server-sent event per word -----------------------------------------------------------------------

let stream = null;

function tell(opening) {
  problem("story-problem");
  $("story").replaceChildren();
  let words = 0;
  stream = new EventSource(`/story?opening=${encodeURIComponent(opening)}`);
  telling(true);
  show("story-route", { measure: "waiting…" });

  stream.addEventListener("word", ({ data }) => {
    const { http, pid, word } = JSON.parse(data);
    words += 1;
    $("story").append(element("span", { textContent: word }), " ");
    show("story-route", { http, dirty: pid, measure: `${words} words` });
  });
  stream.addEventListener("refused", ({ data }) => {
    problem("story-problem", JSON.parse(data).refused);
    stopTelling();
  });
  stream.addEventListener("end", stopTelling);
  stream.addEventListener("error", () => {
    problem("story-problem", "The text broke off: the server does not answer.");
    stopTelling(); // EventSource would connect again by itself and begin another text
  });
}

/** Closing the connection is all it takes: the server closes the stream, and the dirty worker stops writing. */
function stopTelling() {
  stream?.close();
  stream = null;
  telling(false);
}

function telling(busy) {
  show("story-route", { busy });
  $("story").classList.toggle("busy", busy);
  $("story").setAttribute("aria-busy", busy); // a screen reader reads it when it is whole
  $("tell").textContent = busy ? "Stop" : "Write";
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (stream) stopTelling();
  else tell($("opening").value.trim());
});

// ---- At first: who is here? -----------------------------------------------------------------------------------------

try {
  const here = await (await ask("/processes")).json();
  $("front").textContent = here.front;
  maxUpload = here.max_upload;
  show("picture-route", { http: here.http, dirty: here.pictures });
  show("story-route", { http: here.http, dirty: here.story });
} catch (error) {
  problem("picture-problem", error.message);
}
