// The live page. It reads /v1/agents, /v1/incidents and /readyz every few seconds and whenever an event of
// /v1/events says that something changed; it keeps nothing but what it shows.
//
// Names, tasks and output come from agents and may be hostile: they are only ever set as text.

const REFRESH_MS = 5000;
const ROWS_MAX = 200;
const EVENTS_MAX = 50;
const SILENT_MS = 40000; // The monitor sends something every 15 s.
const STATES = ["failed", "stalled", "missing", "starting", "healthy", "stopped"];
const NEED_HELP = ["failed", "stalled", "missing"];

const view = { agents: [], counts: {}, incidents: [], events: [], ready: null, asOf: 0, offset: 0, error: "" };
let token = ""; // In memory only.
let filterState = "";
let lastEventId = "";
let isLive = false;

// ---- Small tools -----------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

// el("a", {href: "#"}, "text", child): properties are set as properties, children that are no nodes as text.
function el(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const now = () => Date.now() + view.offset; // The monitor's clock.
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
const plural = (n, word) => `${n.toLocaleString()} ${word}${n === 1 ? "" : "s"}`;

function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
}

// An element that counts on by itself: up from a moment, or down to it.
function ticking(at, kind = "since", className = "") {
  const node = el("span", { className, title: new Date(at).toLocaleString() });
  node.dataset[kind] = at;
  tick(node);
  return node;
}
function tick(node) {
  const { since, until } = node.dataset;
  node.textContent = since ? age(now() - since) : `in ${age(until - now())}`;
}

function stateMark(state) {
  return el("span", { className: `state ${state}` }, el("span", { className: "shape" }), state);
}

// Puts `items` under `parent`, keeping the elements of those that stay, so that focus and selection do too.
function patch(parent, items, key, make) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = items.map((item) => {
    const node = old.get(String(key(item)));
    const text = JSON.stringify(item);
    if (node && node.dataset.item === text) return node;
    const fresh = make(item);
    fresh.dataset.key = key(item);
    fresh.dataset.item = text;
    return fresh;
  });
  if (nodes.length !== parent.children.length || nodes.some((node, i) => node !== parent.children[i])) {
    const focused = document.activeElement?.closest?.("[data-key]")?.dataset.key;
    parent.replaceChildren(...nodes);
    if (focused) nodes.find((node) => node.dataset.key === focused && parent.contains(node))?.querySelector("a, button")?.focus();
  }
}

// ---- Asking the monitor ----------------------------------------------------------------------------

function headers(more = {}) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function ask(path, body) {
  const options = body === undefined ? { headers: headers() } : {
    method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) };
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(10000) });
  if (response.status === 401) await askToken();
  const answer = await response.json();
  return { ok: response.ok, status: response.status, answer };
}

async function read(path) {
  const { ok, status, answer } = await ask(path);
  // Not being ready is an answer too.
  if (!ok && !(status === 503 && answer.reasons)) throw new Error(answer.error);
  return answer;
}

// Those in need first, however large the fleet; then as many of the others as a page can bear.
async function readAgents() {
  const q = encodeURIComponent($("filter").value.trim());
  const page = (state, limit) => read(`v1/agents?limit=${limit}&state=${state}&q=${q}`);
  const main = await page(filterState, ROWS_MAX);
  const found = new Map(main.agents.map((agent) => [agent.agentId, agent]));
  if (main.next && !filterState) {
    for (const state of NEED_HELP.filter((name) => main.counts[name] > 0)) {
      for (const agent of (await page(state, 100)).agents) found.set(agent.agentId, agent);
    }
  }
  const order = (agent) => STATES.indexOf(agent.state);
  main.agents = [...found.values()].sort((a, b) => order(a) - order(b) || (a.agentId < b.agentId ? -1 : 1));
  return main;
}

let isRefreshing = false;
let wantsAnother = false;
async function refresh() {
  if (isRefreshing) return void (wantsAnother = true);
  isRefreshing = true;
  try {
    const [agents, incidents, ready] = await Promise.all(
      [readAgents(), read("v1/incidents?state=open&limit=50"), read("readyz")]);
    incidents.incidents.sort((a, b) => a.acknowledged - b.acknowledged); // Stable: else newest first.
    Object.assign(view, { ...agents, incidents: incidents.incidents, ready, error: "" });
    view.offset = agents.asOf - Date.now();
    view.more = agents.next;
  } catch (error) {
    view.error = error.message || "no answer";
  }
  isRefreshing = false;
  render();
  if (wantsAnother) {
    wantsAnother = false;
    soon();
  }
}

let soonTimer = 0;
function soon() {
  if (!soonTimer) soonTimer = setTimeout(() => { soonTimer = 0; refresh(); }, 250);
}

