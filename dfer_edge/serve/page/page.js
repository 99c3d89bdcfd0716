"use strict";
// Frames go out by WebSocket, at most two under way; observations come back and are drawn over the picture.

const $ = (id) => document.getElementById(id);
// What moves in each of the action units.
const UNITS = {
  AU1: "inner brow up", AU2: "outer brow up", AU4: "brows down", AU5: "lids up", AU6: "cheeks up", AU9: "nose wrinkled",
  AU10: "upper lip up", AU12: "lip corners up", AU17: "chin up", AU20: "lips wide", AU26: "jaw down", AU43: "eyes shut",
};
const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#7fa8ff", "#dcdcdc"];
// Beyond the palette hues that lie apart, by the golden angle.
const colourOf = (id) => PALETTE[id] || `hsl(${((id * 0.618034) % 1) * 360} 70% 70%)`;
const LONGEST = 640, UNDER_WAY = 2, SECONDS = 30;

const state = { socket: null, stream: null, sent: new Map(), number: 0, people: new Map(), faces: [], answered: [], key: "" };
const grab = document.createElement("canvas");

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

async function begin() {
  const health = await fetch("/healthz").then((answer) => answer.json());
  $("locked").hidden = !health.key;
  await describe();
}

async function describe() {
  const headers = state.key ? { "X-API-Key": state.key } : {};
  const answer = await fetch("/v1/models", { headers });
  if (answer.status === 401) { say("This server asks for its API key."); return false; }
  const info = await answer.json();
  const note = /random/.test(info.weights.name) ? ", random weights: labels are meaningless" : "";
  $("model").textContent = `${info.model} on ${info.engine}, ${info.precision}${note}`;
  say("");
  return true;
}

