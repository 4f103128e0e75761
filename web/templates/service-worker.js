// Shows a word where the web service cannot be reached. Nothing else is kept: values are live or none.
const OFFLINE = "{{ url_for('pages.offline') }}";
const KEPT = [OFFLINE, "{{ style_url('meterflow', 'dialog') }}", "{{ url_for('static', filename='theme.js') }}"];
const CACHE = "meterflow {{ version }}";

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(KEPT)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(caches.keys().then((names) =>
    Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)))));
});

self.addEventListener("fetch", (event) => {
  const { mode, url } = event.request;
  const kept = mode === "navigate" ? OFFLINE : new URL(url).pathname;
  if (!KEPT.includes(kept)) return;
  event.respondWith(fetch(event.request).catch(() => caches.match(kept)));
});