// ---- Events ----------------------------------------------------------------------------------------

// fetch instead of EventSource: it can send the token.
async function follow() {
  const silence = new AbortController();
  let timer = 0;
  const heard = () => { clearTimeout(timer); timer = setTimeout(() => silence.abort(), SILENT_MS); };
  try {
    heard();
    const from = lastEventId ? { "Last-Event-ID": lastEventId } : {};
    const response = await fetch(`v1/events?last=${EVENTS_MAX}`, { headers: headers(from), signal: silence.signal });
    if (response.status === 401) await askToken();
    if (!response.ok) throw new Error(`answer ${response.status}`);
    setLive(true);
    soon();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) break;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach(takeEvent);
    }
  } catch { /* Whatever ended it: it is tried again. */ }
  clearTimeout(timer);
  setLive(false);
}

function takeEvent(block) {
  const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
  if (!field("data")) return;
  lastEventId = field("id");
  view.events = [JSON.parse(field("data")), ...view.events].slice(0, EVENTS_MAX);
  renderEvents();
  if (view.events[0].agentId === chosen() && $("detail").open) route();
  soon();
}

async function followForever() {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 15000)) {
    const began = Date.now();
    await follow();
    if (Date.now() - began > 20000) pause = 1000;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function setLive(value) {
  isLive = value;
  render();
}

// ---- Drawing ---------------------------------------------------------------------------------------

function render() {
  const isLost = view.error !== "" || (!isLive && view.asOf > 0);
  $("live").className = `live ${isLost ? "off" : isLive ? "on" : ""}`;
  $("live").textContent = isLost ? "connection lost, retrying" : isLive ? "live" : "connecting";
  document.body.classList.toggle("stale", view.error !== "" && view.asOf > 0);
  if (view.asOf) $("asof").replaceChildren("as of ", clock(view.asOf));
  renderBanners();
  if (!view.asOf) return;
  renderAnswer();
  renderIncidents();
  patch($("agents"), view.agents, (agent) => agent.agentId, agentRow);
  const shown = view.agents.length;
  $("more").textContent = view.more ? `${shown} shown, those in need first. Filter to see others.` :
    shown ? "" : $("filter").value || filterState ? "No agent matches." : "No agent has been heard yet.";
}

function renderBanners() {
  const banners = [];
  if (view.error) banners.push(["", view.asOf ? `Connection lost (${view.error}). What you see is as of ${clock(view.asOf)}.`
    : `The monitor does not answer: ${view.error}`]);
  for (const { reason } of view.ready?.reasons ?? []) banners.push(["", `The monitor is not ready: ${reason}`]);
  if (view.ready?.guard) banners.push(["warn", `Recovery is held: ${view.ready.guard}`]);
  patch($("banners"), banners, (banner) => banner[1], ([kind, text]) => el("div", { className: `banner ${kind}` }, text));
}

function renderAnswer() {
  const { counts } = view;
  const bad = NEED_HELP.reduce((sum, state) => sum + counts[state], 0);
  const isBlind = view.ready?.reasons?.length > 0 || view.error !== "";
  const incidents = view.incidents.length;
  let answer = `All is well with ${plural(counts.total - counts.stopped, "agent")}`;
  if (counts.total === 0) answer = "No agent has been heard yet";
  if (incidents > 0 && bad === 0) answer = `${plural(incidents, "incident")} open, every agent beats`;
  if (bad > 0) answer = `${plural(bad, "agent")} ${bad === 1 ? "needs" : "need"} help`;
  if (isBlind && bad === 0) answer = "The monitor can't tell whether all is well";
  $("answer").textContent = answer;
  $("answer").className = bad > 0 || isBlind ? "alarm" : "";
  document.title = bad > 0 ? `(${bad}) defib` : isBlind ? "(?) defib" : "defib";
  patch($("counts"), ["", ...STATES].map((state) => ({ state, on: state === filterState, n: counts[state || "total"] })),
    ({ state }) => state, ({ state, on, n }) => {
      const button = el("button", { type: "button", className: n === 0 ? "none" : "", onclick: () => choose(on ? "" : state) },
        state ? stateMark(state) : "all", el("b", {}, n.toLocaleString()));
      button.setAttribute("aria-pressed", on);
      return button;
    });
}

function choose(state) {
  filterState = state;
  refresh();
}

function agentRow(agent) {
  const task = agent.currentTask ?? "";
  const activity = [agent.activity.kind.replace("_", " "), agent.activity.operation].filter(Boolean).join(": ");
  const link = el("a", { href: agentLink(agent.agentId), className: "mono" }, agent.agentId);
  const beat = agent.lastHeartbeat ? ticking(agent.lastHeartbeat) : el("span", {}, "never");
  const bar = agent.taskProgress === null ? null : el("progress", { max: 100, value: agent.taskProgress, title: `${agent.taskProgress} %` });
  const state = el("td", { title: agent.reason }, stateMark(agent.state), agent.conflict ? el("span", { className: "quiet" }, " two at once") : null);
  return el("tr", { onclick: () => { location.hash = agentLink(agent.agentId); } },
    el("td", {}, link), state, el("td", { className: "age" }, beat),
    el("td", { className: agent.missedBeats ? "number" : "number zero" }, String(agent.missedBeats)), el("td", { className: "task" }, task, bar),
    el("td", { className: "activity" }, activity), el("td", { className: "extra" }, agent.agentType),
    el("td", { className: "extra" }, agent.host));
}

const agentLink = (id) => `#/agents/${encodeURIComponent(id)}`;
const PHASES = {
  opening: "being looked at", held: "recovery is held", persisting: "writing down the attempt", acting: "recovering now",
  verifying: "waiting for a proving beat", backing_off: "waiting before the next attempt", told: "it is a person's turn", closed: "closed" };

function attempts(incident) {
  return incident.attempts.map((attempt) => el("li", {},
    `${attempt.step}${attempt.with ? ` with ${attempt.with}` : ""}: ${attempt.isPending ? "under way" : attempt.result}`,
    attempt.detail ? `, ${attempt.detail}` : ""));
}

function incidentCard(incident) {
  const title = incident.agentId === "*" ? el("strong", {}, "The fleet") :
    el("a", { href: agentLink(incident.agentId), className: "mono" }, incident.agentId);
  return el("article", { className: incident.acknowledged ? "card known" : "card" },
    el("div", { className: "line" }, el("span", {}, title, ` ${incident.verdict.replaceAll("_", " ")}`),
      el("span", { className: "quiet" }, `#${incident.id}, `, ticking(incident.openedAt))),
    el("p", {}, incident.evidence),
    el("p", {}, el("strong", {}, PHASES[incident.phase] ?? incident.phase), incident.phaseReason ? `: ${incident.phaseReason}` : ""),
    incident.attempts.length ? el("ol", { className: "plain" }, ...attempts(incident)) : null,
    incident.outputTail ? el("details", {}, el("summary", {}, "Last output"), el("pre", {}, incident.outputTail)) : null,
    el("div", { className: "actions" },
      incident.acknowledged ? el("span", { className: "quiet" }, "acknowledged") : button("Acknowledge", () => act(`v1/incidents/${incident.id}/ack`)),
      button("Close incident", () => close(incident.id)),
      incident.agentId === "*" ? null : button("Recover", () => recover(incident.agentId))));
}

function renderIncidents() {
  $("incidents-section").hidden = view.incidents.length === 0;
  patch($("incidents"), view.incidents, (incident) => incident.id, incidentCard);
}

function eventLine(event) {
  const id = event.agentId && event.agentId !== "*" ? event.agentId : "";
  const rest = id && event.text.startsWith(`${id} `) ? event.text.slice(id.length + 1) : event.text;
  return el("li", {}, el("time", { className: "quiet", title: new Date(event.at).toLocaleString() }, clock(event.at)),
    el("span", { className: STATES.includes(event.what) ? event.what : "quiet" }, event.what.replaceAll("_", " ")),
    el("span", {}, id ? el("a", { href: agentLink(id), className: "mono" }, id) : "", id ? " " : "", rest));
}

function renderEvents() {
  patch($("events"), view.events, (event) => event.id, eventLine);
}

// ---- One agent -------------------------------------------------------------------------------------

function facts(pairs) {
  return el("dl", {}, ...pairs.filter(([, value]) => value !== null && value !== "" && value !== undefined)
    .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

async function showAgent(id) {
  const path = `v1/agents/${encodeURIComponent(id)}`;
  let parts;
  try {
    const [agent, why] = await Promise.all([read(path), read(`${path}/why`)]);
    const since = why.next.map((step) => el("li", {}, stateMark(step.state), " ",
      step.inMs === null ? "" : ticking(now() + step.inMs, "until"), step.inMs === null ? step.when : `: ${step.when}`));
    const metrics = Object.entries(agent.metrics ?? {}).map(([name, value]) => [name, value === null ? "" : value.toLocaleString()]);
    const events = view.events.filter((event) => event.agentId === id);
    const card = view.incidents.find((incident) => incident.id === agent.incident);
    parts = [stateMark(agent.state), el("p", {}, why.why), facts(why.facts.map((fact) => [fact.name, fact.value])),
      since.length ? el("h3", {}, "What comes next") : null, since.length ? el("ul", { className: "plain" }, ...since) : null,
      card ? el("h3", {}, "Open incident") : null, card ? incidentCard(card) : null,
      el("h3", {}, "The agent"),
      facts([["type", agent.agentType], ["host", agent.host], ["pid", agent.pid && String(agent.pid)], ["instance", agent.instanceId],
        ["task", agent.currentTask], ["activity", agent.activity.kind], ["operation", agent.activity.operation],
        ["progress", agent.progress ? `${agent.progress.seq} ${agent.progress.action ?? ""}` : "reports no progress"],
        ["interval", `${agent.intervalMs / 1000} s`], ["policy", agent.policy], ["heard by", agent.source],
        ["clock skew", agent.skewMs === null ? "" : `${agent.skewMs} ms`],
        ...Object.entries(agent.labels).map(([name, value]) => [`label ${name}`, value])]),
      metrics.length ? el("h3", {}, "Metrics") : null, facts(metrics),
      events.length ? el("h3", {}, "Recent events") : null, el("ol", { className: "events" }, ...events.map(eventLine)),
      el("div", { className: "actions" }, button("Recover", () => recover(id)))];
  } catch (error) {
    parts = [el("p", {}, error.message)];
  }
  if (location.hash !== agentLink(id)) return; // Another was chosen meanwhile.
  $("detail").replaceChildren(el("div", { className: "line" }, el("h2", { id: "detail-title", className: "mono" }, id),
    button("Back", () => $("detail").close())), ...parts.filter(Boolean));
  if (!$("detail").open) $("detail").showModal();
}

function chosen() {
  const id = location.hash.match(/^#\/agents\/(.+)$/)?.[1];
  return id && decodeURIComponent(id);
}

function route() {
  if (chosen()) showAgent(chosen());
  else $("detail").close();
}

// ---- Acting ----------------------------------------------------------------------------------------

function button(text, onclick, className = "") {
  return el("button", { type: "button", className, onclick: (event) => { event.stopPropagation(); onclick(); } }, text);
}

// Asks and waits: true where the person agreed. `input` is shown where something is to be typed.
function question(title, text, agree, input = null) {
  return new Promise((resolve) => {
    const box = $("question");
    const end = (value) => { resolve(value); box.close(); };
    box.onclose = () => resolve(false);
    if (input) input.onkeydown = (event) => { if (event.key === "Enter") end(true); };
    box.replaceChildren(el("h2", { id: "question-title" }, title), el("p", {}, text), input ?? "",
      el("div", { className: "actions" }, button(agree, () => end(true), "main"), agree === "OK" ? "" : button("Cancel", () => end(false))));
    if (!box.open) box.showModal();
  });
}

async function close(number) {
  if (await question(`Close incident ${number}?`, "Its recovery ends here.", "Close incident")) await act(`v1/incidents/${number}/close`);
}

async function act(path, body = {}) {
  try {
    const { ok, answer } = await ask(path, body);
    if (!ok && answer.code !== "not_failed") await question("That did not work", `${answer.error} ${answer.hint}`, "OK");
    soon();
    return { ok, answer };
  } catch (error) {
    await question("That did not work", `The monitor does not answer: ${error.message}`, "OK");
    return { ok: false, answer: {} };
  }
}

async function recover(id) {
  const path = `v1/agents/${encodeURIComponent(id)}/recover`;
  if (!await question(`Recover ${id}?`, "The ladder of its policy begins: the agent may be restarted or replaced.", "Recover")) return;
  const { ok, answer } = await act(path);
  if (ok || answer.code !== "not_failed") return;
  if (await question(`Recover ${id} by force?`, `${answer.error}. Recovering it interrupts what it does.`, "Recover by force")) {
    await act(path, { force: true });
  }
}

let tokenQuestion = null;
function askToken() {
  const input = el("input", { type: "password", autocomplete: "off" });
  input.setAttribute("aria-label", "Token");
  tokenQuestion ??= question("This monitor asks for its token", "It is kept in this page only, until you close it.", "Go on", input)
    .then((isGiven) => {
      if (isGiven) token = input.value.trim();
      tokenQuestion = null;
      soon();
    });
  return tokenQuestion;
}

// ---- Beginning -------------------------------------------------------------------------------------

$("filter").addEventListener("input", soon);
$("detail").addEventListener("close", () => { if (location.hash) history.replaceState(null, "", location.pathname); });
addEventListener("hashchange", route);
setInterval(() => document.querySelectorAll("[data-since], [data-until]").forEach(tick), 1000);
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh().then(route);
followForever();