function connect() {
  return new Promise((resolve, reject) => {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/stream`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (state.key) socket.send(JSON.stringify({ key: state.key }));
      resolve(socket);
    };
    socket.onmessage = (message) => take(JSON.parse(message.data));
    socket.onerror = () => reject(new Error("the server cannot be reached"));
    socket.onclose = (event) => {
      if (state.socket === socket) stop(event.reason ? `Ended: ${event.reason}.` : "The server closed the stream.", true);
    };
  });
}

async function start(prepare) {
  stop("");
  say("Starting …");
  try {
    await prepare($("video"));
    state.socket = await connect();
  } catch (error) {
    stop(error.name === "NotAllowedError" ? "The camera was not allowed." :
      error.name === "NotFoundError" ? "There is no camera." : `It did not start: ${error.message}.`, true);
    return;
  }
  state.number = 0;
  $("stop").disabled = false;
  $("empty").hidden = true;
  say("Running.");
  next();
}

function stop(text = "Stopped.", bad = false) {
  const { socket, stream } = state;
  state.socket = state.stream = null;
  if (socket) socket.close();
  if (stream) stream.getTracks().forEach((track) => track.stop());
  const video = $("video");
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.srcObject = null;
  state.sent.clear();
  state.people.clear();
  state.faces = [];
  state.answered = [];
  $("cards").replaceChildren();
  $("nobody").hidden = false;
  $("stop").disabled = true;
  $("empty").hidden = false;
  draw();
  say(text, bad);
}

async function useCamera(video) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" } });
  state.stream = stream;
  video.srcObject = stream;
  await video.play();
}

function useFile(file) {
  return async (video) => {
    video.src = URL.createObjectURL(file);
    video.loop = false;
    video.onended = () => { if (state.socket) setTimeout(() => say("The video ended."), 300); };
    await video.play();
  };
}

function next() {
  const video = $("video"), socket = state.socket;
  if (!socket || socket.readyState !== WebSocket.OPEN) return;
  const again = () => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next));
  if (video.readyState < 2 || video.ended || state.sent.size >= UNDER_WAY) {
    setTimeout(next, 15);
    return;
  }
  const scale = Math.min(1, LONGEST / Math.max(video.videoWidth, video.videoHeight));
  grab.width = Math.round(video.videoWidth * scale);
  grab.height = Math.round(video.videoHeight * scale);
  grab.getContext("2d").drawImage(video, 0, 0, grab.width, grab.height);
  const taken = performance.now(), size = [grab.width, grab.height];
  state.sent.set(state.number, { taken, size });
  const number = state.number++;
  grab.toBlob(async (blob) => {
    if (state.socket !== socket || !blob) { state.sent.delete(number); return; }
    socket.send(await blob.arrayBuffer());
  }, "image/jpeg", 0.85);
  again();
}

function take(answer) {
  if (answer.error) {
    say(answer.error, true);
    state.sent.delete(answer.frame);
    return;
  }
  const sent = state.sent.get(answer.frame), now = performance.now();
  for (const number of [...state.sent.keys()]) if (number <= answer.frame) state.sent.delete(number);
  if (!sent) return;
  state.answered.push({ at: now, latency: now - sent.taken });
  state.answered = state.answered.filter((one) => now - one.at < 2000);
  const sorted = state.answered.map((one) => one.latency).sort((a, b) => a - b);
  $("latency").textContent = `${Math.round(sorted[Math.floor(sorted.length / 2)])} ms`;
  const span = Math.max(0.5, Math.min(2, (now - state.answered[0].at) / 1000));
  $("rate").textContent = (state.answered.length / span).toFixed(1);
  $("dropped").textContent = answer.dropped;
  state.faces = answer.observations.filter((one) => one.track_id >= 0).map((one) => ({ ...one, size: sent.size }));
  for (const one of state.faces) remember(one, now);
  for (const [id, person] of state.people) {
    if (now - person.last > 3000) forget(id, person);
    else person.card.classList.toggle("gone", person.last < now);
  }
  $("nobody").hidden = state.people.size > 0;
  draw();
}

function remember(one, now) {
  let person = state.people.get(one.track_id);
  if (!person) {
    const card = $("card").content.firstElementChild.cloneNode(true);
    person = { card, rows: [], label: "", events: [] };
    const chip = card.querySelector(".chip");
    chip.textContent = `#${one.track_id}`;
    chip.style.background = colourOf(one.track_id);
    for (const label of one.prediction.labels) card.querySelector(".bars").append(bar(label));
    state.people.set(one.track_id, person);
    const after = [...state.people].filter(([id]) => id > one.track_id).sort((a, b) => a[0] - b[0])[0];
    $("cards").insertBefore(card, after ? after[1].card : null);
  }
  person.last = now;
  person.rows.push({ at: now, values: one.prediction.probabilities });
  while (person.rows[0].at < now - SECONDS * 1000) person.rows.shift();
  const { label, confidence, probabilities, labels } = one.prediction;
  const before = person.label;
  if (label !== before) {
    $("spoken").textContent = `Person ${one.track_id}: ${label}`;
    person.label = label;
  }
  if (one.event) person.events = [`${one.event} of ${one.event === "offset" ? before : label}`, ...person.events].slice(0, 3);
  const { card } = person;
  card.querySelector(".label").textContent = label;
  card.querySelector(".confidence").textContent = confidence.toFixed(2);
  card.querySelector(".events").textContent = person.events.join(" · ");
  [...card.querySelectorAll(".bars li")].forEach((row, k) => fill(row, probabilities[k], labels[k] === label));
  signals(card, one.signals || one.prediction.signals);
  timeline(card.querySelector(".timeline"), person, labels, now);
}

function bar(label) {
  const row = document.createElement("li");
  const name = document.createElement("span"), track = document.createElement("span"), value = document.createElement("span");
  name.textContent = label;
  track.className = "track";
  track.append(Object.assign(document.createElement("div"), { className: "fill" }));
  value.className = "value";
  row.append(name, track, value);
  return row;
}

function fill(row, value, said) {
  row.querySelector(".fill").style.width = `${Math.round(100 * value)}%`;
  row.querySelector(".value").textContent = value.toFixed(2);
  row.classList.toggle("said", said);
}

function signals(card, found) {
  const units = found && (found.action_units || found.units);
  if (!units) return;
  const list = card.querySelector(".signals ul");
  card.querySelector(".signals").hidden = false;
  const entries = Object.entries(units);
  for (const [name] of entries.slice(list.children.length)) list.append(Object.assign(bar(UNITS[name] || name), { title: name }));
  const signed = (value) => (value < -0.005 ? "−" : "") + Math.abs(value).toFixed(2);
  const affect = ["intensity", "valence", "arousal"].filter((name) => typeof found[name] === "number");
  card.querySelector(".affect").textContent = affect.map((name) => `${name} ${signed(found[name])}`).join(" · ");
  entries.forEach(([, value], k) => fill(list.children[k], value, false));
}

function forget(id, person) {
  person.card.remove();
  state.people.delete(id);
}

function timeline(canvas, person, labels, now) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(document.body), soft = style.getPropertyValue("--soft"), line = style.getPropertyValue("--line");
  const x = (at) => width - ((now - at) / (SECONDS * 1000)) * width, y = (value) => 4 + (1 - value) * (height - 18);
  pen.strokeStyle = line;
  for (const value of [0, 0.5, 1]) { pen.beginPath(); pen.moveTo(0, y(value)); pen.lineTo(width, y(value)); pen.stroke(); }
  pen.fillStyle = soft;
  pen.font = "11px system-ui, sans-serif";
  pen.fillText(`${SECONDS} s ago`, 0, height - 2);
  pen.textAlign = "right";
  pen.fillText("now", width, height - 2);
  pen.lineJoin = "round";
  labels.forEach((label, k) => {
    const said = label === person.label;
    pen.strokeStyle = said ? style.getPropertyValue("--accent") : soft;
    pen.globalAlpha = said ? 1 : 0.35;
    pen.lineWidth = said ? 2.5 : 1;
    pen.beginPath();
    person.rows.forEach((row, n) => (n ? pen.lineTo(x(row.at), y(row.values[k])) : pen.moveTo(x(row.at), y(row.values[k]))));
    pen.stroke();
  });
  pen.globalAlpha = 1;
  canvas.setAttribute("aria-label", `Probabilities of the last ${SECONDS} seconds; now ${person.label}`);
}

function draw() {
  const canvas = $("boxes"), video = $("video"), ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  if (!video.videoWidth) return;
  const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
  const offset = [(width - video.videoWidth * scale) / 2, (height - video.videoHeight * scale) / 2];
  const boxes = state.faces.map((one) => {
    const zoom = (scale * video.videoWidth) / one.size[0];
    return one.box.map((edge, k) => edge * zoom + offset[k % 2]);
  });
  pen.font = "600 14px system-ui, sans-serif";
  const taken = [...boxes];
  state.faces.forEach((one, n) => {
    const [left, top, right, bottom] = boxes[n], colour = colourOf(one.track_id);
    pen.strokeStyle = colour;
    pen.lineWidth = 2.5;
    pen.strokeRect(left, top, right - left, bottom - top);
    const text = `#${one.track_id} ${one.prediction.label} ${one.prediction.confidence.toFixed(2)}`;
    const wide = pen.measureText(text).width + 10, high = 20;
    const x = Math.max(0, Math.min(left, width - wide));
    const places = [[x, top - high - 3], [x, bottom + 3], [right + 3, top], [left - wide - 3, top]];
    const free = places.find(([a, b]) => a >= 0 && b >= 0 && a + wide <= width && b + high <= height &&
      !taken.some((t) => a < t[2] && t[0] < a + wide && b < t[3] && t[1] < b + high));
    if (!free) return;
    taken.push([free[0], free[1], free[0] + wide, free[1] + high]);
    pen.fillStyle = colour;
    pen.fillRect(free[0], free[1], wide, high);
    pen.fillStyle = "#111";
    pen.fillText(text, free[0] + 5, free[1] + 15);
  });
}

$("camera").onclick = () => start(useCamera);
$("choose").onclick = () => $("file").click();
$("file").onchange = () => { const [file] = $("file").files; if (file) start(useFile(file)); $("file").value = ""; };
$("stop").onclick = () => stop();
$("locked").onsubmit = async (event) => {
  event.preventDefault();
  state.key = $("key").value;
  if (await describe()) { $("locked").hidden = true; $("camera").focus(); }
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input")) return;
  const button = { c: "camera", f: "choose", s: "stop" }[event.key.toLowerCase()];
  if (button && !$(button).disabled) { event.preventDefault(); $(button).click(); }
});
addEventListener("resize", draw);
begin().catch(() => say("The server cannot be reached.", true));
